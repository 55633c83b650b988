/* checkpoint.latest, names of checkpoints, locks, tails: good files and bad ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/text.h"
#include "worker/agent/disk.h"

static char dir[64], run[128];

static void put(const char *name, const char *text, size_t n)
{
    char path[DISK_PATH_BYTES];
    assert_true(disk_full_path(run, name, path));
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, text, n), (ssize_t)n);
    close(fd);
}

static int set_up(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%.40s/disk-test-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(dir)) return -1;
    snprintf(run, sizeof run, "%s/runs/demo", dir);
    return disk_make_run(run, NULL) == ERR_OK ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *facts, int kind, struct FTW *ftw)
{
    (void)facts;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void test_folders(void **state)
{
    (void)state;
    struct error error;
    char below[256];
    assert_int_equal(disk_make_run(run, &error), ERR_OK); /* again */
    put("file", "x", 1);
    snprintf(below, sizeof below, "%s/file", run);
    assert_int_equal(disk_make_run(below, &error), ERR_IO);
    assert_non_null(strstr(error.text, "file"));
}

static void test_latest_round_trip(void **state)
{
    (void)state;
    struct checkpoint made = { .step = 7, .tokens = 70, .path = "checkpoints/a b" },
                      found = { .step = 1 };
    struct error error;
    assert_int_equal(disk_get_latest(run, &found, &error), ERR_NOT_FOUND);
    assert_int_equal(found.step, 0);
    assert_int_equal(disk_put_latest(run, &made, &error), ERR_OK);
    made.step = 8;
    assert_int_equal(disk_put_latest(run, &made, &error), ERR_OK);
    assert_int_equal(disk_get_latest(run, &found, &error), ERR_OK);
    assert_true(found.step == 8 && found.tokens == 70);
    assert_string_equal(found.path, "checkpoints/a b");
    disk_drop_latest(run);
    assert_int_equal(disk_get_latest(run, &found, &error), ERR_NOT_FOUND);
    assert_int_equal(disk_put_latest("/no/such/run", &made, &error), ERR_IO);
}

static void test_latest_damaged(void **state)
{
    (void)state;
    struct checkpoint found;
    struct error error;
    char wide[400];
    memset(wide, 'p', sizeof wide);
    memcpy(wide, "1 2 ", 4);
    wide[399] = '\n';
    const char *bad[] = { "",
                          "\n",
                          "7",
                          "7 70",
                          "7 70 \n",
                          "7 70 path",
                          "x 70 path\n",
                          "7 y path\n",
                          "-7 70 p\n",
                          "7 70 bad\xFF\n",
                          "99999999999999999999 1 p\n",
                          "9223372036854775808 1 p\n" };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        put("checkpoint.latest", bad[i], strlen(bad[i]));
        if (disk_get_latest(run, &found, &error) != ERR_DAMAGED) fail_msg("taken: %s", bad[i]);
        assert_string_equal(found.path, "");
    }
    put("checkpoint.latest", wide, sizeof wide);
    assert_int_equal(disk_get_latest(run, &found, &error), ERR_DAMAGED);
    put("checkpoint.latest", "7 70 a\0b\n", 9);
    assert_int_equal(disk_get_latest(run, &found, &error), ERR_DAMAGED);
}

static void test_checkpoint_names(void **state)
{
    (void)state;
    char name[PATH_MAX_BYTES], path[512], outside[512], wide[PATH_MAX_BYTES + 8];
    put("checkpoints/c", "x", 1);
    put("..odd", "x", 1);
    assert_true(disk_name_checkpoint(run, "checkpoints/c", name));
    assert_string_equal(name, "checkpoints/c");
    snprintf(path, sizeof path, "%s/checkpoints/c", run);
    assert_true(disk_name_checkpoint(run, path, name));
    assert_string_equal(name, "checkpoints/c");
    snprintf(path, sizeof path, "%s//checkpoints/c", run);
    assert_true(disk_name_checkpoint(run, path, name));
    assert_string_equal(name, "checkpoints/c");
    assert_true(disk_name_checkpoint(run, "..odd", name));
    snprintf(outside, sizeof outside, "%s/outside", dir);
    int fd = open(outside, O_WRONLY | O_CREAT, 0600);
    close(fd);
    assert_true(
        disk_name_checkpoint(run, outside, name)); /* elsewhere is allowed, by its full name */
    assert_string_equal(name, outside);
    assert_false(disk_name_checkpoint(run, "../../outside", name));
    assert_false(disk_name_checkpoint(run, "checkpoints/..", name));
    assert_false(disk_name_checkpoint(run, "none", name));
    assert_false(disk_name_checkpoint(run, "checkpoints", name)); /* a folder */
    assert_false(disk_name_checkpoint(run, "", name));
    memset(wide, 'w', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    put(wide, "x", 1);
    assert_false(disk_name_checkpoint(run, wide, name));
}

static void test_locks(void **state)
{
    (void)state;
    char path[512];
    bool unlocked = false;
    snprintf(path, sizeof path, "%s/rank-0.lock", run);
    assert_int_equal(disk_is_unlocked(path, &unlocked, NULL), ERR_OK);
    assert_true(unlocked);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(disk_is_unlocked(path, &unlocked, NULL), ERR_OK);
    assert_true(unlocked);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(disk_is_unlocked(path, &unlocked, NULL), ERR_OK);
    assert_false(unlocked);
    close(fd);
    assert_int_equal(disk_is_unlocked(run, &unlocked, NULL), ERR_IO); /* a folder */
    assert_false(unlocked);
}

static void test_tails(void **state)
{
    (void)state;
    char path[512], tail[64], all[300];
    snprintf(path, sizeof path, "%s/err", run);
    disk_read_tail(path, tail, sizeof tail);
    assert_string_equal(tail, "");
    put("err", "", 0);
    disk_read_tail(path, tail, sizeof tail);
    assert_string_equal(tail, "");
    put("err", "one\rtwo\0\xFFthree\x1B\n", 16);
    disk_read_tail(path, tail, sizeof tail);
    assert_string_equal(tail, "one\ntwo??three?\n");
    memset(all, 'a', sizeof all);
    memcpy(all + 250, "\nfirst\nsecond\n", 14);
    put("err", all, 264);
    disk_read_tail(path, tail, sizeof tail);
    assert_string_equal(tail, "first\nsecond\n");
    for (size_t i = 0; i + 1 < sizeof all; i += 2) /* one long line, cut inside a character */
        memcpy(all + i, "\xC3\xA9", 2);
    put("err", all, 300);
    disk_read_tail(path, tail, sizeof tail);
    assert_int_equal(strlen(tail), 62);
    assert_int_equal(strncmp(tail, "\xC3\xA9", 2), 0);
    disk_read_tail(run, tail, sizeof tail); /* a folder */
    assert_string_equal(tail, "");
}

int main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = { ROW(test_folders),        ROW(test_latest_round_trip),
                                        ROW(test_latest_damaged), ROW(test_checkpoint_names),
                                        ROW(test_locks),          ROW(test_tails) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
