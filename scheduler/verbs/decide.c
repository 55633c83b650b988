/* decide.c - `penstock decide`: shows what waits for an owner, and puts the answer, signed where the campaign
 * names the owner's keys, into the inbox of a state directory. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "scheduler/cli.h"
#include "scheduler/coordinator/inbox.h"
#include "scheduler/ledger/replay.h"
#include "scheduler/verbs/sign.h"
#include "scheduler/verbs/verbs.h"

/* ---- answering ----------------------------------------------------------------------- */

static enum err take_verdict(const char *word, enum verdict *verdict, struct error *error)
{
    if (strcmp(word, "go") == 0)
        *verdict = VERDICT_GO;
    else if (strcmp(word, "no-go") == 0)
        *verdict = VERDICT_NO_GO;
    else
        return error_set(error, ERR_INPUT, "\"%s\" is no verdict; give go or no-go", word);
    return ERR_OK;
}

/* The reason stands in one line of the ledger: line ends become blanks, other control
 * characters are refused. */
static enum err take_reason(const char *reason, char *to, struct error *error)
{
    struct text trimmed = text_trim(text_of(reason));
    if (trimmed.len == 0) return error_set(error, ERR_INPUT, "--reason says nothing");
    if (!text_copy(to, DECISION_REASON_BYTES, trimmed))
        return error_set(error, ERR_INPUT, "--reason is longer than %d bytes",
                         DECISION_REASON_BYTES - 1);
    for (char *at = to; *at != '\0'; at++) {
        if (*at == '\n' || *at == '\r' || *at == '\t') *at = ' ';
        if ((unsigned char)*at < 0x20 || *at == 0x7F)
            return error_set(error, ERR_INPUT, "--reason holds a control character");
    }
    return ERR_OK;
}

static enum err need_flag(const struct arguments *arguments, const char *name,
                          struct error *error)
{
    if (arguments_given(arguments, name)) return ERR_OK;
    return error_set(error, ERR_INPUT, "decide: %s is missing; --help shows an example", name);
}

static enum err load(const char *state_dir, struct core **core, struct replay_summary *summary,
                     struct error *error)
{
    enum err rc = replay_run(state_dir, NULL, core, summary, error);
    if (rc == ERR_OK && core_campaign(*core) == NULL)
        rc = error_set(error, ERR_INPUT, "%s: no campaign has begun there", state_dir);
    return rc;
}

/* Fills in what the answer is about. It is checked exactly as the coordinator will, so that what
 * is put in is not refused later. */
static enum err complete(const struct core *core, const struct ledger_head *head,
                         const struct arguments *arguments, struct decision *decision,
                         struct error *error)
{
    struct event event;
    decision->campaign = core_campaign(core)->file_hash;
    decision->head_seq = head->seq;
    decision->head_chain = head->chain;
    enum err rc = inbox_question(core, arguments->words[1], decision, error);
    if (rc == ERR_OK) rc = inbox_match(core, decision, &event, error);
    return rc;
}

static uint32_t key_count_of(const struct core *core, const char *owner)
{
    const struct campaign_spec *campaign = core_campaign(core);
    for (uint32_t i = 0; i < campaign->owner_count; i++)
        if (strcmp(campaign->owners[i].name, owner) == 0) return campaign->owners[i].key_count;
    return 0;
}

static enum err sign(const struct core *core, const struct arguments *arguments,
                     const struct decision *decision, struct text statement, char *room,
                     struct text *signature, struct error *error)
{
    char folder[4096];
    struct writer writer = writer_of(folder, sizeof folder);
    bool has_keys = key_count_of(core, decision->owner) > 0, is_signed;
    const char *key = arguments_value(arguments, "--key");
    if (has_keys && key == NULL)
        return error_set(
            error, ERR_INPUT,
            "decide: %s answers signed; give --key FILE, a private key file or its "
            ".pub with the key in ssh-agent",
            decision->owner);
    if (!has_keys && key != NULL)
        return error_set(
            error, ERR_INPUT,
            "--key: the campaign names no key of %s, so nobody could check the "
            "signature; leave the flag out, and the answer is recorded as unsigned",
            decision->owner);
    if (key == NULL) return ERR_OK;
    writer_format(&writer, "%s/inbox", arguments->words[0]);
    if (writer.full) return error_set(error, ERR_INPUT, "%s is too long", arguments->words[0]);
    enum err rc = sign_text(folder, key, statement, room, signature, error);
    if (rc == ERR_OK)
        rc = inbox_prove(core, decision->owner, statement, *signature, &is_signed, error);
    return rc;
}

static enum err answer(const struct core *core, const struct ledger_head *head,
                       const struct arguments *arguments, struct decision *decision,
                       struct error *error)
{
    char data[DECISION_BYTES_MAX], room[SSH_ARMOR_BYTES_MAX];
    struct writer writer = writer_of(data, sizeof data);
    struct text signature = { "", 0 };
    struct decision again;
    enum err rc = complete(core, head, arguments, decision, error);
    if (rc != ERR_OK) return rc;
    decision_write(decision, &writer);
    check(!writer.full);
    struct text statement = { data, writer.len };
    rc = decision_parse(statement, &again, error); /* a reason that is not UTF-8, say */
    if (rc == ERR_OK) rc = sign(core, arguments, decision, statement, room, &signature, error);
    if (rc == ERR_OK) rc = inbox_put(arguments->words[0], statement, signature, error);
    return rc;
}

static enum err decide(const struct arguments *arguments, struct decision *decision,
                       struct error *error)
{
    struct core *core = NULL;
    struct replay_summary summary;
    enum err rc = need_flag(arguments, "--as", error);
    if (rc == ERR_OK) rc = need_flag(arguments, "--reason", error);
    if (rc == ERR_OK && arguments->word_count != 3)
        rc = error_set(
            error, ERR_INPUT,
            "decide: STATE, GATE and go or no-go are wanted; --help shows an example");
    if (rc == ERR_OK) rc = take_verdict(arguments->words[2], &decision->verdict, error);
    if (rc == ERR_OK)
        rc = take_reason(arguments_value(arguments, "--reason"), decision->reason, error);
    if (rc == ERR_OK && !text_copy(decision->owner, NAME_MAX_BYTES,
                                   text_of(arguments_value(arguments, "--as"))))
        rc = error_set(error, ERR_INPUT, "--as: no owner has a name that long");
    if (rc == ERR_OK) rc = load(arguments->words[0], &core, &summary, error);
    if (rc == ERR_OK) rc = answer(core, &summary.head, arguments, decision, error);
    core_destroy(core);
    return rc;
}

/* ---- listing ------------------------------------------------------------------------- */

/* Whose questions are wanted; NO_INDEX: everybody's. */
static enum err wanted_owner(const struct core *core, const struct arguments *arguments,
                             uint32_t *owner, struct error *error)
{
    const struct campaign_spec *campaign = core_campaign(core);
    const char *name = arguments_value(arguments, "--as");
    const char *key_file = arguments_value(arguments, "--key");
    struct ssh_key key;
    *owner = NO_INDEX;
    if (name == NULL && key_file == NULL) return ERR_OK;
    enum err rc = key_file != NULL ? sign_public_key(key_file, &key, error) : ERR_OK;
    if (rc != ERR_OK) return rc;
    for (uint32_t i = 0; i < campaign->owner_count; i++) {
        const struct owner_spec *spec = &campaign->owners[i];
        bool has_key = key_file == NULL;
        for (uint32_t k = 0; key_file != NULL && k < spec->key_count; k++)
            has_key = has_key || ssh_key_equal(&spec->keys[k], &key);
        if (has_key && (name == NULL || strcmp(spec->name, name) == 0)) *owner = i;
    }
    if (*owner != NO_INDEX) return ERR_OK;
    return error_set(error, ERR_INPUT, "the campaign has no owner %s",
                     name != NULL && key_file == NULL ? name : "with this name and key");
}

static void print_when(const char *what, int64_t at_ns)
{
    char text[48];
    struct writer writer = writer_of(text, sizeof text);
    writer_utc(&writer, at_ns);
    printf("  %s %s\n", what, text);
}

static void print_evidence(const struct core *core, uint32_t run)
{
    char text[EVIDENCE_BYTES_MAX];
    struct writer writer = writer_of(text, sizeof text);
    evidence_write(core, run, &writer);
    printf("  decided on:\n");
    for (struct text rest = { text, writer.len }; rest.len > 0;) {
        size_t end = text_find(rest, TEXT("\n"));
        printf("    %.*s\n", (int)end, rest.data);
        rest = (struct text){ rest.data + end + 1, rest.len - end - 1 };
    }
}

static void print_question(const struct core *core, const char *state_dir, uint32_t run,
                           const char *what)
{
    const struct request *request = core_request(core, run);
    const struct campaign_spec *campaign = core_campaign(core);
    const struct owner_spec *owner = &campaign->owners[request->owner];
    const struct owner_spec *first = &campaign->owners[request->first_owner];
    bool goes_on = !request->delegated && first->delegate_index < campaign->owner_count;
    printf("%s: %s is asked%s\n", what, owner->name,
           request->delegated ? ", as the delegate" : "");
    print_when("asked", request->asked_ns);
    if (request->deadline_ns != TIME_NEVER) {
        print_when("answer until", request->deadline_ns);
        if (goes_on)
            printf("  then %s is asked\n", campaign->owners[first->delegate_index].name);
        else if (first->otherwise == OTHERWISE_WAIT)
            printf("  then it waits on\n");
        else
            printf("  then it is decided by default: %s\n", otherwise_name(first->otherwise));
    }
    print_evidence(core, run);
    printf("  penstock decide %s %s go|no-go --as %s --reason TEXT%s\n", state_dir, what,
           owner->name, owner->key_count > 0 ? " --key SSH_KEY" : "");
}

static bool is_wanted(const struct core *core, uint32_t run, uint32_t owner)
{
    const struct request *request = core_request(core, run);
    return request->open && request->owner < core_campaign(core)->owner_count &&
           (owner == NO_INDEX || owner == request->owner);
}

static uint32_t list_runs(const struct core *core, const char *state_dir, uint32_t owner)
{
    uint32_t count = 0;
    for (uint32_t r = 0; r < core_run_count(core); r++) {
        char what[2 * NAME_MAX_BYTES];
        struct writer writer = writer_of(what, sizeof what);
        if (!is_wanted(core, r, owner)) continue;
        const struct run *run = core_run(core, r);
        writer_string(&writer, run->name);
        for (uint32_t slot = 0; slot < run->gate_count; slot++) {
            const struct run_gate *gate = core_run_gate(core, r, slot);
            if (gate->verdict == VERDICT_HOLD)
                writer_format(&writer, "/%s", core_gate(core, gate->gate_index)->name);
        }
        print_question(core, state_dir, r, what);
        count++;
    }
    return count;
}

static enum err list(const struct arguments *arguments, struct error *error)
{
    const char *state_dir = arguments->words[0];
    struct core *core = NULL;
    struct replay_summary summary;
    uint32_t owner = NO_INDEX, count = 0;
    if (arguments->word_count != 1)
        return error_set(error, ERR_INPUT, "decide: --list wants STATE alone");
    enum err rc = load(state_dir, &core, &summary, error);
    if (rc == ERR_OK) rc = wanted_owner(core, arguments, &owner, error);
    if (rc == ERR_OK) {
        count = list_runs(core, state_dir, owner);
        if (is_wanted(core, NO_INDEX, owner)) {
            char what[24];
            struct writer writer = writer_of(what, sizeof what);
            writer_format(&writer, "tier:%" PRIu32, core_budget(core)->tiers_open + 1);
            print_question(core, state_dir, NO_INDEX, what);
            count++;
        }
        if (count == 0) printf("nothing waits for an answer\n");
    }
    core_destroy(core);
    return rc;
}

int verb_decide(const struct arguments *arguments)
{
    struct decision decision;
    struct error error;
    memset(&decision, 0, sizeof decision);
    if (arguments_given(arguments, "--list"))
        return list(arguments, &error) == ERR_OK ? CLI_DONE : cli_fail(&error);
    if (decide(arguments, &decision, &error) != ERR_OK) return cli_fail(&error);
    struct ledger_holder holder;
    bool live =
        ledger_holder(arguments->words[0], NULL, &holder, NULL) == ERR_OK && holder.locked;
    printf("%s by %s for %s%s: %s\n", verdict_name(decision.verdict), decision.owner,
           arguments->words[1], arguments_given(arguments, "--key") ? ", signed" : "",
           live ? "handed to the running coordinator"
                : "kept for the next `penstock run` of this state directory");
    return CLI_DONE;
}
