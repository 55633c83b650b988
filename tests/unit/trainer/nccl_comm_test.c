/* Gangs over the stand-in for NCCL: each member is a process of its own, as it is with NCCL. */
#include "kernels/cuda/device.h"
#include "tests/support/standin/cudart.h"
#include "tests/unit/trainer/support.h"
#include "worker/trainer/comm_nccl.h"
#include "worker/trainer/exits.h"
#include "worker/trainer/gang_id.h"
#include "worker/trainer/watchdog.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    MEMBERS_MAX = 3,
    FLOATS = 70001,
    RANGE = 9001,
    STEPS = 3,
    LATE_POLLS = 7,
    ENV_MAX = 4,
    PATIENCE_S = 60,
    WRONG = 99 /* exit code of a member that got a wrong result */
};

/* What a member ends with: any of these errors; 0 stands for none. */
#define ENDS(a) (1u << ERR_##a)
#define GONE (ENDS(CLOSED) | ENDS(TIMEOUT)) /* whichever it notices first */

struct scenario {
    const char *name;
    int members;
    enum kernels_type reduce;
    const char *env[ENV_MAX];   /* NAME=VALUE of all members */
    unsigned ends[MEMBERS_MAX]; /* sets of errors; 0 with `code` */
    int code;                   /* exit code in place of an error, of member 1 */
    int leaves_at;              /* step at which member 1 calls comm_abort; 0: never */
    bool dies;                  /* member 1 dies there in place of that */
    int stalls_at;              /* step whose gradients member 1 never has; 0: none */
    bool same_gpu;
    int64_t timeout_ns;    /* of meeting and of collectives; 0: PATIENT_NS */
    int steps;             /* 0: STEPS */
    int64_t floats, range; /* of gradients, and of one call of comm_add; 0: FLOATS, RANGE */
};

#define PATIENT_NS (30 * NS_PER_S)

/* Of scenarios in which somebody must run out of patience. */
#define HASTY .timeout_ns = 400 * NS_PER_MS

/* ---- a member ---- */

struct member {
    const struct scenario *scenario;
    int rank;
    struct kernels_device *device;
    struct comm *comm;
    float *grads; /* on the device, which is this process' memory */
    int64_t floats, range;
    int aborts;
    int waits;       /* how often it was told of one that takes long */
    int step, polls; /* of the backward pass on its stream */
};

static int64_t patience(const struct scenario *s)
{
    return s->timeout_ns > 0 ? s->timeout_ns : PATIENT_NS;
}

static float gradient(int rank, int step, int64_t index)
{
    return (float)((index * 7 + rank * 31 + step * 13) % 1000) * 0.37F - 150.0F;
}

static void count_abort(void *context)
{
    struct member *member = context;
    member->aborts++;
    watchdog_arm(NS_PER_S);
}

static void count_wait(void *context)
{
    struct member *member = context;
    member->waits++;
}

/* Who is waited for is not in a collective, and who waits for it is; both have completed those of
 * the steps before: a step's are one of losses and a few of gradients. */
static bool told_who_waits(const struct member *member)
{
    const struct scenario *s = member->scenario;
    if (s->stalls_at == 0) return true;
    return member->waits > 0 && member->comm->in_collective == (member->rank != 1) &&
           member->comm->collectives >= 2 * (uint64_t)(s->stalls_at - 1);
}

/* The sum of a gradient over the gang, and how far a bf16 sum of it may be away. */
static double expected_sum(const struct member *member, int step, int64_t index, double *slack)
{
    double sum = 0, size = 0;
    for (int rank = 0; rank < member->scenario->members; rank++) {
        double value = (double)gradient(rank, step, index);
        sum += value;
        size += fabs(value);
    }
    *slack = member->scenario->reduce == KERNELS_BF16 ? size / 128 : size * 1e-6;
    return sum;
}

static bool sums_are_right(const struct member *member, int step)
{
    for (int64_t i = 0; i < member->floats; i++) {
        double slack, sum = expected_sum(member, step, i, &slack);
        if (!(fabs((double)member->grads[i] - sum) <= slack)) {
            fprintf(stderr, "member %d step %d: [%lld] is %g, not %g\n", member->rank, step,
                    (long long)i, (double)member->grads[i], sum);
            return false;
        }
    }
    return true;
}

/* A backward pass that takes its time on the GPU, so that its gradients are there long after
 * the calls that add them. */
static bool backward(void *context, cudaError_t *error)
{
    struct member *member = context;
    (void)error;
    if (++member->polls < LATE_POLLS) return false;
    if (member->rank == 1 && member->step == member->scenario->stalls_at) return false;
    for (int64_t i = 0; i < member->floats; i++)
        member->grads[i] = gradient(member->rank, member->step, i);
    return true;
}

static void leave_if_asked(struct member *member, int step)
{
    const struct scenario *s = member->scenario;
    if (member->rank != 1 || s->leaves_at == 0 || step != s->leaves_at) return;
    if (s->dies) _exit(0);
    comm_abort(member->comm);
}

static enum err one_step(struct member *member, int step)
{
    double values[2] = { member->rank + 1.0, (double)step };
    double ranks = member->scenario->members;
    leave_if_asked(member, step);
    enum err rc = comm_begin(member->comm, values, 2, NULL);
    if (rc != ERR_OK) return rc;
    member->step = step;
    member->polls = 0;
    standin_enqueue_poll(cuda_device_stream(member->device), backward, member, NULL);
    for (int64_t end = member->floats; end > 0; end -= member->range)
        comm_add(member->comm, max_i64(end - member->range, 0), min_i64(end, member->range));
    if ((rc = comm_finish(member->comm, NULL)) != ERR_OK) return rc;
    if (values[0] != ranks * (ranks + 1) / 2 || values[1] != step * ranks) _exit(WRONG);
    if (!sums_are_right(member, step)) _exit(WRONG);
    int64_t extremes[3] = { member->rank, -member->rank, INT64_MIN + member->rank };
    if ((rc = comm_agree(member->comm, extremes, 3, NULL)) != ERR_OK) return rc;
    if (extremes[0] != member->scenario->members - 1 || extremes[1] != 0 ||
        extremes[2] != INT64_MIN + member->scenario->members - 1)
        _exit(WRONG);
    return ERR_OK;
}

static enum err open_device(struct member *member)
{
    struct kernels_options smallest = { .threads = 1,
                                        .batch_rows = 1,
                                        .context = 1,
                                        .width = 1,
                                        .heads = 1,
                                        .vocab_count = 1,
                                        .timeout_ns = patience(member->scenario) };
    void *memory = NULL;
    enum err rc = cuda_device_open(&smallest, 0, &member->device, NULL);
    if (rc == ERR_OK)
        rc = cuda_device_alloc(member->device, (size_t)member->floats * sizeof(float), &memory,
                               NULL);
    member->grads = memory;
    return rc;
}

/* After the first failure every call fails alike, at once. */
static void check_failed_for_good(struct member *member, enum err rc)
{
    double values[1] = { 0 };
    int64_t numbers[1] = { 0 };
    if (member->aborts != 1) _exit(WRONG);
    if (comm_begin(member->comm, values, 1, NULL) != rc) _exit(WRONG);
    comm_add(member->comm, 0, 10);
    if (comm_finish(member->comm, NULL) != rc) _exit(WRONG);
    if (comm_agree(member->comm, numbers, 1, NULL) != rc) _exit(WRONG);
    if (member->aborts != 1) _exit(WRONG);
}

static enum err train(struct member *member, const uint8_t id[MODULE_ID_BYTES])
{
    const struct scenario *s = member->scenario;
    char name[] = "test/1";
    struct module_gang gang = { .rank = member->rank,
                                .size = s->members,
                                .name = name,
                                .id = id,
                                .reduce = s->reduce,
                                .init_timeout_ns = patience(s),
                                .timeout_ns = patience(s),
                                .aborting = count_abort,
                                .waiting = count_wait,
                                .context = member };
    struct error error = { .code = ERR_OK };
    enum err rc = open_device(member);
    if (rc != ERR_OK) return rc;
    rc = comm_nccl_open(&gang, &member->comm, &error);
    memset(name, 'x', sizeof(name) - 1); /* it need not outlive the call */
    if (rc != ERR_OK) return error.code == rc && error.text[0] != '\0' ? rc : WRONG;
    struct kernels none = { .name = "none" };
    comm_use(member->comm, &none, member->device, member->grads);
    for (int step = 1; rc == ERR_OK && step <= (s->steps > 0 ? s->steps : STEPS); step++)
        rc = one_step(member, step);
    if (rc != ERR_OK && !told_who_waits(member)) {
        fprintf(stderr, "member %d: %d waits, %llu collectives, in one: %d\n", member->rank,
                member->waits, (unsigned long long)member->comm->collectives,
                member->comm->in_collective);
        _exit(WRONG);
    }
    if (rc != ERR_OK) check_failed_for_good(member, rc);
    comm_close(member->comm);
    if (rc != ERR_OK) return rc;
    cuda_device_release(member->device, member->grads);
    cuda_device_close(member->device);
    return ERR_OK;
}

/* ---- a gang ---- */

/* Member 0 makes the id and writes it to the others' pipes. */
static void share_id(const struct scenario *s, int rank, int pipes[MEMBERS_MAX][2],
                     uint8_t id[MODULE_ID_BYTES])
{
    if (rank > 0) {
        if (read(pipes[rank][0], id, MODULE_ID_BYTES) != MODULE_ID_BYTES) _exit(WRONG);
        return;
    }
    if (comm_nccl_make_id(id, NULL) != ERR_OK) _exit(WRONG);
    for (int other = 1; other < s->members; other++)
        if (write(pipes[other][1], id, MODULE_ID_BYTES) != MODULE_ID_BYTES) _exit(WRONG);
}

static void run_member(const struct scenario *s, int rank, int pipes[MEMBERS_MAX][2])
{
    uint8_t id[MODULE_ID_BYTES];
    char number[16];
    struct member member = { .scenario = s,
                             .rank = rank,
                             .floats = s->floats > 0 ? s->floats : FLOATS,
                             .range = s->range > 0 ? s->range : RANGE };
    snprintf(number, sizeof(number), "%d", rank);
    setenv("RANK", number, 1);
    setenv("PENSTOCK_ATTEMPT", "1", 1);
    setenv("CUDA_VISIBLE_DEVICES", s->same_gpu ? "0" : number, 1);
    for (int i = 0; i < ENV_MAX && s->env[i] != NULL; i++) {
        const char *equals = strchr(s->env[i], '=');
        char *name = strndup(s->env[i], (size_t)(equals - s->env[i]));
        setenv(name, equals + 1, 1);
        free(name);
    }
    share_id(s, rank, pipes, id);
    _exit((int)train(&member, id));
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* Exit codes of all. When one is left behind, it and those after it are ended, and the test
 * fails. */
static void await_members(const struct scenario *s, const pid_t *processes, int *codes)
{
    int64_t deadline_ns = now_ns() + PATIENCE_S * NS_PER_S;
    for (int rank = 0; rank < s->members; rank++) {
        int status = 0;
        while (waitpid(processes[rank], &status, WNOHANG) == 0) {
            if (now_ns() > deadline_ns) {
                for (int left = rank; left < s->members; left++) {
                    kill(processes[left], SIGKILL); /* nobody has waited for them yet */
                    waitpid(processes[left], NULL, 0);
                }
                fail_msg("%s: member %d did not end", s->name, rank);
            }
            usleep(2000);
        }
        codes[rank] = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}

static void run_gang(const struct scenario *s, int codes[MEMBERS_MAX])
{
    int pipes[MEMBERS_MAX][2];
    pid_t processes[MEMBERS_MAX];
    fflush(NULL);
    for (int rank = 0; rank < s->members; rank++)
        assert_int_equal(pipe(pipes[rank]), 0);
    for (int rank = 0; rank < s->members; rank++) {
        processes[rank] = fork();
        assert_true(processes[rank] >= 0);
        if (processes[rank] == 0) run_member(s, rank, pipes);
    }
    for (int rank = 0; rank < s->members; rank++) {
        close(pipes[rank][0]);
        close(pipes[rank][1]);
    }
    await_members(s, processes, codes);
}

static void run_scenarios(const struct scenario *scenarios, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct scenario *s = &scenarios[i];
        int codes[MEMBERS_MAX] = { 0 };
        run_gang(s, codes);
        for (int rank = 0; rank < s->members; rank++) {
            bool as_code = rank == 1 && s->code != 0;
            bool right = as_code ? codes[rank] == s->code
                                 : codes[rank] < 32 && (s->ends[rank] >> codes[rank] & 1) != 0;
            if (!right) fail_msg("%s: member %d ended with %d", s->name, rank, codes[rank]);
        }
    }
}

static void test_sums(void **unused)
{
    (void)unused;
    static const struct scenario scenarios[] = {
        { .name = "alone", .members = 1, .reduce = KERNELS_FP32, .ends = { ENDS(OK) } },
        { .name = "alone in bf16", .members = 1, .reduce = KERNELS_BF16, .ends = { ENDS(OK) } },
        { .name = "two", .members = 2, .reduce = KERNELS_FP32, .ends = { ENDS(OK), ENDS(OK) } },
        { .name = "two in bf16",
          .members = 2,
          .reduce = KERNELS_BF16,
          .ends = { ENDS(OK), ENDS(OK) } },
        { .name = "three",
          .members = 3,
          .reduce = KERNELS_FP32,
          .ends = { ENDS(OK), ENDS(OK), ENDS(OK) } },
        { .name = "three in bf16",
          .members = 3,
          .reduce = KERNELS_BF16,
          .ends = { ENDS(OK), ENDS(OK), ENDS(OK) } },
    };
    run_scenarios(scenarios, ARRAY_COUNT(scenarios));
}

/* More than a bucket of 25 MiB: joined ranges, and one range that is cut. */
static void test_buckets(void **unused)
{
    (void)unused;
    static const struct scenario scenarios[] = {
        { .name = "joined",
          .members = 2,
          .floats = 15000001,
          .steps = 1,
          .range = 2500000,
          .ends = { ENDS(OK), ENDS(OK) } },
        { .name = "cut, in bf16",
          .members = 2,
          .reduce = KERNELS_BF16,
          .floats = (32 << 18) + 65,
          .steps = 1,
          .range = (32 << 18) + 65,
          .ends = { ENDS(OK), ENDS(OK) } },
    };
    run_scenarios(scenarios, ARRAY_COUNT(scenarios));
}

#define ON_1 "PENSTOCK_FAKE_RANK=1"
#define ON_0 "PENSTOCK_FAKE_RANK=0"

static void test_faults(void **unused)
{
    (void)unused;
    static const struct scenario scenarios[] = {
        { .name = "a member that never comes",
          HASTY,
          .members = 3,
          .env = { ON_1, "PENSTOCK_FAKE_NCCL_INIT=hang" },
          .ends = { GONE, ENDS(TIMEOUT), GONE } },
        { .name = "a member that cannot come",
          HASTY,
          .members = 2,
          .env = { ON_1, "PENSTOCK_FAKE_NCCL_INIT=error" },
          .ends = { GONE, ENDS(CLOSED) } },
        { .name = "a hang in the first collective",
          HASTY,
          .members = 2,
          .env = { ON_1, "PENSTOCK_FAKE_NCCL_HANG=1" },
          .ends = { GONE, GONE } },
        { .name = "a hang among gradients",
          HASTY,
          .members = 3,
          .env = { ON_1, "PENSTOCK_FAKE_NCCL_HANG=5" },
          .ends = { GONE, GONE, GONE } },
        { .name = "the hub hangs",
          HASTY,
          .members = 3,
          .env = { ON_0, "PENSTOCK_FAKE_NCCL_HANG=4" },
          .ends = { GONE, GONE, GONE } },
        { .name = "a remote error",
          .members = 3,
          .env = { ON_1, "PENSTOCK_FAKE_NCCL_REMOTE=4" },
          .ends = { ENDS(CLOSED), ENDS(CLOSED), ENDS(CLOSED) } },
        { .name = "a refused call",
          .members = 2,
          .env = { ON_1, "PENSTOCK_FAKE_NCCL_ERROR=2" },
          .ends = { ENDS(CLOSED), ENDS(CLOSED) } },
        { .name = "a GPU that fails for good",
          .members = 2,
          .reduce = KERNELS_BF16,
          .env = { ON_1, "PENSTOCK_FAKE_LAUNCH=4" },
          .ends = { ENDS(CLOSED), ENDS(DEVICE) } },
        { .name = "a GPU that never gets done",
          HASTY,
          .members = 2,
          .reduce = KERNELS_BF16,
          .env = { ON_1, "PENSTOCK_FAKE_STALL=3" },
          .ends = { GONE, GONE } },
        { .name = "a backward pass that never gets done",
          .timeout_ns = 2 * NS_PER_S,
          .members = 2,
          .stalls_at = 3,
          .ends = { GONE, GONE } },
        { .name = "a GPU without room for buckets",
          HASTY,
          .members = 2,
          .reduce = KERNELS_BF16,
          .env = { ON_1, "PENSTOCK_FAKE_MEMORY=8000000" },
          .ends = { GONE, ENDS(NO_MEMORY) } },
        { .name = "no pinned memory",
          HASTY,
          .members = 2,
          .env = { ON_1, "PENSTOCK_FAKE_PINNED=3" },
          .ends = { GONE, ENDS(NO_MEMORY) } },
        { .name = "a member that leaves",
          .members = 3,
          .leaves_at = 2,
          .ends = { ENDS(CLOSED), ENDS(CLOSED), ENDS(CLOSED) } },
        { .name = "a member that dies",
          .members = 3,
          .leaves_at = 2,
          .dies = true,
          .ends = { ENDS(CLOSED), ENDS(OK), ENDS(CLOSED) } },
        { .name = "two members on one GPU",
          .members = 2,
          .same_gpu = true,
          .ends = { ENDS(CLOSED), GONE } },
        { .name = "an abort that hangs",
          .members = 2,
          .env = { ON_1, "PENSTOCK_FAKE_NCCL_REMOTE=2", "PENSTOCK_FAKE_NCCL_ABORT=hang" },
          .ends = { GONE, 0 },
          .code = EXIT_GANG },
        { .name = "faults of another attempt",
          .members = 2,
          .env = { "PENSTOCK_FAKE_ATTEMPT=2", "PENSTOCK_FAKE_NCCL_REMOTE=2" },
          .ends = { ENDS(OK), ENDS(OK) } },
    };
    run_scenarios(scenarios, ARRAY_COUNT(scenarios));
}

/* ---- the id on its way ---- */

struct pipe_case {
    const char *name;
    uint32_t run, attempt; /* of the frame; attempt 0: none is written */
    size_t id_bytes;
    bool stale_before; /* one of an earlier attempt comes first */
    bool closed;       /* the writing end, afterwards */
    bool stop;
    enum err rc;
};

static void test_ids_on_a_pipe(void **unused)
{
    (void)unused;
    static const struct pipe_case cases[] = {
        { "right", 7, 2, MODULE_ID_BYTES, false, false, false, ERR_OK },
        { "right, and then the end", 7, 2, MODULE_ID_BYTES, false, true, false, ERR_OK },
        { "behind a stale one", 7, 2, MODULE_ID_BYTES, true, false, false, ERR_OK },
        { "another run's", 8, 2, MODULE_ID_BYTES, false, true, false, ERR_CLOSED },
        { "another attempt's", 7, 3, MODULE_ID_BYTES, false, true, false, ERR_CLOSED },
        { "another attempt's, and no end", 7, 1, MODULE_ID_BYTES, true, false, false,
          ERR_TIMEOUT },
        { "too short", 7, 2, MODULE_ID_BYTES - 1, false, false, false, ERR_INPUT },
        { "too long", 7, 2, MODULE_ID_BYTES + 1, false, false, false, ERR_INPUT },
        { "none", 7, 0, 0, false, false, false, ERR_TIMEOUT },
        { "the end", 7, 0, 0, false, true, false, ERR_CLOSED },
        { "a stop", 7, 0, 0, false, false, true, ERR_CLOSED },
    };
    uint8_t sent[MODULE_ID_BYTES + 1], got[MODULE_ID_BYTES];
    static uint8_t bytes[COMM_FRAME_BYTES_MAX];
    for (size_t i = 0; i < sizeof(sent); i++)
        sent[i] = (uint8_t)(i * 3 + 1);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct pipe_case *c = &cases[i];
        volatile sig_atomic_t stop = c->stop;
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        struct comm_frame frame = { 7, 1, sent, 5 };
        if (c->stale_before) {
            size_t n = comm_frame_write(&frame, bytes);
            assert_int_equal(write(ends[1], bytes, n), (ssize_t)n);
        }
        if (c->attempt > 0) {
            frame = (struct comm_frame){ c->run, c->attempt, sent, c->id_bytes };
            size_t n = comm_frame_write(&frame, bytes);
            assert_int_equal(write(ends[1], bytes, n / 2), (ssize_t)(n / 2));
            assert_int_equal(write(ends[1], bytes + n / 2, n - n / 2), (ssize_t)(n - n / 2));
        }
        if (c->closed) close(ends[1]);
        struct gang_id_wait wait = { ends[0], 7, 2, 150 * NS_PER_MS, &stop };
        struct error error = { .code = ERR_OK };
        enum err rc = gang_id_await(&wait, got, sizeof(got), &error);
        if (rc != c->rc) fail_msg("%s: %s (%s)", c->name, err_name(rc), error.text);
        if (rc == ERR_OK) assert_memory_equal(got, sent, sizeof(got));
        if (rc != ERR_OK) assert_true(error.text[0] != '\0');
        close(ends[0]);
        if (!c->closed) close(ends[1]);
    }
}

static void test_one_gpu_one_member(void **unused)
{
    (void)unused;
    const uint8_t gang[MODULE_ID_BYTES] = { 1, 2, 3 }, other[MODULE_ID_BYTES] = { 1, 2, 4 };
    struct error error;
    int first, second, third, again;
    assert_int_equal(gang_claim_gpu(gang, sizeof(gang), "0000:1b:00.0", &first, NULL), ERR_OK);
    assert_int_equal(gang_claim_gpu(gang, sizeof(gang), "0000:1c:00.0", &second, NULL), ERR_OK);
    assert_int_equal(gang_claim_gpu(other, sizeof(other), "0000:1b:00.0", &third, NULL),
                     ERR_OK);
    assert_int_equal(gang_claim_gpu(gang, sizeof(gang), "0000:1b:00.0", &again, &error),
                     ERR_REFUSED);
    assert_int_equal(again, -1);
    assert_non_null(strstr(error.text, "0000:1b:00.0"));
    close(first);
    assert_int_equal(gang_claim_gpu(gang, sizeof(gang), "0000:1b:00.0", &again, NULL), ERR_OK);
    close(again);
    close(second);
    close(third);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_ids_on_a_pipe),
        cmocka_unit_test(test_one_gpu_one_member),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
