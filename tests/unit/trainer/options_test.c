#include "worker/trainer/options.h"

#include "worker/trainer/exits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { ARGS_MAX = 8 };

static enum err parse(struct options *options, const char *const args[ARGS_MAX],
                      struct error *error)
{
    const char *argv[ARGS_MAX + 1] = { "penstock-train" };
    int argc = 1;
    for (int i = 0; i < ARGS_MAX && args[i] != NULL; i++)
        argv[argc++] = args[i];
    return options_parse(options, argc, argv, error);
}

static void test_defaults(void **unused)
{
    (void)unused;
    struct options o;
    assert_int_equal(parse(&o, (const char *[ARGS_MAX]){ "--data", "x" }, NULL), ERR_OK);
    assert_int_equal(o.verb, VERB_TRAIN);
    assert_string_equal(o.data, "x");
    assert_int_equal(o.layers, 4);
    assert_int_equal(o.width, 128);
    assert_int_equal(o.heads, 4);
    assert_int_equal(o.context, 128);
    assert_int_equal(o.vocab, 256);
    assert_int_equal(o.batch, 8);
    assert_int_equal(o.steps, 200);
    assert_int_equal(o.warmup, 20);
    assert_int_equal(o.seed, 1);
    assert_int_equal(o.eval_every, 50);
    assert_int_equal(o.eval_batches, 4);
    assert_int_equal(o.checkpoint_every, 100);
    assert_int_equal(o.keep, 2);
    assert_int_equal(o.threads, 0);
    assert_int_equal(o.backend, BACKEND_AUTO);
    assert_int_equal(o.data_format, DATA_FORMAT_TEXT);
    assert_true(o.lr == 1e-3);
    assert_true(o.lr_min_ratio == 0.1);
    assert_true(o.weight_decay == 0.1);
    assert_true(o.beta1 == 0.9);
    assert_true(o.beta2 == 0.95);
    assert_true(o.clip == 1.0);
    assert_null(o.dir);
    assert_null(o.resume);
}

static void test_values(void **unused)
{
    (void)unused;
    struct options o;
    const char *args[ARGS_MAX] = { "--data=a=b", "--lr=1e30", "--backend",     "cuda",
                                   "--steps",    "5",         "--data-format", "u16" };
    assert_int_equal(parse(&o, args, NULL), ERR_OK);
    assert_string_equal(o.data, "a=b");
    assert_true(o.lr == 1e30);
    assert_int_equal(o.backend, BACKEND_CUDA);
    assert_int_equal(o.data_format, DATA_FORMAT_U16);
    assert_int_equal(o.steps, 5);
    assert_int_equal(o.warmup, 5); /* the default warm-up shrinks to a short run */
}

static void test_verbs(void **unused)
{
    (void)unused;
    struct options o;
    assert_int_equal(parse(&o, (const char *[ARGS_MAX]){ "--help" }, NULL), ERR_OK);
    assert_int_equal(o.verb, VERB_HELP);
    assert_int_equal(parse(&o, (const char *[ARGS_MAX]){ "--lr", "-h" }, NULL), ERR_OK);
    assert_int_equal(o.verb, VERB_HELP);
    assert_int_equal(parse(&o, (const char *[ARGS_MAX]){ "--version" }, NULL), ERR_OK);
    assert_int_equal(o.verb, VERB_VERSION);
    assert_int_equal(parse(&o, (const char *[ARGS_MAX]){ "probe", "--threads", "2" }, NULL),
                     ERR_OK);
    assert_int_equal(o.verb, VERB_PROBE);
    assert_int_equal(o.threads, 2);
}

static void test_bad_flags(void **unused)
{
    (void)unused;
    static const char *const rows[][ARGS_MAX] = {
        { NULL },
        { "--layers", "2" },
        { "--data", "" },
        { "--data" },
        { "--data", "x", "--data", "y" },
        { "--data", "x", "--unknown", "1" },
        { "--data", "x", "-layers", "1" },
        { "--data", "x", "--layer", "1" },
        { "--data", "x", "extra" },
        { "--data", "x", "probe" },
        { "--data", "x", "--layers", "0" },
        { "--data", "x", "--layers", "-1" },
        { "--data", "x", "--layers", "1.5" },
        { "--data", "x", "--layers", "two" },
        { "--data", "x", "--layers", "" },
        { "--data", "x", "--layers", "1e2" },
        { "--data", "x", "--layers", "99999999999999999999" },
        { "--data", "x", "--layers", "257" },
        { "--data", "x", "--width", "130" },
        { "--data", "x", "--heads", "3" },
        { "--data", "x", "--context", "1025" },
        { "--data", "x", "--vocab", "65537" },
        { "--data", "x", "--batch", "0" },
        { "--data", "x", "--steps", "0" },
        { "--data", "x", "--lr", "0" },
        { "--data", "x", "--lr", "-1e-3" },
        { "--data", "x", "--lr", "nan" },
        { "--data", "x", "--lr", "inf" },
        { "--data", "x", "--lr", "1e999" },
        { "--data", "x", "--lr", "0x10" },
        { "--data", "x", "--lr", " 1" },
        { "--data", "x", "--lr", "1e-3x" },
        { "--data", "x", "--lr-min-ratio", "1.1" },
        { "--data", "x", "--beta1", "1" },
        { "--data", "x", "--beta2", "-0.1" },
        { "--data", "x", "--clip", "-1" },
        { "--data", "x", "--weight-decay", "-1" },
        { "--data", "x", "--warmup", "201" },
        { "--data", "x", "--steps", "10", "--warmup", "11" },
        { "--data", "x", "--seed", "-1" },
        { "--data", "x", "--seed", "9007199254740993" },
        { "--data", "x", "--eval-every", "-1" },
        { "--data", "x", "--eval-batches", "0" },
        { "--data", "x", "--checkpoint-every", "-1" },
        { "--data", "x", "--keep", "0" },
        { "--data", "x", "--threads", "0" },
        { "--data", "x", "--threads", "65" },
        { "--data", "x", "--backend", "gpu" },
        { "--data", "x", "--backend", "" },
        { "--data", "x", "--backend", "auto|cuda" },
        { "--data", "x", "--data-format", "u8" },
        { "--data", "x", "--dtype", "fp16" },
        { "--data", "x", "--dtype", "bf16", "--backend", "cpu" },
        { "--data", "x", "--reduce", "bf16", "--backend", "cpu" },
        { "--data", "x", "--reduce", "fp64" },
        { "--data", "x", "--gang-timeout", "0.5" },
        { "--data", "x", "--gang-timeout", "86401" },
        { "--data", "x", "--gang-timeout", "nan" },
        { "--data", "x", "--resume", "" },
        { "--data", "x", "--resume" },
        { "--data", "x", "--dir=" },
        { "probe", "--layers", "2" },
        { "probe", "--threads", "0" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct options options = { .layers = -77 };
        struct error error = { .code = ERR_OK };
        if (parse(&options, rows[i], &error) != ERR_INPUT) fail_msg("row %zu was accepted", i);
        assert_int_equal(options.layers, -77);
        if (strchr(error.text, ';') == NULL && strstr(error.text, "must be") == NULL)
            fail_msg("row %zu does not say what to do: %s", i, error.text);
    }
}

static void test_help_names_every_flag_and_code(void **unused)
{
    (void)unused;
    static const char *const words[] = { "--data FILE",    "--data-format", "--lr-min-ratio",
                                         "--eval-batches", "--keep",        "--resume",
                                         "example:",       "usage:",        "probe" };
    char text[8192];
    struct writer writer = writer_of(text, sizeof(text));
    options_help(&writer);
    assert_false(writer.full);
    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        if (strstr(text, words[i]) == NULL) fail_msg("--help lacks %s", words[i]);
#define X(id, code, says) assert_non_null(strstr(text, says));
    EXITS(X)
#undef X
}

static void test_notes(void **unused)
{
    (void)unused;
    struct options o;
    struct ckpt_note notes[OPTIONS_NOTES_MAX];
    assert_int_equal(
        parse(&o, (const char *[ARGS_MAX]){ "--data", "x", "--lr", "0.0003" }, NULL), ERR_OK);
    size_t count = options_notes(&o, notes);
    int found = 0;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(notes[i].key, "lr") == 0) {
            assert_string_equal(notes[i].value, "0.0003");
            found++;
        }
        if (strcmp(notes[i].key, "batch") == 0) {
            assert_string_equal(notes[i].value, "8");
            found++;
        }
        assert_string_not_equal(notes[i].key, "data");
    }
    assert_int_equal(found, 2);
}

/* ---- the environment ---- */

static const char *const *environment; /* NAME=VALUE, NULL at the end */

static const char *lookup(const char *name)
{
    size_t length = strlen(name);
    for (int i = 0; environment[i] != NULL; i++)
        if (strncmp(environment[i], name, length) == 0 && environment[i][length] == '=')
            return environment[i] + length + 1;
    return NULL;
}

static enum err read_job(struct job *job, const char *const *values, const char *const *args,
                         struct error *error)
{
    struct options options;
    environment = values;
    assert_int_equal(parse(&options, args, NULL), ERR_OK);
    return options_job(job, &options, lookup, error);
}

static const char *const plain_args[ARGS_MAX] = { "--data", "x" };

static void test_empty_environment(void **unused)
{
    (void)unused;
    struct job job;
    assert_int_equal(read_job(&job, (const char *[]){ NULL }, plain_args, NULL), ERR_OK);
    assert_true(job.standalone);
    assert_int_equal(job.size, 1);
    assert_int_equal(job.rank, 0);
    assert_string_equal(job.dir, ".");
    assert_string_equal(job.resume, "");
    assert_int_equal(job.gate_count, 0);
    assert_int_equal(job.threads, 0);
    assert_null(job.events_path);
}

static void test_full_environment(void **unused)
{
    (void)unused;
    struct job job;
    const char *const values[] = { "RANK=1",
                                   "WORLD_SIZE=4",
                                   "PENSTOCK_DIR=/state/runs/a",
                                   "PENSTOCK_RESUME=checkpoints/step-00000010.safetensors",
                                   "PENSTOCK_RESUME_STEP=10",
                                   "PENSTOCK_GATES= early@20  middle@tokens:8192 last@x@40 ",
                                   "PENSTOCK_EVENTS=/dev/fd/7",
                                   "PENSTOCK_COMM_FD=9",
                                   "PENSTOCK_COMM_BYTES=1048576",
                                   "PENSTOCK_RUN_INDEX=4294967295",
                                   "PENSTOCK_ATTEMPT=3",
                                   "OMP_NUM_THREADS=3",
                                   NULL };
    assert_int_equal(read_job(&job, values, plain_args, NULL), ERR_OK);
    assert_false(job.standalone);
    assert_int_equal(job.rank, 1);
    assert_int_equal(job.size, 4);
    assert_string_equal(job.resume, "/state/runs/a/checkpoints/step-00000010.safetensors");
    assert_true(job.has_resume_step);
    assert_int_equal(job.resume_step, 10);
    assert_int_equal(job.gate_count, 3);
    assert_string_equal(job.gates[0].name, "early");
    assert_int_equal(job.gates[0].at, 20);
    assert_true(job.gates[1].by_tokens);
    assert_int_equal(job.gates[1].at, 8192);
    assert_string_equal(job.gates[2].name, "last@x");
    assert_int_equal(job.comm_fd, 9);
    assert_int_equal(job.comm_id_fd, -1);
    assert_true(job.has_run);
    assert_int_equal(job.run, 4294967295);
    assert_int_equal(job.attempt, 3);
    assert_int_equal(job.threads, 3);
    /* Flags win. */
    const char *const args[ARGS_MAX] = { "--data",   "x",  "--dir",     "/other",
                                         "--resume", "/c", "--threads", "2" };
    assert_int_equal(read_job(&job, values, args, NULL), ERR_OK);
    assert_string_equal(job.dir, "/other");
    assert_string_equal(job.resume, "/c");
    assert_false(job.has_resume_step);
    assert_false(job.dir_is_known);
    assert_int_equal(job.threads, 2);
}

static void test_bad_environment(void **unused)
{
    (void)unused;
    static const char long_name[] = "PENSTOCK_GATES=a-name-that-is-longer-than-the-table-has-"
                                    "room-for-by-just-a-few-letters-more@3";
    static const char many[] = "PENSTOCK_GATES=a@1 a@1 a@1 a@1 a@1 a@1 a@1 a@1 a@1 a@1 a@1 a@1 "
                               "a@1 a@1 a@1 a@1 a@1 a@1 a@1 a@1 a@1 a@1 a@1 a@1 a@1";
    static const char *const rows[][4] = {
        { "WORLD_SIZE=0" },
        { "WORLD_SIZE=two" },
        { "WORLD_SIZE=1025" },
        { "RANK=1" },
        { "RANK=-1" },
        { "WORLD_SIZE=2" },
        { "WORLD_SIZE=2", "PENSTOCK_COMM_FD=5" },
        { "WORLD_SIZE=2", "PENSTOCK_COMM_FD=x", "PENSTOCK_COMM_BYTES=1048576" },
        { "WORLD_SIZE=3", "PENSTOCK_COMM_FD=5", "PENSTOCK_COMM_BYTES=1048576" },
        { "WORLD_SIZE=2", "PENSTOCK_COMM_ID_FD=x" },
        { "PENSTOCK_RUN_INDEX=-1", "PENSTOCK_ATTEMPT=1" },
        { "PENSTOCK_RUN_INDEX=4294967296", "PENSTOCK_ATTEMPT=1" },
        { "PENSTOCK_RUN_INDEX=0", "PENSTOCK_ATTEMPT=0" },
        { "PENSTOCK_DIR=/d", "PENSTOCK_RESUME=/c", "PENSTOCK_RESUME_STEP=-4" },
        { "PENSTOCK_DIR=/d", "PENSTOCK_RESUME=/c", "PENSTOCK_RESUME_STEP=ten" },
        { "PENSTOCK_DIR=relative" },
        { "PENSTOCK_GATES=early" },
        { "PENSTOCK_GATES=@3" },
        { "PENSTOCK_GATES=early@" },
        { "PENSTOCK_GATES=early@x" },
        { "PENSTOCK_GATES=early@tokens:" },
        { "PENSTOCK_GATES=early@-3" },
        { long_name },
        { many },
        { "OMP_NUM_THREADS=0" },
        { "OMP_NUM_THREADS=many" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct job job;
        struct error error = { .code = ERR_OK };
        if (read_job(&job, rows[i], plain_args, &error) != ERR_INPUT)
            fail_msg("row %zu was accepted", i);
        assert_true(error.text[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_verbs),
        cmocka_unit_test(test_bad_flags),
        cmocka_unit_test(test_help_names_every_flag_and_code),
        cmocka_unit_test(test_notes),
        cmocka_unit_test(test_empty_environment),
        cmocka_unit_test(test_full_environment),
        cmocka_unit_test(test_bad_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
