/* paths.h - where this program, its trainer and its launcher are. */
#ifndef SCHEDULER_VERBS_PATHS_H
#define SCHEDULER_VERBS_PATHS_H

#include "proto/base/error.h"

enum { PROGRAM_PATH_BYTES = 4096 };

/* The absolute path of this executable. */
must_use enum err path_of_program(char path[PROGRAM_PATH_BYTES], struct error *error);

/* The built-in trainer, penstock-train: beside this executable. It is not checked that it is
 * there; a campaign of user commands does without. */
must_use enum err path_of_trainer(char path[PROGRAM_PATH_BYTES], struct error *error);

/* penstock-launch, likewise; launcher_start does without. */
must_use enum err path_of_launcher(char path[PROGRAM_PATH_BYTES], struct error *error);

#endif
