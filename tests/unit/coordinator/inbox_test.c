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
#define HEAD "penstock-decision: 1\ncampaign: " HEX "\n"
#define TAIL "asked-ns: 77\nverdict: go\nowner: ada\nreason: looks fine\n"
#define GATE "subject: gate\nrun: lr-1\ngate: half\n"

static struct decision gate_decision(void)
{
    struct decision decision = { .subject = SUBJECT_GATE,
                                 .run = "lr-1",
                                 .gate = "half",
                                 .asked_ns = 1234567890123456789,
                                 .verdict = VERDICT_NO_GO,
                                 .owner = "ada",
                                 .reason = "loss: it rises \xc3\xbc: stop" };
    memset(&decision.campaign, 0xA5, sizeof decision.campaign);
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
        assert_int_equal(read.asked_ns, decisions[i].asked_ns);
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
        { HEAD GATE TAIL "colour: red\n", "line 10 has an unknown key" },
        { HEAD GATE TAIL "owner: bob\n", "line 10 gives owner again" },
        { HEAD GATE "asked-ns: 77\nverdict: go\nowner: ada\n", "reason is missing" },
        { HEAD GATE "asked-ns: 77\nverdict: go\nowner: ada\nreason: \n", "reason is missing" },
        { HEAD GATE "asked-ns: x\nverdict: go\nowner: ada\nreason: r\n", "asked-ns is not" },
        { HEAD GATE "asked-ns: 7\nverdict: GO\nowner: ada\nreason: r\n", "verdict is neither" },
        { HEAD GATE "asked-ns: 7\nverdict: hold\nowner: ada\nreason: r\n",
          "verdict is neither" },
        { "penstock-decision: 2\ncampaign: " HEX "\n" GATE TAIL, "its form is not 1" },
        { "penstock-decision: 1\ncampaign: 12\n" GATE TAIL, "campaign is not a SHA-256" },
        { HEAD "subject: world\n" TAIL, "subject is none of" },
        { HEAD "subject: gate\nrun: a\n" TAIL, "gate is missing" },
        { HEAD "subject: gate\ngate: a\n" TAIL, "run is missing" },
        { HEAD "subject: run\nrun: a\ngate: b\n" TAIL, "gate does not belong here" },
        { HEAD "subject: tier\nrun: a\ntier: 1\n" TAIL, "run does not belong here" },
        { HEAD "subject: tier\n" TAIL, "tier is missing" },
        { HEAD "subject: tier\ntier: 8\n" TAIL, "tier is not a number below 8" },
        { HEAD "subject: tier\ntier: -1\n" TAIL, "tier is not a number" },
        { HEAD GATE "asked-ns: 7\nverdict: go\nowner: a\x1b[2J\nreason: r\n",
          "control character" },
        { HEAD GATE
          "asked-ns: 7\nverdict: go\nowner: "
          "0123456789012345678901234567890123456789012345678901234567890123\nreason: r\n",
          "owner is longer than 63 bytes" },
        { HEAD "subject: run\nrun: a\n" TAIL "reason", "does not end in a newline" },
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
    char dir[] = "/tmp/penstock-inbox-XXXXXX", file[DECISION_FILE_BYTES];
    struct inbox inbox;
    struct error error;
    struct decision decision = gate_decision(), read;
    assert_non_null(scratch_make(dir));
    assert_int_equal(inbox_open(&inbox, dir, &error), ERR_OK);
    assert_false(inbox_next(&inbox, "", file));
    assert_int_equal(inbox_put(dir, &decision, &error), ERR_OK);
    put_raw(dir, "zz.decision", "nonsense\n");
    put_raw(dir, "zy.decision.tmp", "not seen\n");
    put_raw(dir, ".hidden.decision", "not seen\n");
    assert_true(inbox_due(&inbox, 1));
    assert_true(inbox_next(&inbox, "", file));
    assert_int_equal(inbox_read(&inbox, file, &read, &error), ERR_OK);
    assert_string_equal(read.reason, decision.reason);
    inbox_done(&inbox, file);
    assert_true(inbox_next(&inbox, file, file));
    assert_string_equal(file, "zz.decision");
    assert_int_equal(inbox_read(&inbox, file, &read, &error), ERR_INPUT);
    inbox_refuse(&inbox, file, "it is nonsense");
    assert_false(inbox_next(&inbox, "", file));
    assert_true(file_there(dir, "inbox/refused/zz.decision"));
    assert_true(file_there(dir, "inbox/refused/zz.decision.reason"));
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
    struct decision read;
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
