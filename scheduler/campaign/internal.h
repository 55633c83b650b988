/*
 * internal.h - what the files of scheduler/campaign offer each other. Nobody else includes it.
 *
 *   tree.c         YAML text -> tree with line numbers
 *   units.c        durations, shares, names
 *   fields.c       maps read and written by tables
 *   policy_keys.c  money, placement, timing, guardrails
 *   owners.c       who decides: keys, deadlines, defaults
 *   gates.c        gates and their points; tranches of a run
 *   runbook.c      runbook rows, the default ones too
 *   trainer_keys.c keys of the built-in trainer <-> its flags
 *   sweep.c        defaults merged into runs, grids expanded
 *   runs.c         one merged map -> one run
 *   campaign.c     the whole file, in order
 *   effective.c    the campaign back as a file
 */
#ifndef SCHEDULER_CAMPAIGN_INTERNAL_H
#define SCHEDULER_CAMPAIGN_INTERNAL_H

#include "scheduler/campaign/campaign.h"
#include "scheduler/campaign/fields.h"
#include "scheduler/campaign/sweep.h"

/* The largest amount, a thousand million units, and the largest step or number of tokens. */
#define MONEY_MAX_MICROS INT64_C(1000000000000000)
#define STEP_MAX (INT64_C(1) << 53)

/* The times that agents keep for each trainer, and the campaign's own. */
struct timing {
    int64_t heartbeat_ns, lease_ns, stop_grace_ns, worker_timeout_ns;
    int64_t start_deadline_ns, step_deadline_ns;
    uint32_t step_factor;
    int64_t backoff_ns, backoff_max_ns;
    int32_t clock_error_ppm;
};

/* The state of one load. */
struct loader {
    struct reader reader;
    const char *directory; /* absolute: of the campaign file */
    const char *trainer;
    struct campaign *campaign;
    struct timing timing;
};

/* A campaign file that has been read. Everything is borrowed for as long as the campaign lives. */
struct source {
    const char *file;   /* its name, for errors */
    const char *folder; /* absolute */
    const char *trainer;
    struct text text;
};

/* The part of campaign_load that touches no file, for fuzzing too. Fills a zeroed campaign; on failure
 * the caller releases what is in it. */
must_use enum err campaign_parse(const struct source *source, struct campaign *campaign,
                                 struct error *error);

/* Finds the name that the scalar at `entry` holds among `count` names, `stride_bytes` apart.
 * The error says what is defined under `where`. */
must_use enum err name_lookup(const struct reader *reader, const char *key,
                              const struct entry *entry, const char *where, const char *names,
                              size_t count, size_t stride_bytes, uint32_t *index);

/* A fixed-size copy of a name that is not in the table of fields. */
must_use enum err name_read(const struct reader *reader, const char *key,
                            const struct entry *entry, char *to);

/* ---- policy_keys.c ------------------------------------------------------------------- */

must_use enum err currency_read(struct loader *loader, const struct node *root);
must_use enum err tiers_read(struct loader *loader, const struct entry *tiers,
                             uint32_t budget_line);
must_use enum err prices_read(struct loader *loader, const struct entry *prices);
must_use enum err devices_read(struct loader *loader, const struct entry *devices);
must_use enum err placement_read(struct loader *loader, const struct entry *placement);
must_use enum err timing_read(struct loader *loader, const struct entry *timing);
must_use enum err guards_read(struct loader *loader, const struct entry *guardrails);
void devices_write(struct writer *writer, const struct campaign_spec *spec);
void placement_write(struct writer *writer, const struct campaign *campaign);
void timing_write(struct writer *writer, const struct campaign *campaign);
void guards_write(struct writer *writer, const struct campaign *campaign);

/* ---- owners.c ------------------------------------------------------------------------ */

must_use enum err owners_read(struct loader *loader, const struct entry *owners);
must_use enum err owner_lookup(const struct loader *loader, const char *key,
                               const struct entry *entry, uint32_t *index);

/* The owner of a kind of decision: who has the role, or else the first owner. */
uint32_t owner_of_role(const struct campaign_spec *spec, const char *role);
void owners_write(struct writer *writer, const struct campaign_spec *spec);

/* ---- gates.c ------------------------------------------------------------------------- */

must_use enum err gates_read(struct loader *loader, const struct entry *gates);

/* Gives the run the points of the named gates, sorted, with their tranches. `named` are indices
 * into named_gates. */
must_use enum err gates_assign(const struct loader *loader, const struct entry *run,
                               const uint32_t *named, uint32_t named_count,
                               struct run_spec *spec);
void gates_write(struct writer *writer, const struct campaign *campaign);

/* ---- runbook.c ----------------------------------------------------------------------- */

must_use enum err runbook_read(struct loader *loader, const struct entry *runbook,
                               bool with_defaults);
void runbook_write(struct writer *writer, const struct campaign *campaign);

/* ---- trainer_keys.c ------------------------------------------------------------------ */

/* Fills launch->argv with the built-in trainer's command line. */
must_use enum err trainer_read(const struct loader *loader, const struct entry *model,
                               const struct entry *train, const char *data,
                               const struct entry *run, const struct run_spec *spec,
                               struct launch *launch);

/* Writes `model:`, `train:` and `data:` back from a command line that trainer_read made. */
void trainer_write(struct writer *writer, const struct launch *launch);

/* ---- runs.c -------------------------------------------------------------------------- */

/* Reads one merged map into *spec and *launch. */
must_use enum err run_read(const struct loader *loader, const struct entry *run,
                           struct run_spec *spec, struct launch *launch);

/* ---- effective.c --------------------------------------------------------------------- */

/* Writes `text` as a double-quoted YAML scalar. */
void quoted_write(struct writer *writer, const char *text);

/* Is `text` valid UTF-8? */
bool utf8_valid(const char *text);

/* ---- keys, for the test of the reference file ---------------------------------------- */

typedef void (*key_fn)(void *context, const char *key);

/* Every key that some table knows, in no order. */
void campaign_each_key(key_fn take, void *context);
void owners_each_key(key_fn take, void *context);
void policy_each_key(key_fn take, void *context);
void gates_each_key(key_fn take, void *context);
void runbook_each_key(key_fn take, void *context);
void trainer_each_key(key_fn take, void *context);
void sweep_each_key(key_fn take, void *context);
void runs_each_key(key_fn take, void *context);

#endif
