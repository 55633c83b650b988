/*
 * life.h - the coordinator's own state, shared by the files that drive it: life.c (begin and
 * end), loop.c (batches of events), space.c (a full disk). Only scheduler/coordinator includes
 * it.
 */
#ifndef SCHEDULER_COORDINATOR_LIFE_H
#define SCHEDULER_COORDINATOR_LIFE_H

#include "scheduler/coordinator/clock.h"
#include "scheduler/coordinator/inbox.h"
#include "scheduler/coordinator/late.h"
#include "scheduler/coordinator/loop.h"
#include "scheduler/coordinator/metrics.h"
#include "scheduler/coordinator/outbox.h"
#include "scheduler/coordinator/resume.h"
#include "scheduler/coordinator/signals.h"
#include "scheduler/coordinator/silence.h"
#include "scheduler/ledger/ledger.h"

enum { INBOX_BATCH_MAX = 16, STATE_DIR_BYTES = 2048 };

/* Exit statuses that the core does not choose; cli.h lists all. */
enum { STATUS_USAGE = 2, STATUS_LEDGER = 5, STATUS_SUSPENDED = 75 };

/* How a worker stands to this life. A lost one has not said goodbye: its process may hang. */
enum standing {
    STANDING_UNKNOWN,
    STANDING_WELCOME,
    STANDING_LEAVING,
    STANDING_LEFT,
    STANDING_LOST
};

/* A decision file whose event is in the current batch; it is moved when the batch is durable.
 */
struct taken_file {
    char name[DECISION_FILE_BYTES];
    bool refused;
    char why[256];
};

struct coordinator {
    struct campaign campaign;
    struct arena arena;              /* packed launches */
    char state_dir[STATE_DIR_BYTES]; /* absolute */
    const char *shown_dir;           /* as the user wrote it; borrowed */
    const char *trainer;             /* borrowed */
    uint32_t workers;

    struct ledger *ledger;
    struct resume resume; /* owns the core */
    struct core *core;
    struct link *link; /* borrowed, while it lives */

    struct steady_clock clock;
    int64_t now_ns; /* of the event that is being handled */
    struct signals signals;
    struct inbox inbox;
    struct outbox outbox;
    struct silence silence;
    struct late late;
    struct telemetry_board board;
    struct metrics metrics;
    struct display display;
    char display_room[DISPLAY_PENDING_BYTES];
    uint8_t frame[LINK_MESSAGE_BYTES_MAX];
    enum standing *standings; /* by worker */

    struct taken_file taken[INBOX_BATCH_MAX];
    uint32_t taken_count;

    bool ballast_released;
    int64_t space_look_ns;
    bool rouse_wanted; /* a trainer of an earlier life was still alive: ask again */
    int64_t rouse_ns;

    struct error failure; /* the first thing that a sink could not do */
    bool failed;
    bool done;
    int exit_status;
    int forced_status; /* 0, or what to exit with whatever the core says */
};

/* ---- loop.c ---- */

/* Steps the core at the time of now, its output going to ledger, display and outbox. */
void life_step(struct coordinator *life, struct event *event);
void life_rouse(struct coordinator *life);
void life_note(struct coordinator *life, const char *text);

/* Sleeps until something may have happened, then handles one batch. */
must_use enum err life_batch(struct coordinator *life, struct error *error);

/* ---- space.c ---- */

/* Makes the batch durable, and lives through a full disk. */
must_use enum err space_commit(struct coordinator *life, struct error *error);

/* When the disk was full: looks whether there is room again. */
void space_look(struct coordinator *life);
int64_t space_due_ns(const struct coordinator *life);

#endif
