#include "worker/trainer/shelf.h"

#include "proto/base/text.h"
#include "tests/unit/trainer/support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[PATH_MAX];

static int make_folder(void **unused)
{
    (void)unused;
    folder_make(folder);
    return 0;
}

static int remove_folder(void **unused)
{
    (void)unused;
    folder_remove(folder);
    return 0;
}

static struct shelf *open_shelf(int keep, uint64_t start_step, const char *gate)
{
    struct shelf *shelf;
    struct error error = { .code = ERR_OK };
    struct shelf_options options = { .run_dir = folder,
                                     .keep = keep,
                                     .start_step = start_step,
                                     .gates = &gate,
                                     .gate_count = gate != NULL };
    if (shelf_open(&options, &shelf, &error) != ERR_OK) fail_msg("%s", error.text);
    return shelf;
}

static void put(const struct shelf *shelf, uint64_t step, const char *gate)
{
    char path[PATH_MAX];
    struct tiny tiny;
    struct ckpt_state state = tiny_state(step);
    tiny_init(&tiny, 1.0F);
    text_copy(state.gate, sizeof(state.gate), text_of(gate));
    assert_int_equal(shelf_path(shelf, step, path, NULL), ERR_OK);
    assert_int_equal(ckpt_write(path, &tiny.arrays, &state, NULL, 0, NULL), ERR_OK);
}

/* The steps whose checkpoints are there, of 10, 20, .. 90, as digits. */
static const char *there(char found[16])
{
    char path[PATH_MAX], name[PATH_MAX];
    size_t count = 0;
    for (uint64_t step = 10; step < 100; step += 10) {
        shelf_relative_path(step, name);
        path_join(path, folder, name);
        if (file_exists(path)) found[count++] = (char)('0' + step / 10);
    }
    found[count] = '\0';
    return found;
}

static void add(struct shelf *shelf, uint64_t step, const char *gate)
{
    put(shelf, step, gate);
    shelf_added(shelf, step, gate[0] != '\0');
}

static void test_keeps_the_newest(void **unused)
{
    (void)unused;
    char found[16];
    struct shelf *shelf = open_shelf(2, 0, NULL);
    assert_int_equal(shelf_count(shelf), 0);
    add(shelf, 10, "");
    assert_string_equal(there(found), "1");
    add(shelf, 20, "");
    assert_string_equal(there(found), "12");
    add(shelf, 30, "");
    assert_string_equal(there(found), "23");
    add(shelf, 30, ""); /* the same once more */
    assert_string_equal(there(found), "23");
    shelf_close(shelf);
    shelf = open_shelf(1, 30, NULL);
    assert_int_equal(shelf_count(shelf), 2);
    assert_string_equal(there(found), "23"); /* nothing goes before a newer one is durable */
    add(shelf, 40, "");
    assert_string_equal(there(found), "4");
    shelf_close(shelf);
}

static void test_gates_without_a_verdict_stay(void **unused)
{
    (void)unused;
    char found[16];
    struct shelf *shelf = open_shelf(1, 0, "early");
    add(shelf, 10, "early");
    add(shelf, 20, "");
    add(shelf, 30, "late");
    add(shelf, 40, "");
    assert_string_equal(there(found), "134");
    shelf_close(shelf);
    shelf = open_shelf(1, 40, "late"); /* "early" has its verdict now */
    add(shelf, 50, "");
    assert_string_equal(there(found), "35");
    shelf_close(shelf);
}

/* HOLD goes back to step 20; what the attempt before had reached is not progress any more. */
static void test_abandoned_ones_are_the_oldest(void **unused)
{
    (void)unused;
    char found[16];
    struct shelf *shelf = open_shelf(5, 0, NULL);
    for (uint64_t step = 10; step < 60; step += 10)
        add(shelf, step, "");
    shelf_close(shelf);
    shelf = open_shelf(2, 20, NULL);
    add(shelf, 30, "");
    assert_string_equal(there(found), "23");
    add(shelf, 40, "");
    assert_string_equal(there(found), "34");
    shelf_close(shelf);
}

static void test_other_files_are_left_alone(void **unused)
{
    (void)unused;
    static const char *const names[] = {
        "notes.txt",         "step-1.safetensors",        "step-000000010.safetensors",
        "step-.safetensors", "step-0000001x.safetensors", "step-00000010.safetensors.old"
    };
    char path[PATH_MAX], name[PATH_MAX];
    struct shelf *shelf = open_shelf(1, 0, NULL);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        snprintf(name, sizeof(name), "checkpoints/%s", names[i]);
        path_join(path, folder, name);
        file_write(path, "x", 1);
    }
    shelf_close(shelf);
    shelf = open_shelf(1, 0, NULL);
    assert_int_equal(shelf_count(shelf), 0);
    add(shelf, 10, "");
    add(shelf, 20, "");
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        snprintf(name, sizeof(name), "checkpoints/%s", names[i]);
        path_join(path, folder, name);
        assert_true(file_exists(path));
    }
    shelf_close(shelf);
}

static void test_half_written_files_go(void **unused)
{
    (void)unused;
    char path[PATH_MAX], name[PATH_MAX];
    shelf_close(open_shelf(1, 0, NULL));
    snprintf(name, sizeof(name), "checkpoints/%sstep-00000010.safetensors",
             ckpt_temporary_prefix());
    path_join(path, folder, name);
    file_write(path, "half", 4);
    shelf_close(open_shelf(1, 0, NULL));
    assert_false(file_exists(path));
}

static void test_a_damaged_one_does_not_stop_a_run(void **unused)
{
    (void)unused;
    char path[PATH_MAX], found[16];
    struct shelf *shelf = open_shelf(1, 0, "early");
    assert_int_equal(shelf_path(shelf, 10, path, NULL), ERR_OK);
    file_write(path, "damaged", 7);
    shelf_close(shelf);
    shelf = open_shelf(1, 10, "early");
    add(shelf, 20, "");
    assert_string_equal(there(found), "2");
    shelf_close(shelf);
}

static void test_no_folder_can_be_made(void **unused)
{
    (void)unused;
    char path[PATH_MAX];
    struct shelf *shelf;
    path_join(path, folder, "file");
    file_write(path, "x", 1);
    struct shelf_options options = { .run_dir = path, .keep = 1 };
    assert_int_equal(shelf_open(&options, &shelf, NULL), ERR_IO);
    assert_null(shelf);
    char far[PATH_MAX];
    path_join(far, folder, "a/b");
    options.run_dir = far;
    assert_int_equal(shelf_open(&options, &shelf, NULL), ERR_IO);
    char *longest = malloc(PATH_MAX);
    assert_non_null(longest);
    memset(longest, 'a', PATH_MAX - 1);
    longest[PATH_MAX - 1] = '\0';
    options.run_dir = longest;
    assert_int_equal(shelf_open(&options, &shelf, NULL), ERR_INPUT);
    free(longest);
    shelf_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_keeps_the_newest, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_gates_without_a_verdict_stay, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(test_abandoned_ones_are_the_oldest, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(test_other_files_are_left_alone, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(test_half_written_files_go, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_a_damaged_one_does_not_stop_a_run, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(test_no_folder_can_be_made, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
