/* A gang's id on its pipe: whole, cut at each byte, and malformed. */
#include "proto/wire/comm_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void fill(uint8_t *id, size_t n)
{
    for (size_t i = 0; i < n; i++)
        id[i] = (uint8_t)(i * 7 + 1);
}

static void test_there_and_back(void **unused)
{
    (void)unused;
    static uint8_t id[COMM_ID_BYTES_MAX], bytes[COMM_FRAME_BYTES_MAX];
    const size_t sizes[] = { 1, 2, 128, COMM_ID_BYTES_MAX };
    fill(id, sizeof id);
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct comm_frame to = { .run = 0xFFFFFFFF - (uint32_t)i,
                                 .attempt = 1 + (uint32_t)i,
                                 .id = id,
                                 .id_bytes = sizes[i] };
        struct comm_frame from;
        size_t used = 0, n = comm_frame_write(&to, bytes);
        assert_int_equal(n, COMM_FRAME_HEADER_BYTES + sizes[i]);
        assert_int_equal(comm_frame_read(bytes, n, &from, &used, NULL), ERR_OK);
        assert_int_equal(used, n);
        assert_int_equal(from.run, to.run);
        assert_int_equal(from.attempt, to.attempt);
        assert_int_equal(from.id_bytes, sizes[i]);
        assert_memory_equal(from.id, id, sizes[i]);
    }
}

/* The bytes as the page on formats says them. */
static void test_bytes(void **unused)
{
    (void)unused;
    static const uint8_t expected[] = { 10,   0, 0, 0, 0x04, 0x03, 0x02,
                                        0x01, 7, 0, 0, 0,    0xAB, 0xCD };
    static uint8_t bytes[COMM_FRAME_BYTES_MAX];
    const uint8_t id[] = { 0xAB, 0xCD };
    struct comm_frame frame = { .run = 0x01020304, .attempt = 7, .id = id, .id_bytes = 2 };
    assert_int_equal(comm_frame_write(&frame, bytes), sizeof expected);
    assert_memory_equal(bytes, expected, sizeof expected);
}

static void test_cut(void **unused)
{
    (void)unused;
    static uint8_t bytes[COMM_FRAME_BYTES_MAX];
    uint8_t id[128];
    fill(id, sizeof id);
    struct comm_frame frame = { .run = 1, .attempt = 2, .id = id, .id_bytes = sizeof id };
    size_t used, n = comm_frame_write(&frame, bytes);
    for (size_t cut = 0; cut < n; cut++)
        assert_int_equal(comm_frame_read(bytes, cut, &frame, &used, NULL), ERR_NOT_FOUND);
    /* What stands behind a frame is not its own. */
    assert_int_equal(comm_frame_read(bytes, n + 5, &frame, &used, NULL), ERR_OK);
    assert_int_equal(used, n);
}

static void test_malformed(void **unused)
{
    (void)unused;
    static const uint8_t rows[][16] = {
        { 0 },                                     /* no length */
        { 7 },                                     /* shorter than its tags */
        { 8 },                                     /* no id */
        { 0x09, 0x04 },                            /* one byte too long */
        { 0xFF, 0xFF, 0xFF, 0xFF },                /* absurd */
        { 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5 }, /* attempt 0 */
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct comm_frame frame;
        struct error error = { .code = ERR_OK };
        size_t used;
        if (comm_frame_read(rows[i], sizeof rows[i], &frame, &used, &error) != ERR_INPUT)
            fail_msg("row %zu was taken", i);
        assert_true(error.text[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
