/* loop.c - batches of events: everything that waits is stepped, one commit makes it durable,
 * then it is acted on. See loop.h and life.h. */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/log.h"
#include "scheduler/coordinator/intake.h"
#include "scheduler/coordinator/life.h"

enum { BATCH_MESSAGES_MAX = 512 };
#define WAIT_MAX_NS NS_PER_S
#define ROUSE_EVERY_NS (500 * NS_PER_MS)
#define FULL_RETRY_NS (5 * NS_PER_MS)
#define JOIN_NS (2 * NS_PER_MIN)

/* ---- the core's output
 * ------------------------------------------------------------------------- */

static void fail(struct coordinator *life, const struct error *error)
{
    if (life->failed) return;
    life->failed = true;
    life->failure = *error;
}

static void take_record(void *context, const struct record *record)
{
    struct coordinator *life = context;
    struct error error;
    if (life->failed) return;
    if (ledger_append(life->ledger, record, &error) != ERR_OK) {
        error_prefix(&error, error.code, "record \"%s\"", record_kind_name(record->kind));
        fail(life, &error);
        return;
    }
    metrics_record(&life->metrics, life->core, record);
    display_record(&life->display, life->core, record);
}

static void take_action(void *context, const struct action *action)
{
    struct coordinator *life = context;
    struct error error;
    if (action->kind == ACTION_ASK) {
        display_ask(&life->display, life->core, action->run);
    } else if (action->kind == ACTION_DONE) {
        life->done = true;
        life->exit_status = action->exit_status;
    } else if (outbox_put(&life->outbox, action, life->now_ns, &error) != ERR_OK) {
        fail(life, &error);
    }
}

static struct output output_of(struct coordinator *life)
{
    return (struct output){ .context = life, .record = take_record, .action = take_action };
}

void life_step(struct coordinator *life, struct event *event)
{
    struct output output = output_of(life);
    event->now_ns = life->now_ns;
    core_step(life->core, event, &output);
}

void life_rouse(struct coordinator *life)
{
    struct output output = output_of(life);
    core_rouse(life->core, life->now_ns, &output);
}

/* A note changes nothing, so the core has no event for it. */
void life_note(struct coordinator *life, const char *text)
{
    struct record record = { .kind = RECORD_NOTE,
                             .at_ns = life->now_ns,
                             .as.note = { .run = NO_INDEX, .text = text_of(text) } };
    struct error error;
    take_record(life, &record);
    if (core_apply(life->core, &record, &error) != ERR_OK) fail(life, &error);
}

/* ---- messages
 * ---------------------------------------------------------------------------------- */

static void lose_worker(struct coordinator *life, uint32_t worker, enum standing standing,
                        const char *cause)
{
    life->standings[worker] = standing;
    silence_forget(&life->silence, worker);
    outbox_forget(&life->outbox, worker);
    struct event event = { .kind = EVENT_WORKER_LOST,
                           .as.worker_lost = { .worker = worker, .cause = text_of(cause) } };
    life_step(life, &event);
}

static void welcome(struct coordinator *life, uint32_t worker, const char *refusal)
{
    struct error error;
    enum err rc = outbox_welcome(&life->outbox, worker, core_epoch(life->core), life->state_dir,
                                 core_campaign(life->core)->heartbeat_ns, refusal, &error);
    if (rc != ERR_OK) fail(life, &error);
}

/* A worker that can never be used means that the campaign does not fit this allocation: nothing
 * good comes of going on with half of it. */
static void refuse_worker(struct coordinator *life, uint32_t worker, const char *why)
{
    char text[384];
    struct writer writer = writer_of(text, sizeof text);
    writer_format(&writer, "worker %u cannot be used: %s", worker, why);
    welcome(life, worker, why);
    life->standings[worker] = STANDING_LEAVING;
    fprintf(stderr, "penstock: %s\n", text);
    life->forced_status = STATUS_USAGE;
    struct event event = { .kind = EVENT_SUSPEND, .as.suspend = { .cause = text_of(text) } };
    life_step(life, &event);
}

/* A worker is heard from here on. Its Welcome carries nothing but what this life is, so it may
 * leave before the batch is durable; what the core gives it to do may not. */
static void admit_worker(struct coordinator *life, uint32_t worker, struct intake *intake)
{
    if (life->standings[worker] != STANDING_UNKNOWN) {
        log_line(LOG_LEVEL_WARN, "worker=%u says hello again; ignored", worker);
        return;
    }
    if (intake->kind == INTAKE_UNFIT) {
        refuse_worker(life, worker, intake->refusal);
        return;
    }
    life->standings[worker] = STANDING_WELCOME;
    outbox_seat(&life->outbox, worker, text_of(intake->message->hello->visible_device));
    welcome(life, worker, "");
    life_step(life, &intake->event);
}

static void take_heartbeat(struct coordinator *life, uint32_t worker, struct intake *intake)
{
    const struct event *event = &intake->event;
    outbox_heartbeat(&life->outbox, worker, event->as.heartbeat.sequence, life->now_ns);
    late_heard(&life->late, worker, intake->message->heartbeat);
    life_step(life, &intake->event);
    uint32_t run = event->as.heartbeat.run, attempt = event->as.heartbeat.attempt;
    if (attempt == 0 || event->as.heartbeat.member != 0 || run >= life->board.run_count) return;
    if (core_run(life->core, run)->attempts != attempt) return;
    if (!telemetry_board_put(&life->board, run, attempt, life->now_ns,
                             &event->as.heartbeat.telemetry, &intake->extra))
        return;
    life->display.changed = true;
    metrics_progress(&life->metrics, life->core, run, telemetry_board_get(&life->board, run));
}

/* Member 0's communicator id goes to the rest of its gang. */
static void pass_comm_id(struct coordinator *life, uint32_t worker, const struct intake *intake)
{
    const Penstock__Wire__CommId *id = intake->message->comm_id;
    uint32_t stale_count = life->outbox.stale_comm_id_count;
    struct error error;
    if (outbox_put_comm_id(&life->outbox, life->core, worker, id, &error) != ERR_OK)
        fail(life, &error);
    if (life->outbox.stale_comm_id_count > stale_count)
        log_line(LOG_LEVEL_WARN, "worker=%u run=%u attempt=%u gang id is stale; %u so far",
                 worker, id->run, id->attempt, life->outbox.stale_comm_id_count);
}

static void take_message(struct coordinator *life, uint32_t worker, size_t bytes)
{
    struct intake intake;
    struct error error;
    if (intake_take(&intake, life->core, worker, life->frame, bytes, life->now_ns, &error) !=
        ERR_OK) {
        log_line(LOG_LEVEL_WARN, "worker=%u message refused: %s", worker, error.text);
        return;
    }
    bool member = life->standings[worker] == STANDING_WELCOME;
    if (member || intake.kind == INTAKE_HELLO) silence_heard(&life->silence, worker);
    if (intake.kind == INTAKE_HELLO || intake.kind == INTAKE_UNFIT) {
        admit_worker(life, worker, &intake);
    } else if (intake.kind == INTAKE_GOODBYE) {
        if (member) lose_worker(life, worker, STANDING_LEFT, intake.message->goodbye->reason);
        life->standings[worker] = STANDING_LEFT;
    } else if (!member) {
        log_line(LOG_LEVEL_WARN, "worker=%u is not a member; its message is ignored", worker);
    } else if (intake.kind == INTAKE_COMM_ID) {
        pass_comm_id(life, worker, &intake);
    } else if (intake.event.kind == EVENT_HEARTBEAT) {
        take_heartbeat(life, worker, &intake);
    } else {
        if (intake.event.kind == EVENT_PROBED && !intake.event.as.probed.gone)
            life->rouse_wanted = true;
        if (intake.event.kind == EVENT_EXITED) late_judge(&life->late, life->core, &intake);
        life_step(life, &intake.event);
    }
    intake_drop(&intake);
}

/* Takes what has arrived. The time is read after each message, never before: a lease counts
 * from when a heartbeat was received, and that must not lie before it was sent. */
static enum err take_messages(struct coordinator *life, struct error *error)
{
    for (int i = 0; i < BATCH_MESSAGES_MAX && !life->failed; i++) {
        uint32_t worker = 0;
        size_t bytes = 0;
        enum err rc =
            link_receive(life->link, &worker, life->frame, sizeof life->frame, &bytes, error);
        if (rc == ERR_NOT_FOUND) return ERR_OK;
        if (rc == ERR_INPUT) {
            log_line(LOG_LEVEL_WARN, "message refused: %s", error->text);
            continue;
        }
        if (rc != ERR_OK) return rc;
        life->now_ns = steady_clock_now_ns(&life->clock);
        if (worker == 0 || worker > life->workers) continue;
        take_message(life, worker, bytes);
    }
    return ERR_OK;
}

/* ---- everything else that happens
 * --------------------------------------------------------------- */

static void take_signals(struct coordinator *life)
{
    if (!signals_take(&life->signals)) return;
    struct event event = { .kind = EVENT_SUSPEND,
                           .as.suspend = { .cause = text_of(life->signals.name),
                                           .at_once = life->signals.level > 1 } };
    life_step(life, &event);
}

static void refuse_file(struct coordinator *life, struct taken_file *taken,
                        const struct error *why)
{
    char text[512];
    struct writer writer = writer_of(text, sizeof text);
    taken->refused = true;
    text_copy(taken->why, sizeof taken->why, text_of(why->text));
    writer_format(&writer, "a decision was refused: %s (inbox/refused/%s)", taken->why,
                  taken->name);
    life_note(life, text);
}

static void take_file(struct coordinator *life, struct taken_file *taken)
{
    struct answer answer;
    struct event event = { .now_ns = life->now_ns };
    struct error error;
    taken->refused = false;
    enum err rc = inbox_read(&life->inbox, taken->name, &answer, &error);
    /* It stands in the ledger, and a life ended before the file was moved. */
    if (rc == ERR_OK && !answer.was_done && core_answered(life->core, &answer.origin)) return;
    const struct decision *decision = &answer.decision;
    bool is_signed = false;
    if (rc == ERR_OK)
        rc = inbox_prove(life->core, decision->owner, answer.statement, answer.signature,
                         &is_signed, &error);
    if (rc == ERR_OK) rc = inbox_match(life->core, decision, &event, &error);
    if (rc == ERR_OK)
        rc = prefix_check(&life->resume.prefix, life->state_dir, NULL, decision->head_seq,
                          &decision->head_chain, &error);
    if (rc != ERR_OK) {
        refuse_file(life, taken, &error);
        return;
    }
    event.as.decide.is_signed = is_signed;
    event.as.decide.signoff.origin = answer.origin;
    if (is_signed) {
        event.as.decide.signoff.statement = answer.statement;
        event.as.decide.signoff.signature = answer.signature;
    }
    life_step(life, &event);
}

static void take_inbox(struct coordinator *life)
{
    if (!inbox_due(&life->inbox, life->now_ns)) return;
    char after[DECISION_FILE_BYTES] = "";
    while (life->taken_count < INBOX_BATCH_MAX) {
        struct taken_file *taken = &life->taken[life->taken_count];
        if (!inbox_next(&life->inbox, after, taken->name)) return;
        text_copy(after, sizeof after, text_of(taken->name));
        life->taken_count++;
        take_file(life, taken);
    }
    life->inbox.next_look_ns = 0;
}

static void move_files(struct coordinator *life)
{
    for (uint32_t i = 0; i < life->taken_count; i++) {
        const struct taken_file *taken = &life->taken[i];
        if (taken->refused)
            inbox_refuse(&life->inbox, taken->name, taken->why);
        else
            inbox_done(&life->inbox, taken->name);
    }
    life->taken_count = 0;
}

/* Placement waits until every worker has joined. One that never does would stall everything. */
static void check_joining(struct coordinator *life)
{
    if (life->forced_status != 0 || life->silence.listened_ns < JOIN_NS) return;
    for (uint32_t worker = 1; worker <= life->workers; worker++) {
        if (life->standings[worker] != STANDING_UNKNOWN) continue;
        char text[96];
        struct writer writer = writer_of(text, sizeof text);
        writer_format(&writer, "worker %u has not joined within two minutes", worker);
        fprintf(stderr, "penstock: %s; run again\n", text);
        life->forced_status = STATUS_SUSPENDED;
        struct event event = { .kind = EVENT_SUSPEND,
                               .as.suspend = { .cause = text_of(text) } };
        life_step(life, &event);
        return;
    }
}

static void check_silence(struct coordinator *life)
{
    silence_tick(&life->silence, life->now_ns);
    uint32_t worker = 0;
    while ((worker = silence_lost(&life->silence, worker)) < life->silence.worker_count) {
        char cause[128];
        struct writer writer = writer_of(cause, sizeof cause);
        writer_string(&writer, "nothing was heard of it for ");
        writer_duration(&writer, life->silence.timeout_ns);
        lose_worker(life, worker, STANDING_LOST, cause);
    }
    check_joining(life);
}

static void take_timers(struct coordinator *life)
{
    if (core_due_ns(life->core) <= life->now_ns)
        life_step(life, &(struct event){ .kind = EVENT_TIMER });
    if (life->rouse_wanted && life->now_ns >= life->rouse_ns) {
        life->rouse_wanted = false;
        life->rouse_ns = life->now_ns + ROUSE_EVERY_NS;
        life_rouse(life);
    }
    space_look(life);
}

/* ---- one batch
 * ----------------------------------------------------------------------------------- */

static int64_t wait_ns(const struct coordinator *life)
{
    if (ledger_pending(life->ledger) > 0) return 0;
    int64_t due_ns = life->now_ns + WAIT_MAX_NS;
    due_ns = min_i64(due_ns, core_due_ns(life->core));
    due_ns = min_i64(due_ns, display_due_ns(&life->display));
    due_ns = min_i64(due_ns, space_due_ns(life));
    due_ns = min_i64(due_ns, life->inbox.next_look_ns);
    if (life->rouse_wanted) due_ns = min_i64(due_ns, life->rouse_ns);
    if (life->outbox.entry_count > 0) due_ns = min_i64(due_ns, life->now_ns + FULL_RETRY_NS);
    return max_i64(0, due_ns - life->now_ns);
}

static enum err wait_for_events(struct coordinator *life, struct error *error)
{
    struct pollfd watch[] = {
        { .fd = life->signals.fd, .events = POLLIN },
        { .fd = life->inbox.notify_fd, .events = POLLIN },
    };
    return link_wait(life->link, wait_ns(life), watch, ARRAY_COUNT(watch), error);
}

static enum err act(struct coordinator *life, struct error *error)
{
    struct ledger_head head = ledger_head(life->ledger);
    prefix_note(&life->resume.prefix, &head);
    display_flush(&life->display);
    move_files(life);
    enum err rc = outbox_perform(&life->outbox, life->core, error);
    if (rc == ERR_INPUT) {
        /* One message broke a rule of the wire: the run that it is for will time out and say
         * so. */
        log_line(LOG_LEVEL_ERROR, "message not sent: %s", error->text);
        rc = ERR_OK;
    }
    if (rc != ERR_OK) return rc;
    display_draw(&life->display, life->core, &life->board, life->now_ns, life->done);
    return link_poll(life->link, NULL, error);
}

enum err life_batch(struct coordinator *life, struct error *error)
{
    enum err rc = wait_for_events(life, error);
    if (rc != ERR_OK) return rc;
    rc = take_messages(life, error);
    if (rc != ERR_OK) return rc;
    life->now_ns = steady_clock_now_ns(&life->clock);
    take_signals(life);
    take_inbox(life);
    check_silence(life);
    take_timers(life);
    if (!life->failed) rc = space_commit(life, error);
    if (rc == ERR_OK && life->failed) {
        *error = life->failure;
        rc = life->failure.code;
    }
    return rc == ERR_OK ? act(life, error) : rc;
}
