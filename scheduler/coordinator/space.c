/* space.c - a full disk: the ledger's ballast gives room for the records that make all runs
 * checkpoint and wait; when there is room again, it is put back and they go on. See life.h. */
#include <sys/statvfs.h>
#include <time.h>

#include "proto/base/log.h"
#include "scheduler/coordinator/life.h"

/* Room that must be free before the ballast is put back: the ballast, and some for what comes
 * next. */
enum { ROOM_BYTES = 4 * LEDGER_BALLAST_BYTES };
#define LOOK_EVERY_NS (2 * NS_PER_S)

static bool has_room(const struct coordinator *life)
{
    struct statvfs status;
    if (statvfs(life->state_dir, &status) != 0) return false;
    return (int64_t)status.f_bavail >= ROOM_BYTES / (int64_t)status.f_frsize + 1;
}

/* Not even the ballast made room. Nothing was written, so nothing may be acted on: the
 * trainers' leases run out by themselves. Wait for room, or for somebody who wants us to end.
 */
static enum err wait_for_room(struct coordinator *life, const struct error *why,
                              struct error *error)
{
    static const struct timespec pause = { 0, 500 * NS_PER_MS };
    log_line(LOG_LEVEL_ERROR, "ledger waits for room: %s", why->text);
    while (!has_room(life)) {
        if (signals_take(&life->signals)) {
            *error = *why;
            return error_prefix(error, ERR_NO_SPACE,
                                "ended while the disk was full; make room and run again");
        }
        nanosleep(&pause, NULL);
    }
    return ERR_OK;
}

/* One commit that comes through, whatever room that takes. */
static enum err commit_once(struct coordinator *life, struct error *error)
{
    for (;;) {
        struct error why;
        enum err rc = ledger_commit(life->ledger, &why);
        if (rc == ERR_NO_SPACE && !life->ballast_released) {
            life->ballast_released = true;
            rc = ledger_ballast_release(life->ledger, &why);
            if (rc == ERR_OK) continue;
        }
        if (rc == ERR_NO_SPACE)
            rc = wait_for_room(life, &why, error);
        else if (rc != ERR_OK && error != NULL)
            *error = why;
        if (rc != ERR_OK || ledger_pending(life->ledger) == 0) return rc;
    }
}

enum err space_commit(struct coordinator *life, struct error *error)
{
    enum err rc = commit_once(life, error);
    if (rc != ERR_OK || !life->ballast_released || core_space_low(life->core)) return rc;
    life->space_look_ns = life->now_ns + LOOK_EVERY_NS;
    life_step(life, &(struct event){ .kind = EVENT_SPACE, .as.space = { .low = true } });
    return life->failed ? ERR_OK : commit_once(life, error);
}

void space_look(struct coordinator *life)
{
    if (!core_space_low(life->core) || life->now_ns < life->space_look_ns) return;
    life->space_look_ns = life->now_ns + LOOK_EVERY_NS;
    if (!has_room(life)) return;
    struct error error;
    if (ledger_ballast_restore(life->ledger, &error) != ERR_OK) {
        log_line(LOG_LEVEL_WARN, "ballast %s", error.text);
        return;
    }
    life->ballast_released = false;
    life_step(life, &(struct event){ .kind = EVENT_SPACE, .as.space = { .low = false } });
}

int64_t space_due_ns(const struct coordinator *life)
{
    return core_space_low(life->core) ? life->space_look_ns : TIME_NEVER;
}
