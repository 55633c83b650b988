/*
 * campaign.h - the campaign file (YAML) as data: defaults merged, sweeps expanded, everything
 * checked.
 *
 * campaign_load either gives a complete, valid campaign or one error "FILE:LINE: what is wrong;
 * what to do" and nothing else. What it gives is what `plan` prints and the ledger stores: no
 * default is added later. docs/formats/campaign.md lists every key;
 * deploy/examples/reference.yaml shows each.
 */
#ifndef SCHEDULER_CAMPAIGN_CAMPAIGN_H
#define SCHEDULER_CAMPAIGN_CAMPAIGN_H

#include "proto/base/arena.h"
#include "proto/base/error.h"
#include "scheduler/core/record.h"

struct env_var {
    const char *name, *value;
};

/* What the agents need to start a run's trainers; becomes wire.proto's Spec. */
struct launch {
    uint32_t argc;
    const char *const *argv; /* argv[0] is looked up in PATH; argc entries, then NULL */
    uint32_t env_count;
    const struct env_var *env;
    const char *directory; /* absolute; empty = the run's directory */
    int64_t start_deadline_ns;
    int64_t step_deadline_min_ns;
    uint32_t step_deadline_factor;
    uint32_t threads; /* 0 = what the slot has */
};

enum {
    CAMPAIGN_FILE_BYTES_MAX =
        512 * 1024, /* so that the file, its gates and rules fit one frame */
    CAMPAIGN_RUNS_MAX = 16384,
    CAMPAIGN_POINTS_MAX = 1024 /* gate points of all gates */
};

/* A gate as the file names it: one or more points of spec.gates, in order. */
struct named_gate {
    char name[NAME_MAX_BYTES];
    uint32_t first_point, point_count;
    int64_t releases_ppm; /* of a run's budget, over all its points; -1 = an equal part of the
                             rest */
};

struct campaign {
    struct arena arena;        /* owns everything below */
    struct campaign_spec spec; /* spec.file_text is the whole file */
    uint32_t run_count;
    struct run_spec *runs; /* launch is empty: the coordinator encodes launches[i] into it */
    struct launch *launches;
    uint32_t named_gate_count;
    struct named_gate *named_gates;
    char (*guard_names)[NAME_MAX_BYTES]; /* spec.guard_count of them; the first is "default" */
};

/* Reads and checks a campaign file. On failure *campaign is zeroed. `trainer` is the path of
 * the built-in trainer, put into argv[0] of runs that use it. */
must_use enum err campaign_load(const char *path, const char *trainer,
                                struct campaign *campaign, struct error *error);

/* Releases everything. A zeroed campaign is fine. */
void campaign_fini(struct campaign *campaign);

/* Writes the effective policy, defaults merged, as a campaign file that would load to the same
 * campaign (`penstock plan` prints it). The text lives in the campaign's arena. */
struct text campaign_effective(struct campaign *campaign);

#endif
