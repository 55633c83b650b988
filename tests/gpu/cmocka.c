/* What the functions of cmocka.h share. */
#include "tests/gpu/cmocka.h"

jmp_buf mini_failed;
bool mini_skipped;
