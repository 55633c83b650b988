/* Hashes against published vectors. */
#include "proto/base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void expect_hex(struct sha256 hash, const char *expect)
{
    char hex[2 * SHA256_BYTES + 1];
    sha256_hex(&hash, hex);
    assert_string_equal(hex, expect);
}

/* FIPS 180-4's examples. */
static void sha256_vectors(void **state)
{
    (void)state;
    const struct text none = { NULL, 0 };
    expect_hex(sha256_of2(none, none),
               "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect_hex(sha256_of2(TEXT("abc"), none),
               "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect_hex(sha256_of2(TEXT("a"), TEXT("bc")),
               "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect_hex(
        sha256_of2(none, TEXT("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void sha256_in_pieces(void **state)
{
    (void)state;
    char thousand[1000];
    memset(thousand, 'a', sizeof thousand);
    struct sha256_stream stream;
    sha256_init(&stream);
    sha256_add(&stream, NULL, 0);
    for (int i = 0; i < 1000; i++)
        sha256_add(&stream, thousand, sizeof thousand);
    expect_hex(sha256_end(&stream),
               "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void hexadecimal(void **state)
{
    (void)state;
    const char *good = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    struct sha256 hash = sha256_of2(TEXT("abc"), TEXT("")), back = { { 1 } };
    assert_true(sha256_from_hex(text_of(good), &back));
    assert_true(sha256_equal(&hash, &back));
    back.bytes[31] ^= 1;
    assert_false(sha256_equal(&hash, &back));

    const char *bad[] = {
        "",
        "ba7816bf",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad0",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ag",
        "0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015",
        " a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "ba 816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct sha256 kept = hash;
        assert_false(sha256_from_hex(text_of(bad[i]), &kept));
        assert_true(sha256_equal(&kept, &hash)); /* untouched */
    }
}

/* RFC 3720, B.4. */
static void crc32c_vectors(void **state)
{
    (void)state;
    uint8_t zeros[32] = { 0 }, ones[32], rising[32], falling[32];
    for (uint8_t i = 0; i < 32; i++) {
        ones[i] = 0xFF;
        rising[i] = i;
        falling[i] = (uint8_t)(31 - i);
    }
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283);
    assert_int_equal(crc32c(0, zeros, 32), 0x8A9136AA);
    assert_int_equal(crc32c(0, ones, 32), 0x62A8AB43);
    assert_int_equal(crc32c(0, rising, 32), 0x46DD794E);
    assert_int_equal(crc32c(0, falling, 32), 0x113FDB5C);
    assert_int_equal(crc32c(0, "a", 1), 0xC1D04330);
    assert_int_equal(crc32c(0, NULL, 0), 0);
}

static void crc32c_continues(void **state)
{
    (void)state;
    const char *text = "The quick brown fox jumps over the lazy dog";
    size_t len = strlen(text);
    uint32_t whole = crc32c(0, text, len);
    for (size_t cut = 0; cut <= len; cut++) /* any split, so every alignment of the fast loop */
        assert_int_equal(crc32c(crc32c(0, text, cut), text + cut, len - cut), whole);
}

/* A bijection in each argument: no two of many near values may meet. */
static void mix_is_injective_on_near_values(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    static uint64_t by_value[COUNT], by_state[COUNT];
    for (uint64_t i = 0; i < COUNT; i++) {
        by_value[i] = hash_mix(42, i);
        by_state[i] = hash_mix(i, 42);
    }
    for (size_t i = 0; i < COUNT; i++)
        for (size_t j = 0; j < i; j++) {
            assert_true(by_value[i] != by_value[j]);
            assert_true(by_state[i] != by_state[j]);
        }
    assert_true(hash_mix(1, 2) != hash_mix(2, 1));
    assert_true(hash_mix(UINT64_MAX, 1) != hash_mix(0, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_vectors),   cmocka_unit_test(sha256_in_pieces),
        cmocka_unit_test(hexadecimal),      cmocka_unit_test(crc32c_vectors),
        cmocka_unit_test(crc32c_continues), cmocka_unit_test(mix_is_injective_on_near_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
