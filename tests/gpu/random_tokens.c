/*
 * random_tokens.c - a token file for measuring: COUNT random tokens below VOCAB, as 16-bit
 * little-endian numbers, to stdout. The same arguments give the same file.
 *
 * Usage: random_tokens COUNT VOCAB
 */
#include "proto/base/rng.h"
#include "proto/base/text.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    int64_t count, vocab_count;
    struct rng rng = rng_of(1);
    if (argc != 3 || !text_to_i64(text_of(argv[1]), &count) || count < 1 ||
        !text_to_i64(text_of(argv[2]), &vocab_count) || vocab_count < 1 ||
        vocab_count > 65536) {
        fprintf(stderr, "usage: random_tokens COUNT VOCAB, a vocabulary of 1 to 65536\n");
        return 2;
    }
    for (int64_t i = 0; i < count; i++) {
        uint64_t token = rng_below(&rng, (uint64_t)vocab_count);
        if (putchar((int)(token & 0xFF)) == EOF || putchar((int)(token >> 8)) == EOF) return 1;
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
