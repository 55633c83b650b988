/* scratch.h - folders that are gone when the test's process ends. */
#ifndef TESTS_UNIT_COORDINATOR_SCRATCH_H
#define TESTS_UNIT_COORDINATOR_SCRATCH_H

/* As mkdtemp, which it calls; the folder and all in it are removed when the process exits. At most
 * SCRATCH_MAX in one process. NULL on failure. */
char *scratch_make(char *template);

enum { SCRATCH_MAX = 256, SCRATCH_PATH_BYTES = 160 };

#endif
