/*
 * signoff.h - an owner's answer as a text, what it is decided on, and its signature.
 *
 * The text (docs/formats/inbox.md) names the campaign, the question, the verdict, the evidence
 * that was shown and the head of the ledger. It is what an owner with keys signs, in the
 * namespace `penstock`; it stands in the ledger beside its signature, so that everybody can
 * check it again, with ssh-keygen too. Evidence is what the state says about the question and
 * what an answer does not change, so it can be computed before and after.
 */
#ifndef SCHEDULER_LEDGER_SIGNOFF_H
#define SCHEDULER_LEDGER_SIGNOFF_H

#include "proto/base/sshsig.h"
#include "scheduler/core/state.h"

enum { DECISION_BYTES_MAX = 4096, DECISION_REASON_BYTES = 1024, EVIDENCE_BYTES_MAX = 2048 };

#define SIGNOFF_SPACE "penstock"

/* One answer, as its text says it. */
struct decision {
    struct sha256 campaign; /* hash of the campaign file that it belongs to */
    uint64_t request;       /* the question's number */
    enum decision_subject subject;
    char run[NAME_MAX_BYTES];  /* GATE, RUN */
    char gate[NAME_MAX_BYTES]; /* GATE */
    uint32_t tier;             /* TIER, from 0 */
    uint32_t attempt;          /* GATE, RUN: of the run, when it was asked */
    enum verdict verdict;      /* GO or NO_GO */
    char owner[NAME_MAX_BYTES];
    char reason[DECISION_REASON_BYTES]; /* one line of UTF-8 */
    struct sha256 evidence;             /* hash of what was shown */
    uint64_t head_seq;                  /* of the ledger that it was decided on */
    struct sha256 head_chain;
};

/* Decision to text and back. Parsing checks form and bounds only: every key once, in any order,
 * none unknown, no control characters. ERR_INPUT says the line. */
void decision_write(const struct decision *decision, struct writer *writer);
must_use enum err decision_parse(struct text text, struct decision *decision,
                                 struct error *error);

/* What the question of a run (NO_INDEX: the tier's) rests on, as lines for people and for its
 * hash. */
void evidence_write(const struct core *core, uint32_t run, struct writer *writer);
struct sha256 evidence_hash(const struct core *core, uint32_t run);

/* Whether `signature` over `statement` is by one of the owner's keys. ERR_REFUSED says why not.
 */
must_use enum err signoff_prove(const struct owner_spec *owner, struct text statement,
                                struct text signature, struct error *error);

/* Checks a recorded answer again: its signature, and that what was signed is what was recorded.
 * The core has applied the record. *signed_on is the statement, for prefix_check. ERR_DAMAGED.
 * *is_signed is false, and nothing is checked, when it carries no signature. */
must_use enum err signoff_check(const struct core *core, const struct record_decision *record,
                                bool *is_signed, struct decision *signed_on,
                                struct error *error);

#endif
