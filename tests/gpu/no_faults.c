/*
 * no_faults.c - the stand-in's questions (tests/support/standin/cudart.h), answered for a real
 * GPU: no fault can be planted in it and nothing of it is counted, so a test that wants either
 * is skipped, and says so.
 */
#include "tests/support/standin/cudart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

extern char **environ;

#define PREFIX "PENSTOCK_FAKE_"

/* Takes the variable out again, so that only the test which set it is skipped. */
void standin_reset(void)
{
    bool found = false;
    for (char **variable = environ; *variable != NULL;) {
        char name[128];
        size_t length = strcspn(*variable, "=");
        if (strncmp(*variable, PREFIX, strlen(PREFIX)) != 0 || length >= sizeof(name)) {
            variable++;
            continue;
        }
        memcpy(name, *variable, length);
        name[length] = '\0';
        unsetenv(name); /* moves the rest down */
        found = true;
    }
    if (found) skip();
}

void standin_launch_link(void)
{
}

int standin_blocks(void)
{
    return 0;
}

int standin_objects(void)
{
    return 0;
}

long standin_launches(void)
{
    skip();
}
