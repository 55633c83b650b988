/* main.c - penstock-train: reads what is asked, trains, and turns the outcome into an exit
 * code. The only mutable global is the wish to stop, which a signal sets. */
#include "proto/base/log.h"
#include "worker/trainer/train.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { HELP_BYTES = 8192 };

static volatile sig_atomic_t stop_requested;

static void request_stop(int signal_number)
{
    (void)signal_number;
    stop_requested = 1;
}

static void handle_signals(void)
{
    struct sigaction stop = { .sa_handler = request_stop, .sa_flags = SA_RESTART };
    struct sigaction ignore = { .sa_handler = SIG_IGN };
    const int stopping[] = { SIGTERM, SIGUSR1, SIGINT };
    sigset_t all;
    sigemptyset(&stop.sa_mask);
    sigemptyset(&all);
    for (size_t i = 0; i < ARRAY_COUNT(stopping); i++) {
        check(sigaction(stopping[i], &stop, NULL) == 0);
        sigaddset(&all, stopping[i]);
    }
    /* An agent that is gone and a full disk are errors to be told, not reasons to die. */
    check(sigaction(SIGPIPE, &ignore, NULL) == 0);
    check(sigaction(SIGXFSZ, &ignore, NULL) == 0);
    check(sigprocmask(SIG_UNBLOCK, &all, NULL) == 0);
}

static int fail(enum exit_code code, const struct error *error)
{
    fprintf(stderr, "penstock-train: %s\n", error->text);
    return (int)code;
}

static int print_help(void)
{
    char text[HELP_BYTES];
    struct writer writer = writer_of(text, sizeof(text));
    options_help(&writer);
    check(!writer.full);
    return fputs(text, stdout) >= 0 && fflush(stdout) == 0 ? EXIT_DONE : EXIT_INTERNAL;
}

/* Memory that is missing is the GPU's where there is one. */
static enum exit_code backend_exit(const struct backend *backend, enum err rc)
{
    if (rc != ERR_NO_MEMORY) return EXIT_BACKEND;
    return backend->module != NULL ? EXIT_MEMORY : EXIT_INTERNAL;
}

static enum exit_code pick(const struct options *options, struct backend *backend,
                           struct error *error)
{
    enum err rc = backend_pick((enum backend_choice)options->backend, backend, error);
    if (rc == ERR_NO_MEMORY) return EXIT_MEMORY;
    if (rc == ERR_OK) rc = backend_check(backend, options, error);
    return rc == ERR_OK ? EXIT_DONE : EXIT_BACKEND;
}

static int probe(const struct options *options, struct error *error)
{
    char line[1024];
    int64_t threads;
    struct backend backend;
    struct writer writer = writer_of(line, sizeof(line));
    const char *set = getenv("OMP_NUM_THREADS");
    if (set == NULL || !text_to_i64(text_of(set), &threads) || threads < 1) threads = 0;
    if (threads > KERNELS_THREADS_MAX) threads = KERNELS_THREADS_MAX;
    if (options->threads > 0) threads = options->threads;
    enum exit_code code = pick(options, &backend, error);
    if (code != EXIT_DONE) return fail(code, error);
    enum err rc = backend_probe(&backend, backend_threads((int)threads),
                                (enum kernels_type)options->dtype, &writer, error);
    if (rc != ERR_OK) return fail(backend_exit(&backend, rc), error);
    return puts(line) >= 0 && fflush(stdout) == 0 ? EXIT_DONE : EXIT_INTERNAL;
}

static const char *lookup(const char *name)
{
    return getenv(name);
}

/* Whom its gang has left gives the member that left a moment to end and say why: what reaches
 * the coordinator first is taken for the cause. A signal cuts it short; the watchdog waits. */
static void let_the_cause_be_told(const struct job *job)
{
    const struct timespec moment = { .tv_sec = 1 };
    if (job->size == 1 || stop_requested != 0) return;
    unsigned left_s = alarm(0);
    (void)nanosleep(&moment, NULL);
    (void)alarm(left_s);
}

static int train(const struct options *options, struct job *job, struct error *error)
{
    struct events *events;
    struct backend backend;
    struct events_options outlets = { .protobuf_path = job->protobuf_path,
                                      .json_path = job->events_path };
    enum exit_code code;
    if (events_open(&outlets, &events, error) != ERR_OK) return fail(EXIT_INTERNAL, error);
    job->threads = backend_threads(job->threads);
    code = pick(options, &backend, error);
    if (code == EXIT_DONE) {
        struct train_setup setup = { .options = options,
                                     .job = job,
                                     .backend = &backend,
                                     .events = events,
                                     .stop = &stop_requested,
                                     .gang_timeout_ns =
                                         (int64_t)(options->gang_timeout * (double)NS_PER_S) };
        code = train_run(&setup, error);
    }
    if (code == EXIT_GANG) let_the_cause_be_told(job);
    if (code != EXIT_DONE) events_failure(events, error->text);
    events_close(events);
    return code == EXIT_DONE ? EXIT_DONE : fail(code, error);
}

int main(int argc, char **argv)
{
    struct error error = { .code = ERR_OK };
    struct options options;
    static struct job job;
    handle_signals();
    log_setup(log_level_of(getenv("PENSTOCK_LOG"), LOG_LEVEL_INFO), "trainer");
    if (options_parse(&options, argc, (const char *const *)argv, &error) != ERR_OK)
        return fail(EXIT_USAGE, &error);
    switch (options.verb) {
    case VERB_HELP: return print_help();
    case VERB_VERSION: return puts("penstock-train " PENSTOCK_VERSION) >= 0 ? 0 : 1;
    case VERB_PROBE: return probe(&options, &error);
    case VERB_TRAIN: break;
    }
    if (options_job(&job, &options, lookup, &error) != ERR_OK) return fail(EXIT_USAGE, &error);
    return train(&options, &job, &error);
}
