/* inbox.c - see inbox.h. The questions first, then the folder. */
#include "scheduler/coordinator/inbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "scheduler/coordinator/clock.h"
#include "scheduler/coordinator/files.h"

enum { FOLDER_BYTES = 4096 };
#define SIGNATURE_TAIL ".sig"
#define LOOK_EVERY_NS NS_PER_S

enum err inbox_put(const char *state_dir, struct text statement, struct text signature,
                   struct error *error)
{
    char folder[FOLDER_BYTES], name[DECISION_FILE_BYTES], signed_name[DECISION_FILE_BYTES];
    struct writer folder_writer = writer_of(folder, sizeof folder);
    struct writer name_writer = writer_of(name, sizeof name);
    struct writer signed_writer = writer_of(signed_name, sizeof signed_name);
    writer_format(&folder_writer, "%s/inbox", state_dir);
    writer_format(&name_writer, "%020lld-%ld.decision", (long long)clock_wall_ns(),
                  (long)getpid());
    writer_format(&signed_writer, "%s" SIGNATURE_TAIL, name);
    if (folder_writer.full) return error_set(error, ERR_INPUT, "%s is too long", state_dir);
    check(!name_writer.full);
    check(!signed_writer.full);
    enum err rc = dir_make(folder, error);
    /* The signature first: whoever sees the decision sees all of it. */
    if (rc == ERR_OK && signature.len > 0)
        rc = file_replace(folder, signed_name, signature, true, error);
    if (rc == ERR_OK) rc = file_replace(folder, name, statement, true, error);
    return rc;
}

/* ---- questions
 * ---------------------------------------------------------------------------------- */

static bool gate_waits(const struct core *core, uint32_t run, uint32_t slot)
{
    return core_run_gate(core, run, slot)->verdict == VERDICT_HOLD;
}

/* A run that a runbook holds, and not one that waits at a gate. */
static bool run_waits(const struct core *core, uint32_t index)
{
    const struct run *run = core_run(core, index);
    if (run->state != RUN_STATE_HELD) return false;
    for (uint32_t slot = 0; slot < run->gate_count; slot++)
        if (gate_waits(core, index, slot)) return false;
    return true;
}

static bool tier_waits(const struct core *core, uint32_t tier)
{
    const struct budget *budget = core_budget(core);
    return budget->tier_asked && !budget->tier_refused && tier == budget->tiers_open;
}

static void list_questions(const struct core *core, struct writer *writer)
{
    const struct campaign_spec *campaign = core_campaign(core);
    size_t start = writer->len;
    for (uint32_t i = 0; i < core_run_count(core); i++) {
        const struct run *run = core_run(core, i);
        for (uint32_t slot = 0; slot < run->gate_count; slot++)
            if (gate_waits(core, i, slot))
                writer_format(writer, "%s%s/%s", writer->len > start ? ", " : "", run->name,
                              core_gate(core, core_run_gate(core, i, slot)->gate_index)->name);
        if (run_waits(core, i))
            writer_format(writer, "%s%s", writer->len > start ? ", " : "", run->name);
    }
    for (uint32_t tier = 0; tier < campaign->tier_count; tier++)
        if (tier_waits(core, tier))
            writer_format(writer, "%stier:%u", writer->len > start ? ", " : "", tier + 1);
    if (writer->len == start) writer_string(writer, "nothing");
}

static enum err no_question(const struct core *core, const char *what, struct error *error)
{
    char list[320];
    struct writer writer = writer_of(list, sizeof list);
    list_questions(core, &writer);
    return error_set(error, ERR_INPUT, "nobody is asked about %s; waiting now: %s%s", what,
                     list, writer.full ? "..." : "");
}

static void ask_of(const struct core *core, uint32_t run, struct decision *decision)
{
    const struct request *request = core_request(core, run);
    decision->request = request->id;
    decision->attempt = request->attempt;
    decision->evidence = evidence_hash(core, run);
}

static void ask_gate(const struct core *core, uint32_t run, uint32_t slot,
                     struct decision *decision)
{
    const struct run_gate *gate = core_run_gate(core, run, slot);
    decision->subject = SUBJECT_GATE;
    text_copy(decision->run, sizeof decision->run, text_of(core_run(core, run)->name));
    text_copy(decision->gate, sizeof decision->gate,
              text_of(core_gate(core, gate->gate_index)->name));
    ask_of(core, run, decision);
}

static enum err ask_tier(const struct core *core, const char *what, struct decision *decision,
                         struct error *error)
{
    uint64_t number = 0;
    if (!text_to_u64(text_of(what + strlen("tier:")), &number) || number == 0 ||
        number > core_campaign(core)->tier_count || !tier_waits(core, (uint32_t)number - 1))
        return no_question(core, what, error);
    decision->subject = SUBJECT_TIER;
    decision->tier = (uint32_t)number - 1;
    ask_of(core, NO_INDEX, decision);
    return ERR_OK;
}

/* The only waiting gate point that is called `name`, over all runs. */
static enum err ask_gate_named(const struct core *core, const char *name,
                               struct decision *decision, struct error *error)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < core_run_count(core); i++) {
        uint32_t slot = core_find_gate(core, i, text_of(name));
        if (slot == NO_INDEX || !gate_waits(core, i, slot)) continue;
        if (found++ == 0) ask_gate(core, i, slot, decision);
    }
    if (found == 1) return ERR_OK;
    if (found == 0) return no_question(core, name, error);
    return error_set(error, ERR_INPUT, "%u runs wait at gate %s; say which: RUN/%s", found,
                     name, name);
}

enum err inbox_question(const struct core *core, const char *what, struct decision *decision,
                        struct error *error)
{
    if (text_starts(text_of(what), TEXT("tier:"))) return ask_tier(core, what, decision, error);
    const char *slash = strrchr(what, '/');
    if (slash != NULL) {
        struct text run_name = { what, (size_t)(slash - what) };
        uint32_t run = core_find_run(core, run_name);
        uint32_t slot =
            run == NO_INDEX ? NO_INDEX : core_find_gate(core, run, text_of(slash + 1));
        if (slot == NO_INDEX || !gate_waits(core, run, slot))
            return no_question(core, what, error);
        ask_gate(core, run, slot, decision);
        return ERR_OK;
    }
    uint32_t run = core_find_run(core, text_of(what));
    if (run == NO_INDEX) return ask_gate_named(core, what, decision, error);
    for (uint32_t slot = 0; slot < core_run(core, run)->gate_count; slot++) {
        if (!gate_waits(core, run, slot)) continue;
        ask_gate(core, run, slot, decision);
        return ERR_OK;
    }
    if (!run_waits(core, run)) return no_question(core, what, error);
    decision->subject = SUBJECT_RUN;
    text_copy(decision->run, sizeof decision->run, text_of(core_run(core, run)->name));
    ask_of(core, run, decision);
    return ERR_OK;
}

/* Finds what the decision is about, by its names. */
static enum err match_subject(const struct core *core, const struct decision *decision,
                              struct event *event, struct error *error)
{
    event->as.decide.run = event->as.decide.slot = event->as.decide.tier = NO_INDEX;
    if (decision->subject == SUBJECT_TIER) {
        event->as.decide.tier = decision->tier;
        if (decision->tier < core_campaign(core)->tier_count) return ERR_OK;
        return error_set(error, ERR_REFUSED, "there is no tier %u", decision->tier + 1);
    }
    uint32_t run = core_find_run(core, text_of(decision->run));
    if (run == NO_INDEX)
        return error_set(error, ERR_REFUSED, "there is no run %s", decision->run);
    event->as.decide.run = run;
    if (decision->subject == SUBJECT_RUN) return ERR_OK;
    event->as.decide.slot = core_find_gate(core, run, text_of(decision->gate));
    if (event->as.decide.slot != NO_INDEX) return ERR_OK;
    return error_set(error, ERR_REFUSED, "there is no gate %s/%s", decision->run,
                     decision->gate);
}

/* Whether what the decision names is what the open question is about. */
static bool asks_about(const struct core *core, const struct decision *decision,
                       const struct event *event)
{
    switch (decision->subject) {
    case SUBJECT_GATE: return gate_waits(core, event->as.decide.run, event->as.decide.slot);
    case SUBJECT_RUN: return run_waits(core, event->as.decide.run);
    case SUBJECT_TIER: return tier_waits(core, decision->tier);
    }
    unreachable("decision subject");
}

/* Whether the decision answers the question that is open now, on what the state says of it. */
static enum err match_request(const struct core *core, const struct decision *decision,
                              const struct event *event, struct error *error)
{
    const struct request *request = core_request(core, event->as.decide.run);
    if (request->id == 0) return error_set(error, ERR_REFUSED, "nobody was asked about it yet");
    if (decision->request == request->id && !request->open)
        return error_set(error, ERR_REFUSED,
                         "question %llu has its verdict already; a second one is refused",
                         (unsigned long long)decision->request);
    if (decision->request != request->id || !asks_about(core, decision, event))
        return error_set(error, ERR_REFUSED,
                         "it answers question %llu, which was answered already or is about "
                         "something else",
                         (unsigned long long)decision->request);
    struct sha256 evidence = evidence_hash(core, event->as.decide.run);
    if (decision->attempt != request->attempt || !sha256_equal(&decision->evidence, &evidence))
        return error_set(error, ERR_REFUSED, "it was given on other evidence");
    return ERR_OK;
}

static uint32_t owner_find(const struct campaign_spec *campaign, const char *name)
{
    for (uint32_t i = 0; i < campaign->owner_count; i++)
        if (strcmp(campaign->owners[i].name, name) == 0) return i;
    return NO_INDEX;
}

enum err inbox_match(const struct core *core, const struct decision *decision,
                     struct event *event, struct error *error)
{
    const struct campaign_spec *campaign = core_campaign(core);
    check(campaign != NULL);
    if (!sha256_equal(&decision->campaign, &campaign->file_hash))
        return error_set(error, ERR_REFUSED, "it belongs to another campaign");
    uint32_t owner = owner_find(campaign, decision->owner);
    if (owner == NO_INDEX)
        return error_set(error, ERR_REFUSED, "the campaign has no owner %s", decision->owner);
    event->kind = EVENT_DECIDE;
    event->as.decide.subject = decision->subject;
    enum err rc = match_subject(core, decision, event, error);
    if (rc == ERR_OK) rc = match_request(core, decision, event, error);
    if (rc != ERR_OK) return rc;
    uint32_t asked = core_request(core, event->as.decide.run)->owner;
    if (asked != owner)
        return error_set(error, ERR_REFUSED, "%s is asked, not %s",
                         asked < campaign->owner_count ? campaign->owners[asked].name
                                                       : "nobody",
                         decision->owner);
    event->as.decide.request = decision->request;
    event->as.decide.verdict = decision->verdict;
    event->as.decide.owner = owner;
    event->as.decide.reason = text_of(decision->reason);
    return ERR_OK;
}

enum err inbox_prove(const struct core *core, const char *owner_name, struct text statement,
                     struct text signature, bool *is_signed, struct error *error)
{
    const struct campaign_spec *campaign = core_campaign(core);
    uint32_t index = owner_find(campaign, owner_name);
    *is_signed = false;
    if (index == NO_INDEX)
        return error_set(error, ERR_REFUSED, "the campaign has no owner %s", owner_name);
    const struct owner_spec *owner = &campaign->owners[index];
    if (owner->key_count == 0 && signature.len == 0) return ERR_OK;
    if (owner->key_count == 0)
        return error_set(error, ERR_REFUSED,
                         "it is signed, but the campaign names no key of %s to check it with",
                         owner_name);
    if (signature.len == 0)
        return error_set(error, ERR_REFUSED, "%s must sign, and it is not signed", owner_name);
    enum err rc = signoff_prove(owner, statement, signature, error);
    *is_signed = rc == ERR_OK;
    return rc;
}

/* ---- the folder
 * --------------------------------------------------------------------------------- */

static bool folder_path(const struct inbox *inbox, const char *sub, const char *file,
                        char *path)
{
    struct writer writer = writer_of(path, FOLDER_BYTES);
    writer_format(&writer, "%s/inbox%s%s%s", inbox->state_dir, sub, file[0] != '\0' ? "/" : "",
                  file);
    return !writer.full;
}

enum err inbox_open(struct inbox *inbox, const char *state_dir, struct error *error)
{
    static const char *const subs[] = { "", "/done", "/refused" };
    *inbox = (struct inbox){ .state_dir = state_dir, .notify_fd = -1 };
    char path[FOLDER_BYTES];
    for (size_t i = 0; i < ARRAY_COUNT(subs); i++) {
        if (!folder_path(inbox, subs[i], "", path))
            return error_set(error, ERR_INPUT, "%s is too long", state_dir);
        enum err rc = dir_make(path, error);
        if (rc != ERR_OK) return rc;
    }
    /* Without inotify, or when a file comes from another host of a network file system, the
     * look once a second finds it. */
    inbox->notify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    folder_path(inbox, "", "", path);
    if (inbox->notify_fd >= 0 &&
        inotify_add_watch(inbox->notify_fd, path, IN_MOVED_TO | IN_CLOSE_WRITE) < 0) {
        close(inbox->notify_fd);
        inbox->notify_fd = -1;
    }
    return ERR_OK;
}

void inbox_close(struct inbox *inbox)
{
    if (inbox->state_dir != NULL && inbox->notify_fd >= 0) close(inbox->notify_fd);
    memset(inbox, 0, sizeof *inbox);
    inbox->notify_fd = -1;
}

bool inbox_due(struct inbox *inbox, int64_t now_ns)
{
    bool noticed = false;
    char events[1024];
    while (inbox->notify_fd >= 0 && read(inbox->notify_fd, events, sizeof events) > 0)
        noticed = true;
    if (!noticed && now_ns < inbox->next_look_ns) return false;
    inbox->next_look_ns = now_ns + LOOK_EVERY_NS;
    return true;
}

bool inbox_next(const struct inbox *inbox, const char *after, char *file)
{
    char path[FOLDER_BYTES];
    if (!folder_path(inbox, "", "", path)) return false;
    DIR *dir = opendir(path);
    if (dir == NULL) return false;
    bool found = false;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        size_t len = strlen(entry->d_name), tail = strlen(".decision");
        if (entry->d_name[0] == '.' || len < tail || len >= DECISION_FILE_BYTES) continue;
        if (strcmp(entry->d_name + len - tail, ".decision") != 0) continue;
        if (strcmp(entry->d_name, after) <= 0) continue;
        if (found && strcmp(entry->d_name, file) >= 0) continue;
        text_copy(file, DECISION_FILE_BYTES, text_of(entry->d_name));
        found = true;
    }
    closedir(dir);
    return found;
}

/* What a later life knows a file by: its name and what is in it. */
static struct sha256 origin_of(const char *file, struct text statement)
{
    struct sha256_stream stream;
    sha256_init(&stream);
    sha256_add(&stream, file, strlen(file) + 1);
    sha256_add(&stream, statement.data, statement.len);
    return sha256_end(&stream);
}

static bool was_done(const struct inbox *inbox, const char *file)
{
    char path[FOLDER_BYTES];
    struct stat status;
    return folder_path(inbox, "/done", file, path) && lstat(path, &status) == 0;
}

enum err inbox_read(const struct inbox *inbox, const char *file, struct answer *answer,
                    struct error *error)
{
    char path[FOLDER_BYTES], name[DECISION_FILE_BYTES + sizeof SIGNATURE_TAIL];
    struct writer writer = writer_of(name, sizeof name);
    size_t bytes = 0;
    memset(answer, 0, sizeof *answer);
    writer_format(&writer, "%s" SIGNATURE_TAIL, file);
    if (!folder_path(inbox, "", "", path))
        return error_set(error, ERR_INPUT, "the path is too long");
    enum err rc = file_read(path, file, answer->statement_room, sizeof answer->statement_room,
                            &bytes, error);
    if (rc != ERR_OK) return rc;
    answer->statement = (struct text){ answer->statement_room, bytes };
    answer->origin = origin_of(file, answer->statement);
    answer->was_done = was_done(inbox, file);
    rc = file_read(path, name, answer->signature_room, sizeof answer->signature_room, &bytes,
                   error);
    if (rc != ERR_OK && rc != ERR_NOT_FOUND) return rc;
    if (rc == ERR_OK) answer->signature = (struct text){ answer->signature_room, bytes };
    return decision_parse(answer->statement, &answer->decision, error);
}

static void move_one(const struct inbox *inbox, const char *sub, const char *file, bool must_be)
{
    char from[FOLDER_BYTES], to[FOLDER_BYTES];
    if (!folder_path(inbox, "", file, from) || !folder_path(inbox, sub, file, to)) return;
    if (rename(from, to) != 0 && (must_be || errno != ENOENT))
        log_line(LOG_LEVEL_WARN, "inbox file=%s cannot be moved: %s", file, strerror(errno));
}

/* The decision first: when a crash comes between the two, a lone signature is not looked at. */
static void move_file(const struct inbox *inbox, const char *sub, const char *file)
{
    char name[DECISION_FILE_BYTES + sizeof SIGNATURE_TAIL];
    struct writer writer = writer_of(name, sizeof name);
    writer_format(&writer, "%s" SIGNATURE_TAIL, file);
    move_one(inbox, sub, file, true);
    move_one(inbox, sub, name, false);
}

void inbox_done(const struct inbox *inbox, const char *file)
{
    move_file(inbox, "/done", file);
}

void inbox_refuse(const struct inbox *inbox, const char *file, const char *why)
{
    char folder[FOLDER_BYTES], name[DECISION_FILE_BYTES + 8], text[1024];
    struct writer name_writer = writer_of(name, sizeof name);
    struct writer writer = writer_of(text, sizeof text);
    writer_format(&name_writer, "%s.reason", file);
    writer_format(&writer, "%s\n", why);
    struct error error;
    if (folder_path(inbox, "/refused", "", folder) &&
        file_replace(folder, name, (struct text){ text, writer.len }, false, &error) != ERR_OK)
        log_line(LOG_LEVEL_WARN, "inbox %s", error.text);
    move_file(inbox, "/refused", file);
}
