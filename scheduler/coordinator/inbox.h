/*
 * inbox.h - sign-offs: files that `penstock decide` puts into STATE/inbox, and that the
 * coordinator takes out.
 *
 * A decision is a small text file (docs/formats/inbox.md), written under a temporary name and
 * renamed to NAME.decision. It names the question by subject and by the time at which it was
 * asked, so that an old answer can never be taken for a later question. The coordinator checks
 * it against the state, hands it to the core, and only when the core's records are durable
 * moves it to inbox/done; what cannot be right goes to inbox/refused, with the reason beside it
 * and a note in the ledger.
 */
#ifndef SCHEDULER_COORDINATOR_INBOX_H
#define SCHEDULER_COORDINATOR_INBOX_H

#include "proto/base/error.h"
#include "proto/base/hash.h"
#include "scheduler/core/state.h"

enum { DECISION_BYTES_MAX = 4096, DECISION_REASON_BYTES = 1024, DECISION_FILE_BYTES = 128 };

/* One answer, as the file says it. */
struct decision {
    struct sha256 campaign; /* hash of the campaign file that it belongs to */
    enum decision_subject subject;
    char run[NAME_MAX_BYTES];  /* GATE, RUN */
    char gate[NAME_MAX_BYTES]; /* GATE */
    uint32_t tier;             /* TIER, from 0 */
    int64_t asked_ns;          /* when the question was asked */
    enum verdict verdict;      /* GO or NO_GO */
    char owner[NAME_MAX_BYTES];
    char reason[DECISION_REASON_BYTES]; /* one line of UTF-8 */
};

/* Decision to text and back. Parsing checks form and bounds only: every key once, in any order,
 * none unknown, no control characters. ERR_INPUT says the line. */
void decision_write(const struct decision *decision, struct writer *writer);
must_use enum err decision_parse(struct text text, struct decision *decision,
                                 struct error *error);

/* Puts a decision into STATE/inbox, durably. */
must_use enum err inbox_put(const char *state_dir, const struct decision *decision,
                            struct error *error);

/* Finds out which question `what` means: RUN/GATE, RUN, tier:N (from 1), or the name of a gate
 * at which exactly one run waits. Fills subject, run, gate, tier and asked_ns. ERR_INPUT when
 * nothing of that name waits; the text lists what does. */
must_use enum err inbox_question(const struct core *core, const char *what,
                                 struct decision *decision, struct error *error);

/* Whether the decision answers a question that is open now, by the owner who was asked: fills
 * event->as.decide, which borrows from *decision. ERR_REFUSED says why not. ERR_CLOSED: it
 * stands in the ledger already (a life ended between recording it and moving the file). */
must_use enum err inbox_match(const struct core *core, const struct decision *decision,
                              struct event *event, struct error *error);

/* ---- the coordinator's side
 * -------------------------------------------------------------------- */

struct inbox {
    const char *state_dir; /* borrowed */
    int notify_fd;         /* readable when a file may have come; -1: none, poll */
    int64_t next_look_ns;
};

/* Makes inbox/, done/ and refused/, and watches for files. */
must_use enum err inbox_open(struct inbox *inbox, const char *state_dir, struct error *error);
void inbox_close(struct inbox *inbox);

/* Whether it is time to look: something was put in, or a while has passed. Drains notify_fd. */
bool inbox_due(struct inbox *inbox, int64_t now_ns);

/* The first waiting file whose name comes after `after` (empty: the first of all), into
 * file[DECISION_FILE_BYTES]; false if none waits. Names that are too long are passed over. */
bool inbox_next(const struct inbox *inbox, const char *after, char *file);

/* Reads and parses one. */
must_use enum err inbox_read(const struct inbox *inbox, const char *file,
                             struct decision *decision, struct error *error);

/* Moves it out of the way: done, or refused with the reason. Failing to is logged: the file is
 * then looked at again. */
void inbox_done(const struct inbox *inbox, const char *file);
void inbox_refuse(const struct inbox *inbox, const char *file, const char *why);

#endif
