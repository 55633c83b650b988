#include "tests/unit/coordinator/scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folders[SCRATCH_MAX][SCRATCH_PATH_BYTES];
static int folder_count;
static pid_t maker; /* children of the test that exit must not clear up */

static int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *walk)
{
    (void)facts;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void remove_all(void)
{
    enum { DESCRIPTORS = 16 };
    if (getpid() != maker) return;
    for (int i = 0; i < folder_count; i++)
        if (nftw(folders[i], remove_one, DESCRIPTORS, FTW_DEPTH | FTW_PHYS) != 0)
            fprintf(stderr, "scratch: %s could not be removed\n", folders[i]);
}

char *scratch_make(char *template)
{
    if (folder_count == SCRATCH_MAX || !mkdtemp(template)) return NULL;
    if (folder_count == 0) {
        maker = getpid();
        if (atexit(remove_all) != 0) return NULL;
    }
    snprintf(folders[folder_count++], SCRATCH_PATH_BYTES, "%s", template);
    return template;
}
