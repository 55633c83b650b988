/* Decision files: the text form, every way to get it wrong, and the folder's life. */
#include "scheduler/coordinator/inbox.h"
#include "tests/unit/coordinator/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define HEX "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define HEAD "penstock-decision: 2\ncampaign: " HEX "\nrequest: 3\n"
#define END "evidence: " HEX "\nhead-seq: 77\nhead-chain: " HEX "\n"
#define TAIL "verdict: go\nowner: ada\nreason: looks fine\n" END
#define GATE "subject: gate\nrun: lr-1\nattempt: 2\ngate: half\n"

static struct decision gate_decision(void)
{
    struct decision decision = { .subject = SUBJECT_GATE,
                                 .run = "lr-1",
                                 .gate = "half",
                                 .request = UINT64_MAX,
                                 .attempt = UINT32_MAX,
                                 .head_seq = 1234567890123456789,
                                 .verdict = VERDICT_NO_GO,
                                 .owner = "ada",
                                 .reason = "loss: it rises \xc3\xbc: stop" };
    memset(&decision.campaign, 0xA5, sizeof decision.campaign);
    memset(&decision.evidence, 0x5A, sizeof decision.evidence);
    memset(&decision.head_chain, 0x0F, sizeof decision.head_chain);
    return decision;
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct decision decisions[3] = { gate_decision(), gate_decision(), gate_decision() };
    decisions[1].subject = SUBJECT_RUN;
    memset(decisions[1].gate, 0, sizeof decisions[1].gate);
    decisions[2].subject = SUBJECT_TIER;
    decisions[2].tier = 7;
    decisions[2].verdict = VERDICT_GO;
    memset(decisions[2].gate, 0, sizeof decisions[2].gate);
    memset(decisions[2].run, 0, sizeof decisions[2].run);
    decisions[2].attempt = 0;
    for (size_t i = 0; i < ARRAY_COUNT(decisions); i++) {
        char data[DECISION_BYTES_MAX];
        struct writer writer = writer_of(data, sizeof data);
        struct decision read;
        struct error error;
        decision_write(&decisions[i], &writer);
        assert_false(writer.full);
        assert_int_equal(decision_parse((struct text){ data, writer.len }, &read, &error),
                         ERR_OK);
        assert_memory_equal(&read.campaign, &decisions[i].campaign, sizeof read.campaign);
        assert_int_equal(read.subject, decisions[i].subject);
        assert_string_equal(read.run, decisions[i].run);
        assert_string_equal(read.gate, decisions[i].gate);
        assert_int_equal(read.tier, decisions[i].tier);
        assert_true(read.request == decisions[i].request);
        assert_int_equal(read.attempt, decisions[i].attempt);
        assert_true(read.head_seq == decisions[i].head_seq);
        assert_true(sha256_equal(&read.evidence, &decisions[i].evidence));
        assert_true(sha256_equal(&read.head_chain, &decisions[i].head_chain));
        assert_int_equal(read.verdict, decisions[i].verdict);
        assert_string_equal(read.owner, decisions[i].owner);
        assert_string_equal(read.reason, decisions[i].reason);
    }
}

static void every_mistake_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        { "", "penstock-decision is missing" },
        { "hello", "does not end in a newline" },
        { "hello\n", "line 1 is not \"KEY: VALUE\"" },
        { HEAD GATE TAIL "colour: red\n", "line 14 has an unknown key" },
        { HEAD GATE TAIL "asked-ns: 7\n", "line 14 has an unknown key" },
        { HEAD GATE TAIL "owner: bob\n", "line 14 gives owner again" },
        { HEAD GATE "verdict: go\nowner: ada\n" END, "reason is missing" },
        { HEAD GATE "verdict: go\nowner: ada\nreason: \n" END, "reason is missing" },
        { HEAD GATE "verdict: go\nowner: ada\nreason: r\n", "evidence is missing" },
        { HEAD GATE
          "verdict: go\nowner: ada\nreason: r\nevidence: 12\nhead-seq: 1\nhead-chain: " HEX
          "\n",
          "evidence is not a SHA-256" },
        { HEAD GATE "verdict: go\nowner: ada\nreason: r\nevidence: " HEX
                    "\nhead-seq: -1\nhead-chain: " HEX "\n",
          "head-seq is not" },
        { HEAD GATE "verdict: go\nowner: ada\nreason: r\nevidence: " HEX
                    "\nhead-seq: 1\nhead-chain: x\n",
          "head-chain is not a SHA-256" },
        { HEAD GATE "verdict: GO\nowner: ada\nreason: r\n" END, "verdict is neither" },
        { HEAD GATE "verdict: hold\nowner: ada\nreason: r\n" END, "verdict is neither" },
        { "penstock-decision: 1\ncampaign: " HEX "\nrequest: 3\n" GATE TAIL,
          "its form is not 2" },
        { "penstock-decision: 2\ncampaign: 12\nrequest: 3\n" GATE TAIL,
          "campaign is not a SHA-256" },
        { "penstock-decision: 2\ncampaign: " HEX "\n" GATE TAIL, "request is missing" },
        { "penstock-decision: 2\ncampaign: " HEX "\nrequest: 0\n" GATE TAIL,
          "request is not a number from 1" },
        { "penstock-decision: 2\ncampaign: " HEX "\nrequest: x\n" GATE TAIL,
          "request is not a number from 1" },
        { HEAD "subject: world\n" TAIL, "subject is none of" },
        { HEAD "subject: gate\nrun: a\nattempt: 1\n" TAIL, "gate is missing" },
        { HEAD "subject: gate\ngate: a\n" TAIL, "run is missing" },
        { HEAD "subject: run\nrun: a\n" TAIL, "attempt is missing" },
        { HEAD "subject: run\nrun: a\nattempt: 4294967296\n" TAIL, "attempt is not a number" },
        { HEAD "subject: run\nrun: a\nattempt: 1\ngate: b\n" TAIL,
          "gate does not belong here" },
        { HEAD "subject: tier\nrun: a\ntier: 1\n" TAIL, "run does not belong here" },
        { HEAD "subject: tier\nattempt: 1\ntier: 1\n" TAIL, "attempt does not belong here" },
        { HEAD "subject: tier\n" TAIL, "tier is missing" },
        { HEAD "subject: tier\ntier: 8\n" TAIL, "tier is not a number below 8" },
        { HEAD "subject: tier\ntier: -1\n" TAIL, "tier is not a number" },
        { HEAD GATE "verdict: go\nowner: a\x1b[2J\nreason: r\n" END, "control character" },
        { HEAD GATE "verdict: go\nowner: ada\nreason: \xff\n" END, "line 10 is not UTF-8" },
        { HEAD GATE
          "verdict: go\nowner: "
          "0123456789012345678901234567890123456789012345678901234567890123\nreason: r\n" END,
          "owner is longer than 63 bytes" },
        { HEAD "subject: run\nrun: a\nattempt: 1\n" TAIL "reason",
          "does not end in a newline" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct decision decision;
        struct error error;
        assert_int_equal(decision_parse(text_of(cases[i].text), &decision, &error), ERR_INPUT);
        if (strstr(error.text, cases[i].says) == NULL)
            fail_msg("case %zu says \"%s\", not \"%s\"", i, error.text, cases[i].says);
        assert_string_equal(decision.owner, "");
    }
}

static void too_long_a_file_is_refused(void **state)
{
    (void)state;
    char data[DECISION_BYTES_MAX + 16];
    struct decision decision;
    struct error error;
    memset(data, 'x', sizeof data);
    assert_int_equal(
        decision_parse((struct text){ data, DECISION_BYTES_MAX }, &decision, &error),
        ERR_INPUT);
    assert_non_null(strstr(error.text, "longer than 4095 bytes"));
}

static void any_cut_of_a_file_is_refused_or_the_same(void **state)
{
    (void)state;
    static const char whole[] = HEAD GATE TAIL;
    for (size_t n = 0; n < sizeof whole - 1; n++) {
        struct decision decision;
        assert_int_equal(decision_parse((struct text){ whole, n }, &decision, NULL), ERR_INPUT);
    }
}

/* ---- the folder --------------------------------------------------------------------------------- */

static bool file_there(const char *dir, const char *name)
{
    char path[512];
    struct stat status;
    struct writer writer = writer_of(path, sizeof path);
    writer_format(&writer, "%s/%s", dir, name);
    return stat(path, &status) == 0;
}

static void put_raw(const char *dir, const char *name, const char *text)
{
    char path[512];
    struct writer writer = writer_of(path, sizeof path);
    writer_format(&writer, "%s/inbox/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void files_are_found_in_order_and_moved(void **state)
{
    (void)state;
    char dir[] = "/tmp/penstock-inbox-XXXXXX", file[DECISION_FILE_BYTES], path[512];
    struct inbox inbox;
    struct error error;
    struct answer answer;
    static const struct text statement = { HEAD GATE TAIL, sizeof(HEAD GATE TAIL) - 1 };
    assert_non_null(scratch_make(dir));
    assert_int_equal(inbox_open(&inbox, dir, &error), ERR_OK);
    assert_false(inbox_next(&inbox, "", file));
    assert_int_equal(inbox_put(dir, statement, TEXT("signature"), &error), ERR_OK);
    put_raw(dir, "zz.decision", "nonsense\n");
    put_raw(dir, "zy.decision.tmp", "not seen\n");
    put_raw(dir, ".hidden.decision", "not seen\n");
    assert_true(inbox_due(&inbox, 1));
    assert_true(inbox_next(&inbox, "", file));
    assert_int_equal(inbox_read(&inbox, file, &answer, &error), ERR_OK);
    assert_string_equal(answer.decision.reason, "looks fine");
    assert_true(text_equal(answer.statement, statement));
    assert_true(text_is(answer.signature, "signature"));
    assert_false(answer.was_done);
    struct sha256 origin = answer.origin;
    inbox_done(&inbox, file);
    struct writer name = writer_of(path, sizeof path);
    writer_format(&name, "inbox/done/%s.sig", file);
    assert_true(file_there(dir, path));
    /* The same under its old name is known to have been there; under a new one it is another. */
    put_raw(dir, file, statement.data);
    assert_int_equal(inbox_read(&inbox, file, &answer, &error), ERR_OK);
    assert_true(answer.was_done);
    assert_true(sha256_equal(&answer.origin, &origin));
    assert_true(text_is(answer.signature, ""));
    inbox_refuse(&inbox, file, "again");
    put_raw(dir, "y.decision", statement.data);
    assert_int_equal(inbox_read(&inbox, "y.decision", &answer, &error), ERR_OK);
    assert_false(answer.was_done);
    assert_false(sha256_equal(&answer.origin, &origin));
    inbox_refuse(&inbox, "y.decision", "again");
    assert_true(inbox_next(&inbox, file, file));
    assert_string_equal(file, "zz.decision");
    assert_int_equal(inbox_read(&inbox, file, &answer, &error), ERR_INPUT);
    inbox_refuse(&inbox, file, "it is nonsense");
    assert_false(inbox_next(&inbox, "", file));
    assert_true(file_there(dir, "inbox/refused/zz.decision"));
    assert_true(file_there(dir, "inbox/refused/zz.decision.reason"));
    assert_true(inbox_due(&inbox, 1)); /* files came */
    assert_false(inbox_due(&inbox, 2));
    assert_true(inbox_due(&inbox, 2 * NS_PER_S));
    inbox_close(&inbox);
    inbox_close(&inbox);
}

static void strange_files_are_refused(void **state)
{
    (void)state;
    char dir[] = "/tmp/penstock-inbox-XXXXXX", path[512];
    struct inbox inbox;
    struct answer read;
    struct error error;
    assert_non_null(scratch_make(dir));
    assert_int_equal(inbox_open(&inbox, dir, &error), ERR_OK);
    struct writer writer = writer_of(path, sizeof path);
    writer_format(&writer, "%s/inbox/pipe.decision", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(inbox_read(&inbox, "pipe.decision", &read, &error), ERR_INPUT);
    writer = writer_of(path, sizeof path);
    writer_format(&writer, "%s/inbox/link.decision", dir);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_not_equal(inbox_read(&inbox, "link.decision", &read, &error), ERR_OK);
    assert_int_equal(inbox_read(&inbox, "gone.decision", &read, &error), ERR_NOT_FOUND);
    inbox_close(&inbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(every_mistake_is_refused),
        cmocka_unit_test(too_long_a_file_is_refused),
        cmocka_unit_test(any_cut_of_a_file_is_refused_or_the_same),
        cmocka_unit_test(files_are_found_in_order_and_moved),
        cmocka_unit_test(strange_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
