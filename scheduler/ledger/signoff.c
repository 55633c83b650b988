/* signoff.c - see signoff.h. The text form first, then evidence, then signatures. */
#include "scheduler/ledger/signoff.h"

#include <inttypes.h>
#include <string.h>

#include "scheduler/ledger/record.h"

/* ---- text form ----------------------------------------------------------------------- */

#define DECISION_KEYS(X)                                                                       \
    X(FORM, "penstock-decision")                                                               \
    X(CAMPAIGN, "campaign")                                                                    \
    X(REQUEST, "request")                                                                      \
    X(SUBJECT, "subject")                                                                      \
    X(RUN, "run")                                                                              \
    X(GATE, "gate")                                                                            \
    X(TIER, "tier")                                                                            \
    X(ATTEMPT, "attempt")                                                                      \
    X(VERDICT, "verdict")                                                                      \
    X(OWNER, "owner")                                                                          \
    X(REASON, "reason")                                                                        \
    X(EVIDENCE, "evidence")                                                                    \
    X(HEAD_SEQ, "head-seq")                                                                    \
    X(HEAD_CHAIN, "head-chain")

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
    char campaign[2 * SHA256_BYTES + 1], evidence[2 * SHA256_BYTES + 1];
    char chain[2 * SHA256_BYTES + 1];
    sha256_hex(&decision->campaign, campaign);
    sha256_hex(&decision->evidence, evidence);
    sha256_hex(&decision->head_chain, chain);
    writer_format(writer,
                  "penstock-decision: 2\ncampaign: %s\nrequest: %" PRIu64 "\nsubject: %s\n",
                  campaign, decision->request, subject_names[decision->subject]);
    if (subject_needs[decision->subject].run)
        writer_format(writer, "run: %s\nattempt: %" PRIu32 "\n", decision->run,
                      decision->attempt);
    if (subject_needs[decision->subject].gate)
        writer_format(writer, "gate: %s\n", decision->gate);
    if (subject_needs[decision->subject].tier)
        writer_format(writer, "tier: %" PRIu32 "\n", decision->tier);
    writer_format(writer,
                  "verdict: %s\nowner: %s\nreason: %s\nevidence: %s\nhead-seq: %" PRIu64
                  "\nhead-chain: %s\n",
                  decision->verdict == VERDICT_GO ? "go" : "no-go", decision->owner,
                  decision->reason, evidence, decision->head_seq, chain);
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
        if (!text_is_utf8(values[key]))
            return error_set(error, ERR_INPUT, "line %u is not UTF-8", line);
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
    if (rc == ERR_OK) rc = need(values, KEY_ATTEMPT, subject_needs[subject].run, error);
    if (rc == ERR_OK) rc = need(values, KEY_GATE, subject_needs[subject].gate, error);
    if (rc == ERR_OK) rc = need(values, KEY_TIER, subject_needs[subject].tier, error);
    uint64_t tier = 0, attempt = 0;
    if (rc == ERR_OK && subject_needs[subject].tier &&
        (!text_to_u64(values[KEY_TIER], &tier) || tier >= TIERS_MAX))
        rc = error_set(error, ERR_INPUT, "tier is not a number below %d", TIERS_MAX);
    if (rc == ERR_OK && subject_needs[subject].run &&
        (!text_to_u64(values[KEY_ATTEMPT], &attempt) || attempt > UINT32_MAX))
        rc = error_set(error, ERR_INPUT, "attempt is not a number");
    decision->tier = (uint32_t)tier;
    decision->attempt = (uint32_t)attempt;
    return rc;
}

static enum err take_values(const struct text *values, struct decision *decision,
                            struct error *error)
{
    static const enum decision_key always[] = { KEY_FORM,      KEY_CAMPAIGN, KEY_REQUEST,
                                                KEY_SUBJECT,   KEY_VERDICT,  KEY_OWNER,
                                                KEY_REASON,    KEY_EVIDENCE, KEY_HEAD_SEQ,
                                                KEY_HEAD_CHAIN };
    enum err rc = ERR_OK;
    for (size_t i = 0; rc == ERR_OK && i < ARRAY_COUNT(always); i++)
        rc = need(values, always[i], true, error);
    if (rc != ERR_OK) return rc;
    if (!text_is(values[KEY_FORM], "2"))
        return error_set(error, ERR_INPUT, "its form is not 2, the only one known here");
    if (!sha256_from_hex(values[KEY_CAMPAIGN], &decision->campaign))
        return error_set(error, ERR_INPUT, "campaign is not a SHA-256 in hexadecimal");
    if (!text_to_u64(values[KEY_REQUEST], &decision->request) || decision->request == 0)
        return error_set(error, ERR_INPUT, "request is not a number from 1 on");
    if (!sha256_from_hex(values[KEY_EVIDENCE], &decision->evidence))
        return error_set(error, ERR_INPUT, "evidence is not a SHA-256 in hexadecimal");
    if (!text_to_u64(values[KEY_HEAD_SEQ], &decision->head_seq))
        return error_set(error, ERR_INPUT, "head-seq is not a number");
    if (!sha256_from_hex(values[KEY_HEAD_CHAIN], &decision->head_chain))
        return error_set(error, ERR_INPUT, "head-chain is not a SHA-256 in hexadecimal");
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

/* ---- evidence ------------------------------------------------------------------------ */

static void loss_line(struct writer *writer, const char *name, int64_t loss_micro)
{
    if (loss_micro == LOSS_UNKNOWN) return;
    if (loss_micro == LOSS_NONFINITE)
        writer_format(writer, "%s: not finite\n", name);
    else
        writer_format(writer, "%s: %" PRId64 " millionths\n", name, loss_micro);
}

static void gate_lines(const struct core *core, uint32_t run, uint32_t slot,
                       struct writer *writer)
{
    const struct run_gate *gate = core_run_gate(core, run, slot);
    writer_format(writer, "gate: %s\nstep: %" PRIu64 "\ntokens: %" PRIu64 "\n",
                  core_gate(core, gate->gate_index)->name, gate->step, gate->tokens);
    loss_line(writer, "held-out loss", gate->loss_micro);
    loss_line(writer, "best held-out loss", gate->best_micro);
    loss_line(writer, "average held-out loss", gate->mean_micro);
    writer_format(writer, "checkpoint: %s\ntranche: %" PRId64 " millionths\n", gate->checkpoint,
                  gate->tranche_micros);
}

/* The gate that a run's question is about: the last one that was reported. It has no GO while the
 * question is open, and no later one is reported before it is answered. */
static uint32_t asked_slot(const struct core *core, uint32_t run)
{
    uint32_t found = NO_INDEX;
    for (uint32_t slot = 0; slot < core_run(core, run)->gate_count; slot++)
        if (core_run_gate(core, run, slot)->reported) found = slot;
    return found;
}

static void run_lines(const struct core *core, uint32_t index, struct writer *writer)
{
    const struct run *run = core_run(core, index);
    uint32_t slot = asked_slot(core, index);
    writer_format(writer, "run: %s\nattempt: %" PRIu32 "\n", run->name, run->request.attempt);
    if (slot != NO_INDEX) gate_lines(core, index, slot, writer);
}

static void tier_lines(const struct core *core, struct writer *writer)
{
    const struct request *request = core_request(core, NO_INDEX);
    const struct campaign_spec *campaign = core_campaign(core);
    writer_format(writer,
                  "tier: approved so far %" PRId64 ", asked for %" PRId64 " millionths of %s\n",
                  request->observed_micro, request->bound_micro, campaign->currency);
}

void evidence_write(const struct core *core, uint32_t run, struct writer *writer)
{
    const struct request *request = core_request(core, run);
    writer_format(writer, "request: %" PRIu64 "\nasked-ns: %" PRId64 "\n", request->id,
                  request->asked_ns);
    if (run == NO_INDEX) {
        tier_lines(core, writer);
        return;
    }
    run_lines(core, run, writer);
    writer_format(writer, "rule: %s\n", gate_rule_name(request->rule));
    loss_line(writer, "observed", request->observed_micro);
    loss_line(writer, "bound", request->bound_micro);
    writer_format(writer, "rank: %" PRIu32 " of %" PRIu32 "\n", request->rank,
                  request->siblings + 1);
}

struct sha256 evidence_hash(const struct core *core, uint32_t run)
{
    char text[EVIDENCE_BYTES_MAX];
    struct writer writer = writer_of(text, sizeof text);
    evidence_write(core, run, &writer);
    check(!writer.full);
    return sha256_of2((struct text){ text, writer.len }, TEXT(""));
}

/* ---- signatures ---------------------------------------------------------------------- */

enum err signoff_prove(const struct owner_spec *owner, struct text statement,
                       struct text signature, struct error *error)
{
    struct ssh_signature read;
    struct error why;
    char print[SSH_FINGERPRINT_BYTES];
    struct writer writer = writer_of(print, sizeof print);
    if (ssh_signature_parse(signature, TEXT(SIGNOFF_SPACE), &read, &why) != ERR_OK)
        return error_set(error, ERR_REFUSED, "%s", why.text);
    ssh_key_fingerprint(&read.key, &writer);
    bool known = false;
    for (uint32_t k = 0; k < owner->key_count; k++)
        if (ssh_key_equal(&owner->keys[k], &read.key)) known = true;
    if (!known)
        return error_set(error, ERR_REFUSED, "it was signed with %s, which is not a key of %s",
                         print, owner->name);
    if (!ssh_signature_proves(&read, TEXT(SIGNOFF_SPACE), statement))
        return error_set(error, ERR_REFUSED,
                         "its signature does not prove its text: one of them was altered");
    return ERR_OK;
}

/* Whether what was signed is what was recorded. */
static bool says_the_same(const struct core *core, const struct record_decision *record,
                          const struct decision *signed_on)
{
    const struct campaign_spec *campaign = core_campaign(core);
    if (!sha256_equal(&signed_on->campaign, &campaign->file_hash) ||
        signed_on->request != record->request || signed_on->subject != record->subject ||
        signed_on->verdict != record->verdict ||
        strcmp(signed_on->owner, campaign->owners[record->owner].name) != 0 ||
        !text_is(record->reason, signed_on->reason))
        return false;
    if (record->subject == SUBJECT_TIER) return signed_on->tier == record->tier;
    if (strcmp(signed_on->run, core_run(core, record->run)->name) != 0) return false;
    return record->subject == SUBJECT_RUN ||
           core_find_gate(core, record->run, text_of(signed_on->gate)) == record->slot;
}

enum err signoff_check(const struct core *core, const struct record_decision *record,
                       bool *is_signed, struct decision *signed_on, struct error *error)
{
    const struct campaign_spec *campaign = core_campaign(core);
    struct error why;
    *is_signed = record->is_signed;
    if (!record->is_signed) return ERR_OK;
    if (record->owner >= campaign->owner_count)
        return error_set(error, ERR_DAMAGED, "a signature by nobody");
    if (decision_parse(record->signoff.statement, signed_on, &why) != ERR_OK ||
        signoff_prove(&campaign->owners[record->owner], record->signoff.statement,
                      record->signoff.signature, &why) != ERR_OK)
        return error_set(error, ERR_DAMAGED, "the sign-off of question %" PRIu64 ": %s",
                         record->request, why.text);
    if (!says_the_same(core, record, signed_on))
        return error_set(error, ERR_DAMAGED,
                         "the sign-off of question %" PRIu64
                         ": what was signed is not what was recorded",
                         record->request);
    struct sha256 evidence =
        evidence_hash(core, record->subject == SUBJECT_TIER ? NO_INDEX : record->run);
    if (!sha256_equal(&evidence, &signed_on->evidence))
        return error_set(error, ERR_DAMAGED,
                         "the sign-off of question %" PRIu64 ": it was given on other evidence",
                         record->request);
    return ERR_OK;
}
