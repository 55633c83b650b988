/* Gangs of members and their agents as threads of one process. */
#include "worker/trainer/comm.h"

#include "proto/wire/gang_shm.h"
#include "tests/unit/trainer/support.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MEMBERS = 2, FLOATS = 700000, STEPS = 3, LAYER = 50000 };

static const int64_t patience_ns = 60 * NS_PER_S;

/* ---- the agents of a gang, as one thread ---- */

struct agents {
    struct gang_shm shm[MEMBERS];
    int fail_at; /* request at which the gang breaks; 0: never */
    int served;
};

static void reduce(struct agents *agents, const struct gang_shm_request requests[MEMBERS])
{
    void *slices[MEMBERS];
    for (int m = 0; m < MEMBERS; m++)
        slices[m] = gang_shm_slice(&agents->shm[m], &requests[m]);
    for (uint64_t i = 0; i < requests[0].count; i++) {
        if (requests[0].op == GANG_SHM_SUM_F32) {
            float sum = ((float *)slices[0])[i] + ((float *)slices[1])[i];
            ((float *)slices[0])[i] = ((float *)slices[1])[i] = sum;
        } else if (requests[0].op == GANG_SHM_SUM_F64) {
            double sum = ((double *)slices[0])[i] + ((double *)slices[1])[i];
            ((double *)slices[0])[i] = ((double *)slices[1])[i] = sum;
        } else {
            int64_t max = max_i64(((int64_t *)slices[0])[i], ((int64_t *)slices[1])[i]);
            ((int64_t *)slices[0])[i] = ((int64_t *)slices[1])[i] = max;
        }
    }
}

static void *serve(void *context)
{
    struct agents *agents = context;
    for (;;) {
        struct gang_shm_request requests[MEMBERS];
        for (int m = 0; m < MEMBERS; m++)
            if (gang_shm_next(&agents->shm[m], patience_ns, &requests[m], NULL) != ERR_OK)
                return NULL;
        check(requests[0].op == requests[1].op);
        check(requests[0].count == requests[1].count);
        if (++agents->served == agents->fail_at) {
            for (int m = 0; m < MEMBERS; m++)
                gang_shm_abort(&agents->shm[m], "the link broke");
            return NULL;
        }
        reduce(agents, requests);
        for (int m = 0; m < MEMBERS; m++)
            gang_shm_complete(&agents->shm[m], &requests[m]);
    }
}

/* ---- the members ---- */

struct member {
    struct comm *comm;
    int rank;
    enum err rc;
    struct error error;
    float *grads;
    bool right;
};

static float gradient(int rank, int step, int64_t index)
{
    return (float)((rank + 1) * (index % 1000) + step);
}

static enum err one_step(struct member *member, int step)
{
    double small[2] = { 1.5 * (member->rank + 1), member->rank };
    for (int64_t i = 0; i < FLOATS; i++)
        member->grads[i] = gradient(member->rank, step, i);
    enum err rc = comm_begin(member->comm, small, 2, &member->error);
    if (rc != ERR_OK) return rc;
    /* In backward order: the last layer first. */
    for (int64_t end = FLOATS; end > 0; end -= LAYER)
        comm_add(member->comm, end - LAYER, LAYER);
    if ((rc = comm_finish(member->comm, &member->error)) != ERR_OK) return rc;
    member->right = member->right && small[0] == 4.5 && small[1] == 1;
    for (int64_t i = 0; i < FLOATS; i++)
        if (member->grads[i] != gradient(0, step, i) + gradient(1, step, i))
            member->right = false;
    int64_t values[3] = { member->rank, -member->rank, 7 };
    rc = comm_agree(member->comm, values, 3, &member->error);
    if (rc == ERR_OK)
        member->right = member->right && values[0] == 1 && values[1] == 0 && values[2] == 7;
    return rc;
}

static void *act(void *context)
{
    struct member *member = context;
    member->right = true;
    for (int step = 0; step < STEPS && member->rc == ERR_OK; step++)
        member->rc = one_step(member, step);
    return NULL;
}

static struct tiny tiny; /* for its kernels, which copy */

static struct comm *open_member(const struct gang_shm *agent, int rank, int64_t timeout_ns)
{
    struct comm *comm;
    struct comm_options options = { .rank = rank,
                                    .size = MEMBERS,
                                    .fd = dup(agent->fd),
                                    .segment_bytes = agent->segment_bytes,
                                    .timeout_ns = timeout_ns };
    assert_int_equal(comm_open(&options, &comm, NULL), ERR_OK);
    return comm;
}

/* Runs a gang over buffers of this size; the members' results come back. */
static void run_gang(size_t buffer_bytes, int fail_at, struct member members[MEMBERS])
{
    struct agents agents = { .fail_at = fail_at };
    pthread_t agent_thread, member_threads[MEMBERS];
    tiny_init(&tiny, 0);
    for (int m = 0; m < MEMBERS; m++) {
        assert_int_equal(gang_shm_create(&agents.shm[m], buffer_bytes, NULL), ERR_OK);
        members[m] = (struct member){ .rank = m };
        members[m].comm = open_member(&agents.shm[m], m, patience_ns);
        members[m].grads = malloc(FLOATS * sizeof(float));
        assert_non_null(members[m].grads);
        comm_use(members[m].comm, &tiny.kernels, NULL, members[m].grads);
    }
    assert_int_equal(pthread_create(&agent_thread, NULL, serve, &agents), 0);
    for (int m = 0; m < MEMBERS; m++)
        assert_int_equal(pthread_create(&member_threads[m], NULL, act, &members[m]), 0);
    for (int m = 0; m < MEMBERS; m++)
        assert_int_equal(pthread_join(member_threads[m], NULL), 0);
    for (int m = 0; m < MEMBERS; m++)
        comm_close(members[m].comm);
    assert_int_equal(pthread_join(agent_thread, NULL), 0);
    for (int m = 0; m < MEMBERS; m++) {
        gang_shm_close(&agents.shm[m]);
        free(members[m].grads);
    }
}

static void test_sums_over_buffers_of_any_size(void **unused)
{
    (void)unused;
    /* From far less than the gradients (many trips through the ring) to more than they need. */
    const size_t sizes[] = { 1 << 17, 1 << 20, 5000000, 64 << 20 };
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct member members[MEMBERS];
        run_gang(sizes[i], 0, members);
        for (int m = 0; m < MEMBERS; m++) {
            assert_int_equal(members[m].rc, ERR_OK);
            assert_true(members[m].right);
        }
    }
}

static void test_a_broken_gang_fails_every_member(void **unused)
{
    (void)unused;
    for (int fail_at = 1; fail_at <= 9; fail_at += 2) {
        struct member members[MEMBERS];
        run_gang(1 << 20, fail_at, members);
        for (int m = 0; m < MEMBERS; m++) {
            assert_int_equal(members[m].rc, ERR_CLOSED);
            assert_non_null(strstr(members[m].error.text, "the link broke"));
        }
    }
}

static void test_an_agent_that_does_not_answer(void **unused)
{
    (void)unused;
    struct gang_shm agent;
    int64_t value = 1;
    assert_int_equal(gang_shm_create(&agent, 1 << 16, NULL), ERR_OK);
    struct comm *comm = open_member(&agent, 0, 20 * NS_PER_MS);
    assert_int_equal(comm_agree(comm, &value, 1, NULL), ERR_TIMEOUT);
    assert_true(comm->wait_ns >= 19 * NS_PER_MS);
    assert_int_equal(comm_agree(comm, &value, 1, NULL), ERR_TIMEOUT); /* it sticks */
    comm_close(comm);
    gang_shm_close(&agent);
}

static void test_a_gang_of_one(void **unused)
{
    (void)unused;
    struct comm *comm;
    struct comm_options options = { .rank = 0, .size = 1, .fd = -1, .timeout_ns = 1 };
    double small[1] = { 2.5 };
    int64_t values[1] = { -3 };
    float grads[4] = { 1, 2, 3, 4 };
    assert_int_equal(comm_open(&options, &comm, NULL), ERR_OK);
    comm_use(comm, NULL, NULL, grads);
    assert_int_equal(comm_begin(comm, small, 1, NULL), ERR_OK);
    comm_add(comm, 0, 4);
    assert_int_equal(comm_finish(comm, NULL), ERR_OK);
    assert_int_equal(comm_agree(comm, values, 1, NULL), ERR_OK);
    assert_true(small[0] == 2.5);
    assert_int_equal(values[0], -3);
    assert_true(grads[3] == 4);
    assert_int_equal(comm->wait_ns, 0);
    comm_close(comm);
    comm_close(NULL);
}

static void test_bad_options(void **unused)
{
    (void)unused;
    const struct comm_options rows[] = {
        { .rank = 0, .size = 0, .timeout_ns = 1 },
        { .rank = -1, .size = 1, .timeout_ns = 1 },
        { .rank = 1, .size = 1, .timeout_ns = 1 },
        { .rank = 0, .size = GANG_MAX + 1, .timeout_ns = 1 },
        { .rank = 0, .size = 2, .fd = 0, .segment_bytes = 17, .timeout_ns = 1 },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct comm *comm;
        struct error error = { .code = ERR_OK };
        assert_int_equal(comm_open(&rows[i], &comm, &error), ERR_INPUT);
        assert_null(comm);
        assert_true(error.text[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_over_buffers_of_any_size),
        cmocka_unit_test(test_a_broken_gang_fails_every_member),
        cmocka_unit_test(test_an_agent_that_does_not_answer),
        cmocka_unit_test(test_a_gang_of_one),
        cmocka_unit_test(test_bad_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
