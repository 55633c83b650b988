/* Event files, read back by a small reader of their public format that shares no code with the writer. */
#include "scheduler/report/tfevents.h"

#include "proto/base/text.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <math.h>

static char folder[] = "/tmp/penstock-tfevents-XXXXXX";
static char path[64];

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    struct writer writer = writer_of(path, sizeof path);
    writer_format(&writer, "%s/events.out.tfevents.1", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

/* ---- an independent reader ----------------------------------------------------------- */

/* CRC-32C bit by bit, as RFC 3720 defines it. */
static uint32_t slow_crc(const uint8_t *data, size_t bytes)
{
    uint32_t crc = 0xFFFFFFFF;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82F63B78 : crc >> 1;
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xA282EAD8;
}

static uint64_t little(const uint8_t *data, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = bytes; i-- > 0;)
        value = value << 8 | data[i];
    return value;
}

struct seen {
    double wall_time;
    uint64_t step;
    char version[32], tag[300];
    float value;
    bool has_value;
};

static uint64_t varint(const uint8_t **at, const uint8_t *end)
{
    uint64_t value = 0;
    for (int shift = 0; *at < end && shift < 64; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) return value;
    }
    fail_msg("a varint does not end");
    return 0;
}

/* Message kinds by depth: 0 Event, 1 Summary, 2 Value. */
static void read_message(const uint8_t *at, const uint8_t *end, int depth, struct seen *seen)
{
    while (at < end) {
        uint64_t key = varint(&at, end);
        uint64_t field = key >> 3, wire = key & 7, length = 0;
        if (wire == 0) {
            uint64_t value = varint(&at, end);
            if (depth == 0 && field == 2) seen->step = value;
            continue;
        }
        length = wire == 1 ? 8 : wire == 5 ? 4 : wire == 2 ? varint(&at, end) : 99999;
        assert_true(length <= (size_t)(end - at));
        if (depth == 0 && field == 1) memcpy(&seen->wall_time, at, 8);
        if (depth == 0 && field == 3) memcpy(seen->version, at, length < 31 ? length : 31);
        if (depth == 2 && field == 1) memcpy(seen->tag, at, length < 299 ? length : 299);
        if (depth == 2 && field == 2) {
            memcpy(&seen->value, at, 4);
            seen->has_value = true;
        }
        if ((depth == 0 && field == 5) || (depth == 1 && field == 1))
            read_message(at, at + length, depth + 1, seen);
        at += length;
    }
}

/* Reads all events; every length and checksum must hold. */
static size_t read_events(struct seen *seen, size_t seen_max)
{
    static uint8_t data[1 << 16];
    FILE *from = fopen(path, "rbe");
    assert_non_null(from);
    size_t bytes = fread(data, 1, sizeof data, from), at = 0, count = 0;
    fclose(from);
    while (at < bytes) {
        assert_true(at + 12 <= bytes);
        uint64_t length = little(data + at, 8);
        assert_int_equal(little(data + at + 8, 4), slow_crc(data + at, 8));
        assert_true(at + 16 + length <= bytes);
        assert_int_equal(little(data + at + 12 + length, 4), slow_crc(data + at + 12, length));
        assert_true(count < seen_max);
        memset(&seen[count], 0, sizeof seen[count]);
        read_message(data + at + 12, data + at + 12 + length, 0, &seen[count++]);
        at += 16 + length;
    }
    return count;
}

/* ---- tests --------------------------------------------------------------------------- */

#define AT INT64_C(1795514400250000000)

static void test_read_back(void **state)
{
    (void)state;
    struct seen seen[8];
    struct tfevents *file;
    struct error error;
    assert_int_equal(tfevents_open(path, AT, &file, &error), ERR_OK);
    assert_int_equal(read_events(seen, 8), 1); /* the version is there at once */
    assert_string_equal(seen[0].version, "brain.Event:2");
    assert_int_equal(tfevents_scalar(file, AT, 100, "loss/train", 2.5, &error), ERR_OK);
    assert_int_equal(tfevents_scalar(file, AT + NS_PER_S, 0, "zero", 0.0, &error), ERR_OK);
    assert_int_equal(tfevents_scalar(file, AT, UINT64_MAX, "nan", (double)NAN, &error), ERR_OK);
    assert_int_equal(tfevents_flush(file, &error), ERR_OK);
    assert_int_equal(read_events(seen, 8), 4);
    assert_string_equal(seen[1].tag, "loss/train");
    assert_int_equal(seen[1].step, 100);
    assert_true(seen[1].value == 2.5F);
    assert_true(seen[1].wall_time == 1795514400.25);
    assert_true(seen[2].has_value); /* a value of 0 is written, not left out */
    assert_true(seen[2].value == 0.0F);
    assert_true(seen[2].wall_time == 1795514401.25);
    assert_true(seen[3].value != seen[3].value);
    assert_int_equal(seen[3].step, INT64_MAX);
    assert_int_equal(tfevents_close(file, &error), ERR_OK);
    assert_int_equal(read_events(seen, 8), 4);
    unlink(path);
}

static void test_long_tag_is_cut(void **state)
{
    (void)state;
    char tag[2000];
    memset(tag, 't', sizeof tag - 1);
    tag[sizeof tag - 1] = '\0';
    struct seen seen[4];
    struct tfevents *file;
    assert_int_equal(tfevents_open(path, AT, &file, NULL), ERR_OK);
    assert_int_equal(tfevents_scalar(file, AT, 1, tag, 1.0, NULL), ERR_OK);
    assert_int_equal(tfevents_close(file, NULL), ERR_OK);
    assert_int_equal(read_events(seen, 4), 2);
    assert_int_equal(strlen(seen[1].tag), 255);
    unlink(path);
}

static void test_refuses_an_old_file(void **state)
{
    (void)state;
    struct tfevents *file;
    struct error error;
    assert_int_equal(tfevents_open(path, AT, &file, &error), ERR_OK);
    assert_int_equal(tfevents_close(file, &error), ERR_OK);
    assert_int_equal(tfevents_open(path, AT, &file, &error), ERR_IO);
    assert_null(file);
    assert_non_null(strstr(error.text, path));
    unlink(path);
    assert_int_equal(tfevents_open("/nowhere/at/all", AT, &file, &error), ERR_IO);
    assert_null(file);
    assert_int_equal(tfevents_close(NULL, &error), ERR_OK);
}

/* A full disk, played by a limit on the file's size: the caller hears of it, every time, and goes on. */
static void test_full_disk(void **state)
{
    (void)state;
    struct tfevents *file;
    struct error error = { ERR_OK, 0, "" };
    struct rlimit old, tight;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(tfevents_open(path, AT, &file, &error), ERR_OK);
    tight = (struct rlimit){ 100, old.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    enum err rc = ERR_OK;
    for (uint64_t step = 0; step < 1000 && rc == ERR_OK; step++)
        rc = tfevents_scalar(file, AT, step, "loss", 1.0, &error);
    if (rc == ERR_OK) rc = tfevents_flush(file, &error);
    enum err again = tfevents_scalar(file, AT, 1, "loss", 1.0, &error);
    enum err closed = tfevents_close(file, &error);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(rc, ERR_IO);
    assert_int_equal(again, ERR_IO);
    assert_int_equal(closed, ERR_IO);
    assert_non_null(strstr(error.text, path));
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_back),
        cmocka_unit_test(test_long_tag_is_cut),
        cmocka_unit_test(test_refuses_an_old_file),
        cmocka_unit_test(test_full_disk),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
