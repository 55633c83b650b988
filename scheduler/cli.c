/* cli.c - see cli.h. The table first, then help, then the dispatch. */
#include "scheduler/cli.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/text.h"
#include "scheduler/verbs/verbs.h"

struct verb {
    const char *name;
    const char *words; /* what follows the name */
    const char *summary;
    const char *more; /* help beyond the summary */
    const char *example;
    uint32_t words_min, words_max;
    const struct flag *flags;
    int (*run)(const struct arguments *arguments);
};

/* clang-format off */
#define FLAGS_END { NULL, NULL, NULL, NULL, NULL }

static const struct flag run_flags[] = {
    { "--dir", NULL, "STATE", NULL, "state directory; made when it does not exist, resumed when it does (required)" },
    { "--workers", NULL, "N", NULL, "worker slots on this machine; not under mpirun or srun, where the launcher says it" },
    { "--progress", NULL, "KIND", "auto", "table, lines or none; auto is a table on a terminal" },
    FLAGS_END
};
static const struct flag no_flags[] = { FLAGS_END };
static const struct flag status_flags[] = {
    { "--watch", NULL, NULL, NULL, "redraw every two seconds until the campaign has ended" },
    { "--json", NULL, NULL, NULL, "print JSON (docs/formats/report.md)" },
    FLAGS_END
};
static const struct flag decide_flags[] = {
    { "--as", NULL, "OWNER", NULL, "the owner who decides, as the campaign names them (required for an answer)" },
    { "--reason", NULL, "TEXT", NULL, "why, in one line; it stands in the ledger (required for an answer)" },
    { "--key", NULL, "SSH_KEY", NULL, "sign with this key (a private key file, or its .pub with the key in ssh-agent), by ssh-keygen -Y sign; needed when the campaign names the owner's keys" },
    { "--list", NULL, NULL, NULL, "show what waits for an answer (with --as or --key: whose) and what it is decided on" },
    FLAGS_END
};
static const struct flag report_flags[] = {
    { "--format", NULL, "FORMAT", "text", "text, md, html or json" },
    { "--since", NULL, "AGE", NULL, "only what happened within AGE, such as 7d, 12h or 30m" },
    { "--output", "-o", "FILE", NULL, "write to FILE, whole or not at all, instead of to stdout" },
    FLAGS_END
};
static const struct flag export_flags[] = {
    { "--format", NULL, "FORMAT", NULL, "csv, json, sqlite or openmetrics (required)" },
    { "--output", "-o", "FILE", NULL, "write to FILE instead of to stdout; sqlite needs it" },
    FLAGS_END
};
static const struct flag plan_flags[] = {
    { "--workers", NULL, "N", "4", "worker slots that the forecast assumes" },
    { "--speed", NULL, "STEPS", "10", "optimizer steps a second of one slot that the forecast assumes" },
    { "--samples", NULL, "N", "64", "campaigns to simulate for the forecast; 0: no forecast" },
    FLAGS_END
};
static const struct flag simulate_flags[] = {
    { "--workers", NULL, "N", "4", "worker slots" },
    { "--speed", NULL, "STEPS", "10", "optimizer steps a second of one slot" },
    { "--seed", NULL, "N", "1", "seed of everything that is random" },
    { "--crashes", NULL, "PER_HOUR", "0", "how often a trainer crashes" },
    { "--records", NULL, NULL, NULL, "print each record as a line" },
    FLAGS_END
};

static const struct verb verbs[] = {
    { "run", "CAMPAIGN.yaml", "run a campaign, or resume it",
      "Without an MPI launcher around it, it starts mpirun itself. Ctrl-C, SIGTERM or SIGUSR1 make all\n"
      "runs checkpoint, settle the money and end with status 75; a second Ctrl-C stops at once.",
      "penstock run deploy/examples/first.yaml --dir state --workers 3\n"
      "  mpirun -n 4 penstock run deploy/examples/first.yaml --dir state",
      1, 1, run_flags, verb_run },
    { "plan", "CAMPAIGN.yaml", "check a campaign file and show the policy that is in effect",
      "Prints every default that is in effect, what the campaign can cost at most, and what it will\n"
      "probably cost: simulated with the speed that is given, best (10 %), expected (50 %), worst (90 %).",
      "penstock plan deploy/examples/first.yaml --workers 3 --speed 20", 1, 1, plan_flags, verb_plan },
    { "status", "STATE", "what runs, what it cost, what waits for whom",
      "Reads the ledger only: safe at any time, from any machine that sees the directory.",
      "penstock status state --watch", 1, 1, status_flags, verb_status },
    { "explain", "STATE RUN|RUN/GATE", "why a run or gate is where it is",
      "Shows the inputs, the rule, the verdict and what comes next.",
      "penstock explain state lr-3e-4\n  penstock explain state lr-3e-4/half", 2, 2, no_flags, verb_explain },
    { "decide", "STATE GATE go|no-go | STATE --list", "answer a question that waits for an owner",
      "GATE is RUN/GATE, a gate's name when only one run waits at it, RUN for a run that is held, or\n"
      "tier:N for the N-th tier of the budget. A running campaign takes the answer within a second;\n"
      "otherwise `penstock run` takes it up.",
      "penstock decide state lr-3e-4/half go --as ada --reason \"loss still falls\" --key ~/.ssh/id_ed25519\n"
      "  penstock decide state --list --as ada", 1, 3, decide_flags, verb_decide },
    { "report", "STATE", "the checkpoint review report", "",
      "penstock report state\n  penstock report state --format html -o report.html", 1, 1, report_flags, verb_report },
    { "verify", "STATE", "check the ledger's frames, chain and money invariants", "",
      "penstock verify state", 1, 1, no_flags, verb_verify },
    { "export", "STATE", "give the ledger to other tools", "",
      "penstock export state --format sqlite -o state.db", 1, 1, export_flags, verb_export },
    { "simulate", "CAMPAIGN.yaml", "play a campaign on a virtual clock",
      "The decisions are the coordinator's own; trainers, losses and owners are made up from the seed.",
      "penstock simulate deploy/examples/first.yaml --workers 3 --seed 7", 1, 1, simulate_flags, verb_simulate },
};
/* clang-format on */

static const struct {
    int status;
    const char *text;
} statuses[] = {
#define X(id, status, text) { (status), (text) },
    CLI_STATUSES(X)
#undef X
};

enum cli_status cli_status_of(enum err code)
{
    if (code == ERR_OK) return CLI_DONE;
    if (code == ERR_DAMAGED) return CLI_DAMAGED;
    if (code == ERR_NO_SPACE) return CLI_SUSPENDED;
    return CLI_USAGE;
}

bool cli_status_known(int status)
{
    for (size_t i = 0; i < ARRAY_COUNT(statuses); i++)
        if (statuses[i].status == status) return true;
    return false;
}

int cli_fail(const struct error *error)
{
    fprintf(stderr, "penstock: %s\n", error->text);
    return (int)cli_status_of(error->code);
}

static void print_overview(FILE *to)
{
    fprintf(to,
            "penstock meters money to training runs: a run keeps getting spend only while its\n"
            "slots are busy and its model meets its milestones.\n\nusage:\n");
    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++)
        fprintf(to, "  penstock %-8s %-22s %s\n", verbs[i].name, verbs[i].words,
                verbs[i].summary);
    fprintf(to, "  penstock help [VERB], penstock --version\n\nexit status:\n");
    for (size_t i = 0; i < ARRAY_COUNT(statuses); i++)
        fprintf(to, "  %2d  %s\n", statuses[i].status, statuses[i].text);
}

static void print_help(const struct verb *verb)
{
    printf("usage: penstock %s %s%s\n\n%c%s.\n", verb->name, verb->words,
           verb->flags[0].name != NULL ? " [FLAGS]" : "",
           verb->summary[0] >= 'a' ? verb->summary[0] - 'a' + 'A' : verb->summary[0],
           verb->summary + 1);
    if (verb->more[0] != '\0') printf("%s\n", verb->more);
    if (verb->flags[0].name != NULL) printf("\nflags:\n");
    for (const struct flag *flag = verb->flags; flag->name != NULL; flag++) {
        char left[48];
        struct writer writer = writer_of(left, sizeof left);
        if (flag->alias != NULL) writer_format(&writer, "%s, ", flag->alias);
        writer_format(&writer, "%s %s", flag->name, flag->value != NULL ? flag->value : "");
        printf("  %-22s %s", left, flag->help);
        if (flag->fallback != NULL) printf(" (default %s)", flag->fallback);
        printf("\n");
    }
    printf("\nexample:\n  %s\n", verb->example);
}

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++)
        if (strcmp(name, verbs[i].name) == 0) return &verbs[i];
    return NULL;
}

static int unknown_verb(const char *name)
{
    const char *near = arguments_nearest(name, verbs, ARRAY_COUNT(verbs), sizeof verbs[0]);
    if (near != NULL)
        fprintf(stderr, "penstock: there is no verb \"%s\"; did you mean %s?\n", name, near);
    else
        fprintf(stderr, "penstock: there is no verb \"%s\"; penstock help lists them\n", name);
    return CLI_USAGE;
}

static int help(int argc, char *const *argv)
{
    if (argc < 3) {
        print_overview(stdout);
        return CLI_DONE;
    }
    const struct verb *verb = find_verb(argv[2]);
    if (verb == NULL) return unknown_verb(argv[2]);
    print_help(verb);
    return CLI_DONE;
}

static int dispatch(const struct verb *verb, int count, char *const *argv)
{
    struct arguments arguments;
    struct error error;
    if (arguments_parse(verb->flags, verb->words_min, verb->words_max, count, argv, &arguments,
                        &error) != ERR_OK) {
        error_prefix(&error, error.code, "%s", verb->name);
        return cli_fail(&error);
    }
    if (arguments.help) {
        print_help(verb);
        return CLI_DONE;
    }
    int status = verb->run(&arguments);
    /* What was printed may still fail to arrive, on a full disk or a closed pipe. */
    if (fflush(stdout) != 0 && status == CLI_DONE) {
        fprintf(stderr, "penstock: the output could not be written\n");
        return CLI_USAGE;
    }
    return status;
}

int cli_main(int argc, char *const *argv)
{
    if (argc < 2) {
        print_overview(stderr);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        printf("penstock %s\n", PENSTOCK_VERSION);
        return CLI_DONE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        return help(argc, argv);
    const struct verb *verb = find_verb(name);
    if (verb == NULL) return unknown_verb(name);
    return dispatch(verb, argc - 2, argv + 2);
}
