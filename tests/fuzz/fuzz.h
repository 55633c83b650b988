/*
 * fuzz.h - what a fuzz entry provides. With clang and the preset `fuzz` the entry is driven by
 * libFuzzer (target NAME_libfuzzer); everywhere else fuzz_main.c feeds it files and a fixed
 * number of damaged examples, so that ctest runs it under any compiler.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Takes any bytes. Returns 0, or aborts when a promise is broken. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Writes valid input number `index` and returns its length; 0: there is none of this number.
 * Number 0 exists. */
size_t fuzz_example(unsigned index, uint8_t *to, size_t capacity);

#endif
