/* inbox.c - see inbox.h. The text form first, then the questions, then the folder. */
#include "scheduler/coordinator/inbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "scheduler/coordinator/clock.h"
#include "scheduler/coordinator/files.h"

enum { FOLDER_BYTES = 4096 };
#define LOOK_EVERY_NS NS_PER_S

/* ---- text form
 * ---------------------------------------------------------------------------------- */

#define DECISION_KEYS(X)                                                                       \
    X(FORM, "penstock-decision")                                                               \
    X(CAMPAIGN, "campaign")                                                                    \
    X(SUBJECT, "subject")                                                                      \
    X(RUN, "run")                                                                              \
    X(GATE, "gate")                                                                            \
    X(TIER, "tier")                                                                            \
    X(ASKED, "asked-ns")                                                                       \
    X(VERDICT, "verdict")                                                                      \
    X(OWNER, "owner")                                                                          \
    X(REASON, "reason")

enum decision_key {
#define X(id, name) KEY_##id,
    DECISION_KEYS(X) KEY_COUNT
#undef X
};

static const char *const key_names[KEY_COUNT] = {
#define X(id, name) [KEY_##id] = (name),
    DECISION_KEYS(X)
#undef X
};

static const char *const subject_names[] = {
    [SUBJECT_GATE] = "gate",
    [SUBJECT_RUN] = "run",
    [SUBJECT_TIER] = "tier",
};

/* Which keys a subject needs beside those that all need. */
static const struct {
    bool run, gate, tier;
} subject_needs[] = {
    [SUBJECT_GATE] = { .run = true, .gate = true },
    [SUBJECT_RUN] = { .run = true },
    [SUBJECT_TIER] = { .tier = true },
};

void decision_write(const struct decision *decision, struct writer *writer)
{
    char hex[2 * SHA256_BYTES + 1];
    sha256_hex(&decision->campaign, hex);
    writer_format(writer, "penstock-decision: 1\ncampaign: %s\nsubject: %s\n", hex,
                  subject_names[decision->subject]);
    if (subject_needs[decision->subject].run) writer_format(writer, "run: %s\n", decision->run);
    if (subject_needs[decision->subject].gate)
        writer_format(writer, "gate: %s\n", decision->gate);
    if (subject_needs[decision->subject].tier)
        writer_format(writer, "tier: %u\n", decision->tier);
    writer_format(writer, "asked-ns: %lld\nverdict: %s\nowner: %s\nreason: %s\n",
                  (long long)decision->asked_ns,
                  decision->verdict == VERDICT_GO ? "go" : "no-go", decision->owner,
                  decision->reason);
}

static enum decision_key key_find(struct text name)
{
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (text_is(name, key_names[i])) return (enum decision_key)i;
    return KEY_COUNT;
}

/* Splits "KEY: VALUE" lines into one value per key. */
static enum err split_lines(struct text text, struct text values[KEY_COUNT],
                            struct error *error)
{
    for (unsigned line = 1; text.len > 0; line++) {
        size_t end = text_find(text, TEXT("\n"));
        if (end == SIZE_MAX)
            return error_set(error, ERR_INPUT, "line %u does not end in a newline", line);
        struct text row = { text.data, end };
        text = (struct text){ text.data + end + 1, text.len - end - 1 };
        size_t colon = text_find(row, TEXT(": "));
        if (colon == SIZE_MAX)
            return error_set(error, ERR_INPUT, "line %u is not \"KEY: VALUE\"", line);
        enum decision_key key = key_find((struct text){ row.data, colon });
        if (key == KEY_COUNT)
            return error_set(error, ERR_INPUT, "line %u has an unknown key", line);
        if (values[key].data != NULL)
            return error_set(error, ERR_INPUT, "line %u gives %s again", line, key_names[key]);
        values[key] = text_trim((struct text){ row.data + colon + 2, row.len - colon - 2 });
        for (size_t i = 0; i < values[key].len; i++)
            if ((unsigned char)values[key].data[i] < 0x20 || values[key].data[i] == 0x7F)
                return error_set(error, ERR_INPUT, "line %u holds a control character", line);
    }
    return ERR_OK;
}

static enum err need(const struct text *values, enum decision_key key, bool wanted,
                     struct error *error)
{
    bool there = values[key].data != NULL && values[key].len > 0;
    if (there == wanted) return ERR_OK;
    return error_set(error, ERR_INPUT, wanted ? "%s is missing" : "%s does not belong here",
                     key_names[key]);
}

static enum err take_string(char *to, size_t to_bytes, const struct text *values,
                            enum decision_key key, struct error *error)
{
    if (text_copy(to, to_bytes, values[key])) return ERR_OK;
    return error_set(error, ERR_INPUT, "%s is longer than %zu bytes", key_names[key],
                     to_bytes - 1);
}

static enum err take_subject(const struct text *values, struct decision *decision,
                             struct error *error)
{
    size_t subject = 0;
    while (subject < ARRAY_COUNT(subject_names) &&
           !text_is(values[KEY_SUBJECT], subject_names[subject]))
        subject++;
    if (subject == ARRAY_COUNT(subject_names))
        return error_set(error, ERR_INPUT, "subject is none of gate, run and tier");
    decision->subject = (enum decision_subject)subject;
    enum err rc = need(values, KEY_RUN, subject_needs[subject].run, error);
    if (rc == ERR_OK) rc = need(values, KEY_GATE, subject_needs[subject].gate, error);
    if (rc == ERR_OK) rc = need(values, KEY_TIER, subject_needs[subject].tier, error);
    uint64_t tier = 0;
    if (rc == ERR_OK && subject_needs[subject].tier &&
        (!text_to_u64(values[KEY_TIER], &tier) || tier >= TIERS_MAX))
        rc = error_set(error, ERR_INPUT, "tier is not a number below %d", TIERS_MAX);
    decision->tier = (uint32_t)tier;
    return rc;
}

static enum err take_values(const struct text *values, struct decision *decision,
                            struct error *error)
{
    static const enum decision_key always[] = { KEY_FORM,  KEY_CAMPAIGN, KEY_SUBJECT,
                                                KEY_ASKED, KEY_VERDICT,  KEY_OWNER,
                                                KEY_REASON };
    enum err rc = ERR_OK;
    for (size_t i = 0; rc == ERR_OK && i < ARRAY_COUNT(always); i++)
        rc = need(values, always[i], true, error);
    if (rc != ERR_OK) return rc;
    if (!text_is(values[KEY_FORM], "1"))
        return error_set(error, ERR_INPUT, "its form is not 1, the only one known here");
    if (!sha256_from_hex(values[KEY_CAMPAIGN], &decision->campaign))
        return error_set(error, ERR_INPUT, "campaign is not a SHA-256 in hexadecimal");
    if (!text_to_i64(values[KEY_ASKED], &decision->asked_ns))
        return error_set(error, ERR_INPUT, "asked-ns is not a number");
    if (text_is(values[KEY_VERDICT], "go"))
        decision->verdict = VERDICT_GO;
    else if (text_is(values[KEY_VERDICT], "no-go"))
        decision->verdict = VERDICT_NO_GO;
    else
        return error_set(error, ERR_INPUT, "verdict is neither go nor no-go");
    rc = take_subject(values, decision, error);
    if (rc == ERR_OK) rc = take_string(decision->run, NAME_MAX_BYTES, values, KEY_RUN, error);
    if (rc == ERR_OK) rc = take_string(decision->gate, NAME_MAX_BYTES, values, KEY_GATE, error);
    if (rc == ERR_OK)
        rc = take_string(decision->owner, NAME_MAX_BYTES, values, KEY_OWNER, error);
    if (rc == ERR_OK)
        rc = take_string(decision->reason, DECISION_REASON_BYTES, values, KEY_REASON, error);
    return rc;
}

enum err decision_parse(struct text text, struct decision *decision, struct error *error)
{
    struct text values[KEY_COUNT];
    memset(values, 0, sizeof values);
    memset(decision, 0, sizeof *decision);
    if (text.len >= DECISION_BYTES_MAX)
        return error_set(error, ERR_INPUT, "longer than %d bytes", DECISION_BYTES_MAX - 1);
    enum err rc = split_lines(text, values, error);
    if (rc == ERR_OK) rc = take_values(values, decision, error);
    if (rc != ERR_OK) memset(decision, 0, sizeof *decision);
    return rc;
}

enum err inbox_put(const char *state_dir, const struct decision *decision, struct error *error)
{
    char folder[FOLDER_BYTES], name[DECISION_FILE_BYTES], data[DECISION_BYTES_MAX];
    struct writer folder_writer = writer_of(folder, sizeof folder);
    struct writer name_writer = writer_of(name, sizeof name);
    struct writer writer = writer_of(data, sizeof data);
    writer_format(&folder_writer, "%s/inbox", state_dir);
    writer_format(&name_writer, "%020lld-%ld.decision", (long long)clock_wall_ns(),
                  (long)getpid());
    decision_write(decision, &writer);
    if (folder_writer.full) return error_set(error, ERR_INPUT, "%s is too long", state_dir);
    check(!name_writer.full);
    check(!writer.full);
    enum err rc = dir_make(folder, error);
    if (rc != ERR_OK) return rc;
    return file_replace(folder, name, (struct text){ data, writer.len }, true, error);
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

static void ask_gate(const struct core *core, uint32_t run, uint32_t slot,
                     struct decision *decision)
{
    const struct run_gate *gate = core_run_gate(core, run, slot);
    decision->subject = SUBJECT_GATE;
    text_copy(decision->run, sizeof decision->run, text_of(core_run(core, run)->name));
    text_copy(decision->gate, sizeof decision->gate,
              text_of(core_gate(core, gate->gate_index)->name));
    decision->asked_ns = gate->asked_ns;
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
    decision->asked_ns = core_budget(core)->tier_asked_ns;
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
    decision->asked_ns = core_run(core, run)->state_since_ns;
    return ERR_OK;
}

static enum err match_gate(const struct core *core, const struct decision *decision,
                           struct event *event, uint32_t *asked_owner, struct error *error)
{
    uint32_t run = core_find_run(core, text_of(decision->run));
    uint32_t slot =
        run == NO_INDEX ? NO_INDEX : core_find_gate(core, run, text_of(decision->gate));
    if (slot == NO_INDEX)
        return error_set(error, ERR_REFUSED, "there is no gate %s/%s", decision->run,
                         decision->gate);
    const struct run_gate *gate = core_run_gate(core, run, slot);
    if (gate->asked_ns == decision->asked_ns && gate->verdict == decision->verdict)
        return error_set(error, ERR_CLOSED, "stands already");
    if (gate->verdict != VERDICT_HOLD || gate->asked_ns != decision->asked_ns)
        return error_set(error, ERR_REFUSED, "gate %s/%s does not wait for this answer",
                         decision->run, decision->gate);
    event->as.decide.run = run;
    event->as.decide.slot = slot;
    *asked_owner = core_gate(core, gate->gate_index)->owner_index;
    return ERR_OK;
}

static enum err match_run(const struct core *core, const struct decision *decision,
                          struct event *event, uint32_t *asked_owner, struct error *error)
{
    uint32_t run = core_find_run(core, text_of(decision->run));
    if (run == NO_INDEX)
        return error_set(error, ERR_REFUSED, "there is no run %s", decision->run);
    if (!run_waits(core, run) || core_run(core, run)->state_since_ns != decision->asked_ns)
        return error_set(error, ERR_REFUSED, "run %s does not wait for this answer",
                         decision->run);
    event->as.decide.run = run;
    *asked_owner = core_run(core, run)->owner_index;
    return ERR_OK;
}

static enum err match_tier(const struct core *core, const struct decision *decision,
                           struct event *event, uint32_t *asked_owner, struct error *error)
{
    const struct campaign_spec *campaign = core_campaign(core);
    if (decision->tier >= campaign->tier_count || !tier_waits(core, decision->tier) ||
        core_budget(core)->tier_asked_ns != decision->asked_ns)
        return error_set(error, ERR_REFUSED, "tier %u does not wait for this answer",
                         decision->tier + 1);
    event->as.decide.tier = decision->tier;
    *asked_owner = campaign->tiers[decision->tier].owner_index;
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
    event->as.decide.run = event->as.decide.slot = event->as.decide.tier = NO_INDEX;
    uint32_t asked_owner = NO_INDEX;
    enum err rc = ERR_OK;
    switch (decision->subject) {
    case SUBJECT_GATE: rc = match_gate(core, decision, event, &asked_owner, error); break;
    case SUBJECT_RUN: rc = match_run(core, decision, event, &asked_owner, error); break;
    case SUBJECT_TIER: rc = match_tier(core, decision, event, &asked_owner, error); break;
    }
    if (rc != ERR_OK) return rc;
    if (asked_owner != owner)
        return error_set(
            error, ERR_REFUSED, "%s is asked, not %s",
            asked_owner < campaign->owner_count ? campaign->owners[asked_owner].name : "nobody",
            decision->owner);
    event->as.decide.verdict = decision->verdict;
    event->as.decide.owner = owner;
    event->as.decide.reason = text_of(decision->reason);
    event->as.decide.is_signed = false;
    return ERR_OK;
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

enum err inbox_read(const struct inbox *inbox, const char *file, struct decision *decision,
                    struct error *error)
{
    char path[FOLDER_BYTES], data[DECISION_BYTES_MAX];
    size_t bytes = 0;
    if (!folder_path(inbox, "", "", path))
        return error_set(error, ERR_INPUT, "the path is too long");
    enum err rc = file_read(path, file, data, sizeof data, &bytes, error);
    if (rc != ERR_OK) return rc;
    return decision_parse((struct text){ data, bytes }, decision, error);
}

static void move_file(const struct inbox *inbox, const char *sub, const char *file)
{
    char from[FOLDER_BYTES], to[FOLDER_BYTES];
    if (!folder_path(inbox, "", file, from) || !folder_path(inbox, sub, file, to)) return;
    if (rename(from, to) != 0)
        log_line(LOG_LEVEL_WARN, "inbox file=%s cannot be moved: %s", file, strerror(errno));
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
