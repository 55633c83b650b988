/* decide.c - `penstock decide`: puts an owner's answer into the inbox of a state directory. */
#include <stdio.h>
#include <string.h>

#include "scheduler/cli.h"
#include "scheduler/coordinator/inbox.h"
#include "scheduler/ledger/replay.h"
#include "scheduler/verbs/verbs.h"

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

/* Checks the answer exactly as the coordinator will, so that what is put in is not refused
 * later. */
static enum err check_answer(const char *state_dir, const struct arguments *arguments,
                             struct decision *decision, struct error *error)
{
    struct core *core = NULL;
    struct replay_summary summary;
    struct event event;
    enum err rc = replay_run(state_dir, NULL, &core, &summary, error);
    if (rc != ERR_OK) return rc;
    if (core_campaign(core) == NULL)
        rc = error_set(error, ERR_INPUT, "%s: no campaign has begun there", state_dir);
    if (rc == ERR_OK) {
        decision->campaign = core_campaign(core)->file_hash;
        rc = inbox_question(core, arguments->words[1], decision, error);
    }
    if (rc == ERR_OK) rc = inbox_match(core, decision, &event, error);
    core_destroy(core);
    return rc;
}

static enum err decide(const struct arguments *arguments, struct decision *decision,
                       struct error *error)
{
    enum err rc = need_flag(arguments, "--as", error);
    if (rc == ERR_OK) rc = need_flag(arguments, "--reason", error);
    if (rc == ERR_OK && arguments_given(arguments, "--key"))
        rc = error_set(
            error, ERR_UNSUPPORTED,
            "--key: signed decisions are not supported by this version; without the flag "
            "the decision is recorded as unsigned");
    if (rc == ERR_OK) rc = take_verdict(arguments->words[2], &decision->verdict, error);
    if (rc == ERR_OK)
        rc = take_reason(arguments_value(arguments, "--reason"), decision->reason, error);
    if (rc == ERR_OK && !text_copy(decision->owner, NAME_MAX_BYTES,
                                   text_of(arguments_value(arguments, "--as"))))
        rc = error_set(error, ERR_INPUT, "--as: no owner has a name that long");
    if (rc == ERR_OK) rc = check_answer(arguments->words[0], arguments, decision, error);
    if (rc == ERR_OK) rc = inbox_put(arguments->words[0], decision, error);
    return rc;
}

int verb_decide(const struct arguments *arguments)
{
    struct decision decision;
    struct error error;
    memset(&decision, 0, sizeof decision);
    if (decide(arguments, &decision, &error) != ERR_OK) return cli_fail(&error);
    struct ledger_holder holder;
    bool live =
        ledger_holder(arguments->words[0], NULL, &holder, NULL) == ERR_OK && holder.locked;
    printf("%s by %s for %s: %s\n", verdict_name(decision.verdict), decision.owner,
           arguments->words[1],
           live ? "handed to the running coordinator"
                : "kept for the next `penstock run` of this state directory");
    return CLI_DONE;
}
