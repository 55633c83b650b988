/* Frames: whole ones open, every cut and every changed bit is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "proto/wire/frame.h"

static size_t make(uint8_t *frame, enum frame_direction direction, const char *payload)
{
    size_t n = strlen(payload);
    memcpy(frame + FRAME_HEADER_BYTES, payload, n);
    wire_seal(frame, direction, n);
    return FRAME_HEADER_BYTES + n;
}

static void test_round_trip(void **state)
{
    (void)state;
    uint8_t frame[64];
    const uint8_t *payload = NULL;
    size_t n = make(frame, FRAME_TO_AGENT, "hello"), bytes = 0;
    assert_int_equal(wire_open(frame, n, FRAME_TO_AGENT, &payload, &bytes, NULL), ERR_OK);
    assert_int_equal(bytes, 5);
    assert_memory_equal(payload, "hello", 5);
    /* The header as docs/formats/wire.md writes it down. */
    const uint8_t head[] = { 'P', 'W', 1, 2, 5, 0, 0, 0 };
    assert_memory_equal(frame, head, sizeof head);
}

static void test_cut_and_long(void **state)
{
    (void)state;
    uint8_t frame[64] = { 0 };
    const uint8_t *payload = NULL;
    struct error error;
    size_t n = make(frame, FRAME_TO_AGENT, "hello"), bytes = 0;
    for (size_t cut = 0; cut < sizeof frame; cut++) {
        if (cut == n) continue;
        assert_int_equal(wire_open(frame, cut, FRAME_TO_AGENT, &payload, &bytes, &error),
                         ERR_DAMAGED);
    }
}

static void test_every_bit_counts(void **state)
{
    (void)state;
    uint8_t frame[64];
    const uint8_t *payload = NULL;
    struct error error;
    size_t n = make(frame, FRAME_TO_COORDINATOR, "hello"), bytes = 0;
    for (size_t bit = 0; bit < 8 * n; bit++) {
        frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(
            wire_open(frame, n, FRAME_TO_COORDINATOR, &payload, &bytes, &error), ERR_OK);
        frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_null(payload);
    assert_int_equal(wire_open(frame, n, FRAME_TO_AGENT, &payload, &bytes, &error), ERR_INPUT);
    assert_int_equal(wire_open(frame, n, FRAME_TO_COORDINATOR, &payload, &bytes, &error),
                     ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_cut_and_long),
        cmocka_unit_test(test_every_bit_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
