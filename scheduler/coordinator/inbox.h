/*
 * inbox.h - sign-offs: files that `penstock decide` puts into STATE/inbox, and that the
 * coordinator takes out.
 *
 * A decision is a small text file (docs/formats/inbox.md), written under a temporary name and
 * renamed to NAME.decision; its signature, NAME.decision.sig, was put there before. It names
 * the question by its number, its evidence and the ledger's head, so that an old answer, or one
 * to another ledger, can never be taken for it. The coordinator checks
 * it against the state, hands it to the core, and only when the core's records are durable
 * moves it to inbox/done; what cannot be right goes to inbox/refused, with the reason beside it
 * and a note in the ledger.
 */
#ifndef SCHEDULER_COORDINATOR_INBOX_H
#define SCHEDULER_COORDINATOR_INBOX_H

#include "proto/base/error.h"
#include "proto/base/hash.h"
#include "scheduler/core/state.h"
#include "scheduler/ledger/signoff.h"

enum { DECISION_FILE_BYTES = 128 };

/* A file, read. The texts point into it. */
struct answer {
    struct decision decision;
    struct text statement, signature; /* signature: empty when there is none */
    struct sha256 origin;             /* of the file's name and bytes */
    bool was_done;                    /* a file of this name was taken before */
    char statement_room[DECISION_BYTES_MAX];
    char signature_room[SSH_ARMOR_BYTES_MAX];
};

/* Puts a decision into STATE/inbox, durably; its signature too, when it has one. */
must_use enum err inbox_put(const char *state_dir, struct text statement, struct text signature,
                            struct error *error);

/* Finds out which question `what` means: RUN/GATE, RUN, tier:N (from 1), or the name of a gate
 * at which exactly one run waits. Fills the question's number, what it is about, and its
 * evidence. ERR_INPUT when nothing of that name waits; the text lists what does. */
must_use enum err inbox_question(const struct core *core, const char *what,
                                 struct decision *decision, struct error *error);

/* Whether the decision answers the question that is open now, on the evidence that the state has, by
 * the owner who is asked: fills event->as.decide, which borrows from *decision. ERR_REFUSED says
 * why not. */
must_use enum err inbox_match(const struct core *core, const struct decision *decision,
                              struct event *event, struct error *error);

/* Whether it is signed as it must be: by a key of the owner, or not at all when the owner has
 * none. ERR_REFUSED says why not. */
must_use enum err inbox_prove(const struct core *core, const char *owner_name,
                              struct text statement, struct text signature, bool *is_signed,
                              struct error *error);

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

/* Reads and parses one, and its signature. */
must_use enum err inbox_read(const struct inbox *inbox, const char *file, struct answer *answer,
                             struct error *error);

/* Moves it out of the way: done, or refused with the reason. Failing to is logged: the file is
 * then looked at again. */
void inbox_done(const struct inbox *inbox, const char *file);
void inbox_refuse(const struct inbox *inbox, const char *file, const char *why);

#endif
