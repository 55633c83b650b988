#include "worker/trainer/options.h"

#include "worker/trainer/exits.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SEED_MAX 9007199254740991.0 /* 2^53 - 1: numbers up to it are exact in a double */

enum flag_kind { FLAG_TEXT, FLAG_CHOICE, FLAG_INT, FLAG_REAL };

enum flag_use {
    USE_TRAIN = 1, /* accepted when training */
    USE_PROBE = 2, /* accepted by probe */
    USE_NOTE = 4   /* goes into checkpoints */
};

struct flag {
    const char *name;
    enum flag_kind kind;
    unsigned use;
    size_t offset;
    const char *standard; /* default as it would be written, or NULL */
    double min, max;      /* of a number */
    bool min_open;        /* the minimum itself is not allowed */
    bool max_open;
    const char *values; /* of a choice, separated by bars; of the rest, a word for --help */
    const char *help;
};

#define AT(member) offsetof(struct options, member)

/* clang-format off */
static const struct flag flags[] = {
    { "data", FLAG_TEXT, USE_TRAIN, AT(data), NULL, 0, 0, false, false, "FILE",
      "training data; the last tenth is held out for validation" },
    { "data-format", FLAG_CHOICE, USE_TRAIN, AT(data_format), "text", 0, 0, false, false, "text|u16",
      "bytes of text, or 16-bit little-endian tokens" },
    { "layers", FLAG_INT, USE_TRAIN, AT(layers), "4", 1, GPT_LAYERS_MAX, false, false, "N",
      "transformer blocks" },
    { "width", FLAG_INT, USE_TRAIN, AT(width), "128", 1, GPT_WIDTH_MAX, false, false, "N",
      "width of the residual stream; a multiple of --heads" },
    { "heads", FLAG_INT, USE_TRAIN, AT(heads), "4", 1, GPT_WIDTH_MAX, false, false, "N",
      "attention heads" },
    { "context", FLAG_INT, USE_TRAIN, AT(context), "128", 1, GPT_CONTEXT_MAX, false, false, "N",
      "tokens of a sequence" },
    { "vocab", FLAG_INT, USE_TRAIN, AT(vocab), "256", 1, GPT_VOCAB_MAX, false, false, "N",
      "tokens are 0 to N - 1" },
    { "batch", FLAG_INT, USE_TRAIN | USE_NOTE, AT(batch), "8", 1, GPT_ROWS_MAX * (double)GANG_MAX, false, false, "N",
      "sequences a step of the whole gang" },
    { "steps", FLAG_INT, USE_TRAIN | USE_NOTE, AT(steps), "200", 1, 1e12, false, false, "N",
      "optimizer steps of the run" },
    { "lr", FLAG_REAL, USE_TRAIN | USE_NOTE, AT(lr), "1e-3", 0, HUGE_VAL, true, true, "X",
      "highest learning rate" },
    { "lr-min-ratio", FLAG_REAL, USE_TRAIN | USE_NOTE, AT(lr_min_ratio), "0.1", 0, 1, false, false, "X",
      "learning rate of the last step, as a share of --lr" },
    { "warmup", FLAG_INT, USE_TRAIN | USE_NOTE, AT(warmup), "20", 0, 1e12, false, false, "N",
      "steps until the highest learning rate; by default at most --steps" },
    { "weight-decay", FLAG_REAL, USE_TRAIN | USE_NOTE, AT(weight_decay), "0.1", 0, HUGE_VAL, false, true, "X",
      "decoupled decay of the matrices" },
    { "beta1", FLAG_REAL, USE_TRAIN | USE_NOTE, AT(beta1), "0.9", 0, 1, false, true, "X",
      "decay of the first moment" },
    { "beta2", FLAG_REAL, USE_TRAIN | USE_NOTE, AT(beta2), "0.95", 0, 1, false, true, "X",
      "decay of the second moment" },
    { "clip", FLAG_REAL, USE_TRAIN | USE_NOTE, AT(clip), "1.0", 0, HUGE_VAL, false, true, "X",
      "largest norm of the gradient; 0: no clipping" },
    { "seed", FLAG_INT, USE_TRAIN, AT(seed), "1", 0, SEED_MAX, false, false, "N",
      "of the first weights and the order of the data; another one on resume reorders the data" },
    { "eval-every", FLAG_INT, USE_TRAIN, AT(eval_every), "50", 0, 1e12, false, false, "N",
      "steps between evaluations on held-out data; 0: only at gates and at the end" },
    { "eval-batches", FLAG_INT, USE_TRAIN, AT(eval_batches), "4", 1, 1e6, false, false, "N",
      "batches of one evaluation" },
    { "checkpoint-every", FLAG_INT, USE_TRAIN, AT(checkpoint_every), "100", 0, 1e12, false, false, "N",
      "steps between checkpoints; 0: only at gates, at a stop and at the end" },
    { "keep", FLAG_INT, USE_TRAIN, AT(keep), "2", 1, 1e6, false, false, "N",
      "newest checkpoints to keep, besides those of undecided gates" },
    { "backend", FLAG_CHOICE, USE_TRAIN | USE_PROBE, AT(backend), "auto", 0, 0, false, false, "auto|cuda|cpu",
      "what computes; cuda never falls back to the CPU" },
    { "dtype", FLAG_CHOICE, USE_TRAIN | USE_PROBE | USE_NOTE, AT(dtype), "fp32", 0, 0, false, false, "fp32|bf16",
      "weights in products, and activations; bf16 on GPUs only, beside master weights in fp32" },
    { "reduce", FLAG_CHOICE, USE_TRAIN | USE_NOTE, AT(reduce), "fp32", 0, 0, false, false, "fp32|bf16",
      "gradients while a gang sums them; bf16 on GPUs only" },
    { "gang-timeout", FLAG_REAL, USE_TRAIN, AT(gang_timeout), "600", 1, 86400, false, false, "S",
      "longest wait for the other members, or for the GPU, in seconds" },
    { "threads", FLAG_INT, USE_TRAIN | USE_PROBE, AT(threads), NULL, 1, KERNELS_THREADS_MAX, false, false, "N",
      "CPU threads; by default OMP_NUM_THREADS, else all that may be used" },
    { "dir", FLAG_TEXT, USE_TRAIN, AT(dir), NULL, 0, 0, false, false, "DIR",
      "where checkpoints/ lies; by default PENSTOCK_DIR, else the current directory" },
    { "resume", FLAG_TEXT, USE_TRAIN, AT(resume), NULL, 0, 0, false, false, "FILE",
      "checkpoint to go on from; by default PENSTOCK_RESUME, else a fresh start" },
};
/* clang-format on */

enum { FLAG_COUNT = ARRAY_COUNT(flags) };

static void *member_at(struct options *options, const struct flag *flag)
{
    return (char *)options + flag->offset;
}

/* ---- values ---- */

/* Index of `value` among "a|b|c", or -1. */
static int choice_index(const char *values, struct text value)
{
    struct text rest = text_of(values);
    for (int index = 0;; index++) {
        size_t bar = text_find(rest, TEXT("|"));
        size_t len = bar == SIZE_MAX ? rest.len : bar;
        if (text_equal((struct text){ rest.data, len }, value)) return index;
        if (bar == SIZE_MAX) return -1;
        rest = (struct text){ rest.data + bar + 1, rest.len - bar - 1 };
    }
}

/* The reverse of choice_index. */
static struct text choice_at(const char *values, int64_t index)
{
    struct text rest = text_of(values);
    for (;; index--) {
        size_t bar = text_find(rest, TEXT("|"));
        size_t len = bar == SIZE_MAX ? rest.len : bar;
        if (index == 0) return (struct text){ rest.data, len };
        check(bar != SIZE_MAX);
        rest = (struct text){ rest.data + bar + 1, rest.len - bar - 1 };
    }
}

static bool in_range(const struct flag *flag, double value)
{
    if (!isfinite(value) || value < flag->min || value > flag->max) return false;
    if (flag->min_open && value <= flag->min) return false;
    return !(flag->max_open && value >= flag->max);
}

static void write_range(struct writer *writer, const struct flag *flag)
{
    bool whole = flag->kind == FLAG_INT;
    writer_string(writer, whole ? "a whole number" : "a number");
    if (isinf(flag->max)) {
        writer_format(writer, " %s %.16g", flag->min_open ? "above" : "of at least", flag->min);
        return;
    }
    writer_format(writer, " from %.16g%s to %.16g%s", flag->min,
                  flag->min_open ? " (excluded)" : "", flag->max,
                  flag->max_open ? " (excluded)" : "");
}

static enum err range_error(const struct flag *flag, const char *value, struct error *error)
{
    char range[128];
    struct writer writer = writer_of(range, sizeof(range));
    write_range(&writer, flag);
    return error_set(error, ERR_INPUT, "--%s is '%.60s'; it must be %s", flag->name, value,
                     range);
}

static bool parse_real(const char *text, double *value)
{
    char *end = NULL;
    /* strtod would skip blanks and take hexadecimal. */
    if (text[0] == '\0' || strspn(text, "+-.0123456789eE") != strlen(text)) return false;
    *value = strtod(text, &end);
    return *end == '\0';
}

static enum err set_value(struct options *options, const struct flag *flag, const char *value,
                          struct error *error)
{
    void *member = member_at(options, flag);
    int64_t whole;
    double real;
    int index;
    switch (flag->kind) {
    case FLAG_TEXT:
        if (value[0] == '\0')
            return error_set(error, ERR_INPUT, "--%s is empty; give it a %s", flag->name,
                             flag->values);
        *(const char **)member = value;
        return ERR_OK;
    case FLAG_CHOICE:
        index = choice_index(flag->values, text_of(value));
        if (index < 0)
            return error_set(error, ERR_INPUT, "--%s is '%.60s'; it must be %s", flag->name,
                             value, flag->values);
        *(int64_t *)member = index;
        return ERR_OK;
    case FLAG_INT:
        if (!text_to_i64(text_of(value), &whole) || !in_range(flag, (double)whole))
            return range_error(flag, value, error);
        *(int64_t *)member = whole;
        return ERR_OK;
    case FLAG_REAL:
        if (!parse_real(value, &real) || !in_range(flag, real))
            return range_error(flag, value, error);
        *(double *)member = real;
        return ERR_OK;
    }
    unreachable("flag kind");
}

/* ---- the command line ---- */

/* The flag that `argument` ("--name" or "--name=value") names; *value is what stands after the
 * equals sign, or NULL. */
static const struct flag *find_flag(const char *argument, const char **value)
{
    *value = NULL;
    if (strncmp(argument, "--", 2) != 0) return NULL;
    const char *name = argument + 2, *equals = strchr(name, '=');
    struct text wanted = { name, equals == NULL ? strlen(name) : (size_t)(equals - name) };
    for (int i = 0; i < FLAG_COUNT; i++)
        if (text_is(wanted, flags[i].name)) {
            if (equals != NULL) *value = equals + 1;
            return &flags[i];
        }
    return NULL;
}

static enum err parse_flags(struct options *options, bool given[FLAG_COUNT], int argc,
                            const char *const *argv, struct error *error)
{
    unsigned use = options->verb == VERB_PROBE ? USE_PROBE : USE_TRAIN;
    for (int i = options->verb == VERB_PROBE ? 2 : 1; i < argc; i++) {
        const char *value;
        const struct flag *flag = find_flag(argv[i], &value);
        if (flag == NULL)
            return error_set(error, ERR_INPUT, "unknown argument '%.80s'; see --help", argv[i]);
        if ((flag->use & use) == 0)
            return error_set(error, ERR_INPUT, "probe takes no --%s; see --help", flag->name);
        if (given[flag - flags])
            return error_set(error, ERR_INPUT, "--%s is given twice; give it once", flag->name);
        if (value == NULL && i + 1 == argc)
            return error_set(error, ERR_INPUT, "--%s lacks its value; see --help", flag->name);
        if (value == NULL) value = argv[++i];
        enum err rc = set_value(options, flag, value, error);
        if (rc != ERR_OK) return rc;
        given[flag - flags] = true;
    }
    return ERR_OK;
}

static bool was_given(const bool given[FLAG_COUNT], const char *name)
{
    for (int i = 0; i < FLAG_COUNT; i++)
        if (strcmp(flags[i].name, name) == 0) return given[i];
    unreachable("flag name");
}

/* What one flag alone cannot know. */
static enum err check_together(struct options *options, const bool given[FLAG_COUNT],
                               struct error *error)
{
    if (options->data == NULL)
        return error_set(error, ERR_INPUT, "--data is missing; name the training data");
    if (options->width % options->heads != 0)
        return error_set(error, ERR_INPUT,
                         "--width %" PRId64 " is no multiple of --heads %" PRId64
                         "; make it one",
                         options->width, options->heads);
    if (options->backend == BACKEND_CPU &&
        (options->dtype != KERNELS_FP32 || options->reduce != KERNELS_FP32))
        return error_set(error, ERR_INPUT,
                         "--%s bf16 needs a GPU; use fp32, or --backend cuda or auto",
                         options->dtype != KERNELS_FP32 ? "dtype" : "reduce");
    if (!was_given(given, "warmup")) options->warmup = min_i64(options->warmup, options->steps);
    if (options->warmup > options->steps)
        return error_set(error, ERR_INPUT,
                         "--warmup %" PRId64 " is longer than --steps %" PRId64
                         "; shorten the warm-up",
                         options->warmup, options->steps);
    return ERR_OK;
}

enum err options_parse(struct options *options, int argc, const char *const *argv,
                       struct error *error)
{
    bool given[FLAG_COUNT] = { false };
    struct options parsed = { .verb = VERB_TRAIN };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            parsed.verb = VERB_HELP;
        else if (strcmp(argv[i], "--version") == 0)
            parsed.verb = VERB_VERSION;
    }
    if (parsed.verb == VERB_TRAIN && argc > 1 && strcmp(argv[1], "probe") == 0)
        parsed.verb = VERB_PROBE;
    for (int i = 0; i < FLAG_COUNT; i++)
        if (flags[i].standard != NULL)
            check(set_value(&parsed, &flags[i], flags[i].standard, NULL) == ERR_OK);
    if (parsed.verb == VERB_TRAIN || parsed.verb == VERB_PROBE) {
        enum err rc = parse_flags(&parsed, given, argc, argv, error);
        if (rc == ERR_OK && parsed.verb == VERB_TRAIN)
            rc = check_together(&parsed, given, error);
        if (rc != ERR_OK) return rc;
    }
    *options = parsed;
    return ERR_OK;
}

void options_help(struct writer *writer)
{
    writer_string(writer,
                  "penstock-train: train a GPT on text or tokens\n\n"
                  "usage: penstock-train --data FILE [flags]\n"
                  "       penstock-train probe [--threads N]   measure this machine, as JSON\n"
                  "       penstock-train --help | --version\n\nflags:\n");
    for (int i = 0; i < FLAG_COUNT; i++) {
        char left[48];
        struct writer name = writer_of(left, sizeof(left));
        writer_format(&name, "--%s %s", flags[i].name, flags[i].values);
        writer_format(writer, "  %-24s %s", left, flags[i].help);
        if (flags[i].standard != NULL) writer_format(writer, " [%s]", flags[i].standard);
        writer_string(writer, "\n");
    }
    writer_string(
        writer, "\nexample:\n"
                "  penstock-train --data book.txt --steps 500 --dir out\n"
                "  penstock-train --data book.txt --steps 1000 --dir out \\\n"
                "                 --resume out/checkpoints/step-00000500.safetensors\n\n"
                "SIGTERM, SIGINT or SIGUSR1: write a checkpoint and exit 0.\n\nexit codes:\n");
#define X(id, code, text) writer_format(writer, "  %d  %s\n", (code), (text));
    EXITS(X)
#undef X
}

/* The shortest decimal that reads back as the same number. */
static void write_real(struct writer *writer, double value)
{
    char text[CKPT_NOTE_BYTES];
    for (int digits = 6; digits <= 17; digits++) {
        struct writer attempt = writer_of(text, sizeof(text));
        writer_format(&attempt, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    writer_string(writer, text);
}

size_t options_notes(const struct options *options, struct ckpt_note notes[OPTIONS_NOTES_MAX])
{
    size_t count = 0;
    for (int i = 0; i < FLAG_COUNT; i++) {
        if ((flags[i].use & USE_NOTE) == 0) continue;
        check(count < OPTIONS_NOTES_MAX);
        struct ckpt_note *note = &notes[count++];
        struct writer value = writer_of(note->value, sizeof(note->value));
        const void *member = (const char *)options + flags[i].offset;
        note->key = flags[i].name;
        if (flags[i].kind == FLAG_INT)
            writer_format(&value, "%" PRId64, *(const int64_t *)member);
        else if (flags[i].kind == FLAG_CHOICE)
            writer_text(&value, choice_at(flags[i].values, *(const int64_t *)member));
        else
            write_real(&value, *(const double *)member);
    }
    return count;
}

/* ---- the environment ---- */

/* A whole number in [min, max]; the fallback where the variable is absent or empty. */
static enum err read_number(options_lookup_fn lookup, const char *name, int64_t min,
                            int64_t max, int64_t fallback, int64_t *value, struct error *error)
{
    const char *text = lookup(name);
    *value = fallback;
    if (text == NULL || text[0] == '\0') return ERR_OK;
    if (!text_to_i64(text_of(text), value) || *value < min || *value > max)
        return error_set(error, ERR_INPUT, "%s is '%.60s'; it must be %" PRId64 " to %" PRId64,
                         name, text, min, max);
    return ERR_OK;
}

static enum err parse_gate(struct text word, struct job_gate *gate, struct error *error)
{
    struct text tokens = TEXT("tokens:");
    size_t sign = word.len;
    while (sign > 0 && word.data[sign - 1] != '@')
        sign--;
    if (sign > 1) {
        struct text name = { word.data, sign - 1 };
        struct text at = { word.data + sign, word.len - sign };
        gate->by_tokens = text_starts(at, tokens);
        if (gate->by_tokens) at = (struct text){ at.data + tokens.len, at.len - tokens.len };
        if (text_copy(gate->name, sizeof(gate->name), name) && text_to_u64(at, &gate->at))
            return ERR_OK;
    }
    return error_set(error, ERR_INPUT,
                     "PENSTOCK_GATES holds '%.*s'; a gate is NAME@STEP or NAME@tokens:N",
                     (int)(word.len < 80 ? word.len : 80), word.data);
}

static enum err parse_gates(struct job *job, const char *list, struct error *error)
{
    struct text rest = text_trim(text_of(list));
    while (rest.len > 0) {
        size_t blank = text_find(rest, TEXT(" "));
        struct text word = { rest.data, blank == SIZE_MAX ? rest.len : blank };
        if (job->gate_count == GATES_PER_RUN_MAX)
            return error_set(error, ERR_INPUT, "PENSTOCK_GATES lists more than %d gates",
                             GATES_PER_RUN_MAX);
        enum err rc = parse_gate(word, &job->gates[job->gate_count], error);
        if (rc != ERR_OK) return rc;
        job->gate_count++;
        rest = text_trim((struct text){ rest.data + word.len, rest.len - word.len });
    }
    return ERR_OK;
}

static enum err copy_path(char to[PATH_MAX], const char *folder, const char *path,
                          struct error *error)
{
    struct writer writer = writer_of(to, PATH_MAX);
    if (folder != NULL && path[0] != '/') writer_format(&writer, "%s/", folder);
    writer_string(&writer, path);
    if (writer.full) return error_set(error, ERR_INPUT, "path '%.60s...' is too long", path);
    return ERR_OK;
}

static enum err read_paths(struct job *job, const struct options *options,
                           options_lookup_fn lookup, struct error *error)
{
    const char *dir = lookup("PENSTOCK_DIR"), *resume = lookup("PENSTOCK_RESUME");
    int64_t step;
    enum err rc;
    job->standalone = dir == NULL || dir[0] == '\0';
    job->dir_is_known = !job->standalone && options->dir == NULL;
    if (job->standalone) dir = ".";
    if (options->dir != NULL) dir = options->dir;
    if (!job->standalone && dir[0] != '/')
        return error_set(error, ERR_INPUT,
                         "the directory '%.80s' is relative; under an agent it must be a full "
                         "path",
                         dir);
    if ((rc = copy_path(job->dir, NULL, dir, error)) != ERR_OK) return rc;
    if (options->resume != NULL) return copy_path(job->resume, NULL, options->resume, error);
    if (resume == NULL || resume[0] == '\0') return ERR_OK;
    if ((rc = copy_path(job->resume, job->dir, resume, error)) != ERR_OK) return rc;
    rc = read_number(lookup, "PENSTOCK_RESUME_STEP", 0, INT64_MAX, -1, &step, error);
    job->has_resume_step = rc == ERR_OK && step >= 0;
    if (job->has_resume_step) job->resume_step = (uint64_t)step;
    return rc;
}

static enum err read_gang(struct job *job, const struct options *options,
                          options_lookup_fn lookup, struct error *error)
{
    int64_t rank, size, fd, bytes, id_fd;
    enum err rc;
    if ((rc = read_number(lookup, "WORLD_SIZE", 1, GANG_MAX, 1, &size, error)) != ERR_OK)
        return rc;
    if ((rc = read_number(lookup, "RANK", 0, size - 1, 0, &rank, error)) != ERR_OK) return rc;
    rc = read_number(lookup, "PENSTOCK_COMM_FD", 0, INT_MAX, -1, &fd, error);
    if (rc != ERR_OK) return rc;
    rc = read_number(lookup, "PENSTOCK_COMM_BYTES", 1, INT64_MAX, -1, &bytes, error);
    if (rc != ERR_OK) return rc;
    rc = read_number(lookup, "PENSTOCK_COMM_ID_FD", 0, INT_MAX, -1, &id_fd, error);
    if (rc != ERR_OK) return rc;
    if (size > 1 && (fd < 0 || bytes < 0) && id_fd < 0)
        return error_set(error, ERR_INPUT,
                         "WORLD_SIZE is %" PRId64 ", but neither PENSTOCK_COMM_FD and "
                         "PENSTOCK_COMM_BYTES (CPUs) nor PENSTOCK_COMM_ID_FD (GPUs) say how to "
                         "reach the gang; start it through penstock",
                         size);
    if (options->batch % size != 0)
        return error_set(error, ERR_INPUT,
                         "--batch %" PRId64 " cannot be shared by %" PRId64
                         " members; make it a multiple",
                         options->batch, size);
    if (options->batch / size > GPT_ROWS_MAX)
        return error_set(error, ERR_INPUT,
                         "--batch %" PRId64 " gives each of %" PRId64
                         " members more than %d sequences; lower it",
                         options->batch, size, GPT_ROWS_MAX);
    job->rank = (int)rank;
    job->size = (int)size;
    job->comm_fd = (int)fd;
    job->comm_bytes = bytes > 0 ? (size_t)bytes : 0;
    job->comm_id_fd = (int)id_fd;
    return ERR_OK;
}

/* Which run and attempt, where an agent says it; both or none. */
static enum err read_attempt(struct job *job, options_lookup_fn lookup, struct error *error)
{
    int64_t run, attempt;
    enum err rc = read_number(lookup, "PENSTOCK_RUN_INDEX", 0, UINT32_MAX, -1, &run, error);
    if (rc == ERR_OK)
        rc = read_number(lookup, "PENSTOCK_ATTEMPT", 1, UINT32_MAX, -1, &attempt, error);
    if (rc != ERR_OK) return rc;
    job->has_run = run >= 0 && attempt >= 1;
    job->run = job->has_run ? (uint32_t)run : 0;
    job->attempt = job->has_run ? (uint32_t)attempt : 0;
    return ERR_OK;
}

enum err options_job(struct job *job, const struct options *options, options_lookup_fn lookup,
                     struct error *error)
{
    enum err rc;
    int64_t threads;
    const char *gates = lookup("PENSTOCK_GATES");
    memset(job, 0, sizeof(*job));
    if ((rc = read_paths(job, options, lookup, error)) != ERR_OK) return rc;
    if ((rc = read_gang(job, options, lookup, error)) != ERR_OK) return rc;
    if ((rc = read_attempt(job, lookup, error)) != ERR_OK) return rc;
    if (gates != NULL && (rc = parse_gates(job, gates, error)) != ERR_OK) return rc;
    rc = read_number(lookup, "OMP_NUM_THREADS", 1, INT_MAX, 0, &threads, error);
    if (rc != ERR_OK) return rc;
    if (options->threads > 0) threads = options->threads;
    job->threads = (int)min_i64(threads, KERNELS_THREADS_MAX);
    job->events_path = lookup("PENSTOCK_EVENTS");
    job->protobuf_path = lookup("PENSTOCK_FD");
    return ERR_OK;
}
