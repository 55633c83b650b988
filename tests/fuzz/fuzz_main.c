/* Drives a fuzz entry without libFuzzer: NAME [rounds] [FILE...]. Feeds the examples, then
 * `rounds` damaged copies of them from a fixed seed, then the files. */
#include "proto/base/defs.h"
#include "proto/base/rng.h"
#include "proto/base/text.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>

enum { CAPACITY = 1 << 16, ROUNDS = 20000, CHANGES_MAX = 4 };

/* One small damage; the new length. */
static size_t damage(uint8_t *data, size_t size, struct rng *rng)
{
    static const char bytes[] = "\"\\{}[],:0919eE+- \n\x00\x7f\xff";
    if (size == 0) return 0;
    size_t at = rng_below(rng, size), rest = size - at;
    size_t span = 1 + rng_below(rng, rest < 40 ? rest : 40);
    switch (rng_below(rng, 6)) {
    case 0: data[at] = (uint8_t)(data[at] ^ 1U << rng_below(rng, 8)); return size;
    case 1: data[at] = (uint8_t)rng_u64(rng); return size;
    case 2: data[at] = (uint8_t)bytes[rng_below(rng, sizeof(bytes))]; return size;
    case 3: /* a span is lost */
        memmove(data + at, data + at + span, rest - span);
        return size - span;
    case 4: /* a span stands there twice */
        if (size + span > CAPACITY) return size;
        memmove(data + at + span, data + at, rest);
        return size + span;
    default: /* it ends early */ return at;
    }
}

static void feed_damaged(uint64_t rounds)
{
    static uint8_t data[CAPACITY];
    struct rng rng = rng_of(20260101);
    unsigned examples = 0;
    while (fuzz_example(examples, data, CAPACITY) > 0)
        examples++;
    check(examples > 0);
    for (uint64_t round = 0; round < rounds + examples; round++) {
        size_t size = fuzz_example((unsigned)(round % examples), data, CAPACITY);
        uint64_t changes = round < examples ? 0 : 1 + rng_below(&rng, CHANGES_MAX);
        for (uint64_t i = 0; i < changes; i++)
            size = damage(data, size, &rng);
        check(LLVMFuzzerTestOneInput(data, size) == 0);
    }
}

static int feed_file(const char *path)
{
    static uint8_t data[CAPACITY * 16];
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        fprintf(stderr, "%s cannot be opened\n", path);
        return 1;
    }
    size_t size = fread(data, 1, sizeof(data), file);
    fclose(file);
    return LLVMFuzzerTestOneInput(data, size);
}

int main(int argc, char **argv)
{
    uint64_t rounds = ROUNDS;
    int failures = 0, first = 1;
    if (argc > 1 && text_to_u64(text_of(argv[1]), &rounds)) first = 2;
    feed_damaged(rounds);
    for (int i = first; i < argc; i++)
        failures += feed_file(argv[i]);
    return failures == 0 ? 0 : 1;
}
