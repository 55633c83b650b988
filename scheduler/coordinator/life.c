/* life.c - begin and end of a coordinator's life. See loop.h and life.h. */
#include "scheduler/coordinator/life.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "scheduler/coordinator/files.h"
#include "scheduler/coordinator/intake.h"
#include "scheduler/coordinator/spec.h"

/* Long enough for an earlier life that was killed to be gone from the lock. */
#define LOCK_WAIT_NS (5 * NS_PER_S)
#define FAREWELL_NS (15 * NS_PER_S)
#define FLUSH_NS (2 * NS_PER_S)

/* ---- opening
 * ------------------------------------------------------------------------------------ */

static enum err open_folders(struct coordinator *life, const char *state_dir,
                             struct error *error)
{
    static const char *const subs[] = { "runs", "logs" };
    enum err rc = dir_make(state_dir, error);
    if (rc != ERR_OK)
        return error_prefix(error, rc,
                            "state directory (give another --dir, or make its parent)");
    char *whole = realpath(state_dir, NULL);
    if (whole == NULL) return error_errno(error, "state directory %s", state_dir);
    bool fits = text_copy(life->state_dir, sizeof life->state_dir, text_of(whole));
    free(whole);
    if (!fits) return error_set(error, ERR_INPUT, "state directory: its path is too long");
    for (size_t i = 0; rc == ERR_OK && i < ARRAY_COUNT(subs); i++) {
        char path[STATE_DIR_BYTES + 16];
        struct writer writer = writer_of(path, sizeof path);
        writer_format(&writer, "%s/%s", life->state_dir, subs[i]);
        rc = dir_make(path, error);
    }
    return rc;
}

static void host_name(char host[NAME_MAX_BYTES])
{
    memset(host, 0, NAME_MAX_BYTES);
    if (gethostname(host, NAME_MAX_BYTES - 1) != 0) text_copy(host, NAME_MAX_BYTES, TEXT("?"));
}

static enum err open_ledger(struct coordinator *life, struct error *error)
{
    char host[NAME_MAX_BYTES];
    host_name(host);
    struct ledger_options options = { .lock_wait_ns = LOCK_WAIT_NS,
                                      .host = host,
                                      .pid = (uint32_t)getpid(),
                                      .started_ns = clock_wall_ns() };
    enum err rc = ledger_open(life->state_dir, &options, &life->ledger, error);
    if (rc != ERR_OK) return rc;
    const struct ledger_recovery *recovery = ledger_recovered(life->ledger);
    if (recovery->cut_bytes > 0)
        log_line(LOG_LEVEL_WARN, "ledger torn tail cut: %lld bytes at offset %lld",
                 (long long)recovery->cut_bytes, (long long)recovery->cut_offset);
    return ERR_OK;
}

/* A copy of the campaign file for whoever looks at the directory, and who runs it: HOST PID
 * EPOCH JOB, the last as the MPI launcher names it. */
static enum err leave_marks(struct coordinator *life, struct error *error)
{
    char text[512], host[NAME_MAX_BYTES], exit_path[STATE_DIR_BYTES + 8];
    struct writer writer = writer_of(text, sizeof text);
    struct writer exit_writer = writer_of(exit_path, sizeof exit_path);
    host_name(host);
    uint64_t epoch = core_epoch(life->core) + 1;
    const char *job = getenv("PMIX_NAMESPACE");
    writer_format(&writer, "%s %ld %llu %s\n", host, (long)getpid(), (unsigned long long)epoch,
                  job != NULL && job[0] != '\0' ? job : "-");
    writer_format(&exit_writer, "%s/exit", life->state_dir);
    enum err rc = ERR_OK;
    if (core_campaign(life->core) == NULL)
        rc = file_replace(life->state_dir, "campaign.yaml", life->campaign.spec.file_text, true,
                          error);
    if (rc != ERR_OK) return rc;
    if (unlink(exit_path) != 0 && errno != ENOENT)
        return error_errno(error, "remove %s", exit_path);
    return file_replace(life->state_dir, "coordinator", (struct text){ text, writer.len },
                        false, error);
}

static enum err open_all(struct coordinator *life, const struct coordinator_options *options,
                         struct error *error)
{
    enum err rc =
        campaign_load(options->campaign_path, options->trainer, &life->campaign, error);
    if (rc == ERR_OK) rc = spec_pack_all(&life->campaign, &life->arena, error);
    if (rc == ERR_OK) rc = open_folders(life, options->state_dir, error);
    if (rc == ERR_OK) rc = open_ledger(life, error);
    struct core_limits limits = resume_limits(&life->campaign, options->workers);
    if (rc == ERR_OK)
        rc = resume_load(life->state_dir, &life->campaign, &limits, &life->resume, error);
    if (rc == ERR_OK && life->resume.core == NULL) {
        life->resume.core = core_create(&limits);
        if (life->resume.core == NULL)
            rc = error_set(error, ERR_NO_MEMORY, "out of memory for the campaign's state");
    }
    life->core = life->resume.core;
    if (rc == ERR_OK) rc = signals_open(&life->signals, error);
    if (rc == ERR_OK) rc = leave_marks(life, error);
    return rc;
}

static void release(struct coordinator *life)
{
    inbox_close(&life->inbox);
    signals_close(&life->signals);
    outbox_fini(&life->outbox);
    silence_fini(&life->silence);
    late_fini(&life->late);
    telemetry_board_fini(&life->board);
    metrics_fini(&life->metrics);
    ledger_close(life->ledger);
    resume_fini(&life->resume);
    campaign_fini(&life->campaign);
    arena_fini(&life->arena);
    free(life->standings);
    free(life);
}

enum err coordinator_open(const struct coordinator_options *options,
                          struct coordinator **coordinator, struct error *error)
{
    *coordinator = NULL;
    struct coordinator *life = calloc(1, sizeof *life);
    if (life == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory");
    life->signals.fd = life->inbox.notify_fd = -1;
    life->shown_dir = options->state_dir;
    life->trainer = options->trainer;
    life->workers = options->workers;
    display_init(&life->display, options->progress, STDOUT_FILENO, options->state_dir,
                 life->display_room);
    life->standings = calloc((size_t)options->workers + 1, sizeof *life->standings);
    enum err rc = life->standings == NULL ? error_set(error, ERR_NO_MEMORY, "out of memory")
                                          : open_all(life, options, error);
    if (rc != ERR_OK) {
        release(life);
        return rc;
    }
    *coordinator = life;
    return ERR_OK;
}

/* ---- living
 * ------------------------------------------------------------------------------------- */

static enum err prepare(struct coordinator *life, struct error *error)
{
    const struct campaign_spec *spec = &life->campaign.spec;
    struct outbox_options outbox = { .link = life->link,
                                     .worker_count = life->workers + 1,
                                     .launches = life->resume.launches,
                                     .trainer = life->trainer };
    steady_clock_init(&life->clock, life->resume.last_ns);
    life->now_ns = steady_clock_now_ns(&life->clock);
    link_sleep_precisely();
    enum err rc = outbox_init(&life->outbox, &outbox, error);
    if (rc == ERR_OK) rc = late_init(&life->late, life->workers + 1, error);
    if (rc == ERR_OK)
        rc = silence_init(&life->silence, life->workers + 1, life->now_ns, spec->heartbeat_ns,
                          spec->worker_timeout_ns, error);
    if (rc == ERR_OK) rc = telemetry_board_init(&life->board, life->campaign.run_count, error);
    if (rc == ERR_OK)
        rc = metrics_init(&life->metrics, life->state_dir, life->campaign.run_count, error);
    if (rc == ERR_OK) rc = inbox_open(&life->inbox, life->state_dir, error);
    if (rc == ERR_OK) rc = ledger_ballast_restore(life->ledger, error);
    return rc;
}

/* The first events of a life. A crash may have cut the very first batch: what is missing is
 * submitted again. */
static void begin(struct coordinator *life)
{
    const struct campaign *campaign = &life->campaign;
    if (core_campaign(life->core) == NULL)
        life_step(life,
                  &(struct event){ .kind = EVENT_CAMPAIGN, .as.campaign = &campaign->spec });
    for (uint32_t i = core_run_count(life->core); i < campaign->run_count && !life->failed;
         i++) {
        life->resume.launches[i] = campaign->runs[i].launch;
        life_step(life,
                  &(struct event){ .kind = EVENT_SUBMIT, .as.submit = &campaign->runs[i] });
    }
    char host[NAME_MAX_BYTES];
    host_name(host);
    struct event epoch = { .kind = EVENT_EPOCH,
                           .as.epoch = { .epoch = core_epoch(life->core) + 1,
                                         .host = text_of(host),
                                         .pid = (uint32_t)getpid(),
                                         .workers = life->workers,
                                         .version = TEXT(PENSTOCK_VERSION) } };
    life_step(life, &epoch);
    if (core_space_low(life->core))
        life_step(life, &(struct event){ .kind = EVENT_SPACE, .as.space = { .low = false } });
    life_rouse(life);
}

static bool nobody_stands(const struct coordinator *life, enum standing from, enum standing to)
{
    for (uint32_t worker = 1; worker <= life->workers; worker++)
        if (life->standings[worker] >= from && life->standings[worker] <= to) return false;
    return true;
}

static void send_home(struct coordinator *life, uint32_t worker)
{
    struct error error;
    if (outbox_shutdown(&life->outbox, worker, core_epoch(life->core), "the campaign is over",
                        &error) != ERR_OK)
        log_line(LOG_LEVEL_WARN, "worker=%u cannot be told to leave: %s", worker, error.text);
}

/* What comes while everybody leaves. A worker that only joins now is sent home at once. */
static void part_from(struct coordinator *life, uint32_t worker, size_t bytes)
{
    struct intake intake;
    struct error error;
    if (intake_take(&intake, life->core, worker, life->frame, bytes, life->now_ns, &error) !=
        ERR_OK)
        return;
    if (intake.kind == INTAKE_GOODBYE) {
        life->standings[worker] = STANDING_LEFT;
    } else if (intake.kind == INTAKE_HELLO || intake.kind == INTAKE_UNFIT) {
        life->standings[worker] = STANDING_LEAVING;
        /* An agent listens to nobody before it is welcomed. */
        if (outbox_welcome(&life->outbox, worker, core_epoch(life->core), life->state_dir,
                           core_campaign(life->core)->heartbeat_ns, "", &error) != ERR_OK)
            log_line(LOG_LEVEL_WARN, "worker=%u cannot be welcomed: %s", worker, error.text);
        send_home(life, worker);
    }
    intake_drop(&intake);
}

/* Sends everybody home and waits for them, so that MPI can be left together. */
static void farewell(struct coordinator *life)
{
    struct error error;
    for (uint32_t worker = 1; worker <= life->workers; worker++) {
        /* Who said goodbye by itself still waits for this word. */
        if (life->standings[worker] != STANDING_UNKNOWN) send_home(life, worker);
        if (life->standings[worker] == STANDING_WELCOME)
            life->standings[worker] = STANDING_LEAVING;
    }
    int64_t until_ns = clock_boot_ns() + FAREWELL_NS;
    while (!nobody_stands(life, STANDING_UNKNOWN, STANDING_LEAVING) &&
           clock_boot_ns() < until_ns) {
        uint32_t worker = 0;
        size_t bytes = 0;
        enum err rc =
            link_receive(life->link, &worker, life->frame, sizeof life->frame, &bytes, &error);
        if (rc == ERR_OK && worker > 0 && worker <= life->workers)
            part_from(life, worker, bytes);
        else if (rc == ERR_NOT_FOUND)
            rc = link_wait(life->link, 100 * NS_PER_MS, NULL, 0, &error);
        if (rc != ERR_OK && rc != ERR_NOT_FOUND && rc != ERR_INPUT) break;
    }
    if (link_flush(life->link, FLUSH_NS, &error) != ERR_OK)
        log_line(LOG_LEVEL_WARN, "link %s", error.text);
}

static enum err live(struct coordinator *life, struct error *error)
{
    enum err rc = prepare(life, error);
    if (rc != ERR_OK || life->resume.finished) return rc;
    begin(life);
    do {
        rc = life_batch(life, error);
    } while (rc == ERR_OK && !life->done);
    return rc;
}

enum err coordinator_live(struct coordinator *life, struct link *link, int *exit_status,
                          bool *all_left, struct error *error)
{
    life->link = link;
    *all_left = false;
    enum err rc = live(life, error);
    if (rc != ERR_OK) {
        /* Without room, memory or messages this life cannot go on, but the next one can. */
        bool resumable = rc == ERR_NO_SPACE || rc == ERR_NO_MEMORY || rc == ERR_DEVICE;
        *exit_status = resumable ? STATUS_SUSPENDED : STATUS_LEDGER;
        return rc;
    }
    *exit_status = life->resume.finished ? life->resume.exit_status : life->exit_status;
    if (life->forced_status != 0) *exit_status = life->forced_status;
    farewell(life);
    *all_left = nobody_stands(life, STANDING_UNKNOWN, STANDING_LEAVING) &&
                nobody_stands(life, STANDING_LOST, STANDING_LOST);
    return ERR_OK;
}

void coordinator_close(struct coordinator *life, int exit_status)
{
    if (life == NULL) return;
    char text[16];
    struct error error;
    struct writer writer = writer_of(text, sizeof text);
    writer_format(&writer, "%d\n", exit_status);
    if (file_replace(life->state_dir, "exit", (struct text){ text, writer.len }, true,
                     &error) != ERR_OK)
        log_line(LOG_LEVEL_WARN, "exit status not written: %s", error.text);
    release(life);
}
