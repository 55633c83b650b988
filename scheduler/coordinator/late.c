/* late.c - see late.h. */
#include "scheduler/coordinator/late.h"

#include <stdlib.h>
#include <string.h>

enum { NAMED_MAX = 8 };

enum err late_init(struct late *late, uint32_t worker_count, struct error *error)
{
    *late = (struct late){ .worker_count = worker_count };
    late->seen = calloc((size_t)worker_count + 1, sizeof *late->seen);
    if (late->seen == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory for workers");
    return ERR_OK;
}

void late_fini(struct late *late)
{
    free(late->seen);
    *late = (struct late){ 0 };
}

void late_heard(struct late *late, uint32_t worker, const Penstock__Wire__Heartbeat *heartbeat)
{
    check(worker < late->worker_count);
    const Penstock__Wire__Telemetry *telemetry = heartbeat->telemetry;
    late->seen[worker] = (struct late_seen){ 0 };
    if (heartbeat->attempt == 0 || telemetry == NULL) return;
    late->seen[worker] = (struct late_seen){ .run = heartbeat->run,
                                             .attempt = heartbeat->attempt,
                                             .done_count = telemetry->collectives,
                                             .waits = telemetry->in_collective };
}

/* What is known of a member: its exit's own figures are newer than its last heartbeat's. */
static struct late_seen seen_of(const struct late *late, const struct core *core,
                                const struct attempt *attempt, uint32_t member,
                                const Penstock__Wire__MemberExited *exited)
{
    uint32_t worker = core_member(core, attempt->first_member + member)->worker;
    if (member == exited->member && exited->telemetry != NULL)
        return (struct late_seen){ .done_count = exited->telemetry->collectives,
                                   .waits = exited->telemetry->in_collective };
    const struct late_seen *seen = &late->seen[worker];
    if (seen->attempt != attempt->number || seen->run != attempt->run)
        return (struct late_seen){ 0 };
    return *seen;
}

/* Writes at most NAMED_MAX late members, and returns how many there are. */
static uint32_t by_collectives(const struct late *late, const struct core *core,
                               const struct attempt *attempt,
                               const Penstock__Wire__MemberExited *exited,
                               uint32_t members[NAMED_MAX])
{
    uint32_t waiting = 0, count = 0, all = attempt->member_count;
    uint64_t least = UINT64_MAX, most = 0;
    for (uint32_t i = 0; i < all; i++) {
        struct late_seen seen = seen_of(late, core, attempt, i, exited);
        waiting += seen.waits;
        if (seen.done_count < least) least = seen.done_count;
        if (seen.done_count > most) most = seen.done_count;
    }
    if (waiting == 0 || (waiting == all && least == most)) return 0;
    for (uint32_t i = 0; i < all; i++) {
        struct late_seen seen = seen_of(late, core, attempt, i, exited);
        bool is_late = waiting < all ? !seen.waits : seen.done_count == least;
        if (!is_late) continue;
        if (count < NAMED_MAX) members[count] = i;
        count++;
    }
    return count;
}

static uint32_t by_ras(const struct attempt *attempt,
                       const Penstock__Wire__MemberExited *exited, uint32_t members[NAMED_MAX])
{
    uint32_t count = 0;
    for (size_t i = 0; i < exited->n_late_ranks; i++) {
        if (exited->late_ranks[i] >= attempt->member_count) continue;
        if (count < NAMED_MAX) members[count] = exited->late_ranks[i];
        count++;
    }
    return count;
}

static void tell(struct intake *intake, uint32_t member, const uint32_t *members,
                 uint32_t count)
{
    struct writer writer = writer_of(intake->detail, sizeof intake->detail);
    writer_string(&writer, count > 1 ? "ranks " : "rank ");
    for (uint32_t i = 0; i < count && i < NAMED_MAX; i++)
        writer_format(&writer, "%s%u", i > 0 ? ", " : "", members[i]);
    if (count > NAMED_MAX) writer_format(&writer, " and %u more", count - NAMED_MAX);
    writer_format(&writer, " never arrived; rank %u: %.*s", member,
                  (int)intake->event.as.exited.detail.len, intake->event.as.exited.detail.data);
    intake->event.as.exited.detail = text_of(intake->detail);
}

void late_judge(const struct late *late, const struct core *core, struct intake *exited)
{
    const Penstock__Wire__MemberExited *message = exited->message->exited;
    enum ending ending = exited->event.as.exited.ending;
    uint32_t members[NAMED_MAX];
    if (ending != ENDING_HANG && ending != ENDING_START_TIMEOUT) return;
    if (message->run >= core_run_count(core)) return;
    const struct attempt *attempt = core_attempt(core, message->run);
    if (attempt == NULL || attempt->number != message->attempt || attempt->member_count < 2 ||
        attempt->orphaned)
        return;
    uint32_t count = by_collectives(late, core, attempt, message, members);
    if (count == 0) count = by_ras(attempt, message, members);
    if (count == 0) return;
    exited->event.as.exited.names_late = true;
    exited->event.as.exited.late = members[0];
    tell(exited, message->member, members, count);
}
