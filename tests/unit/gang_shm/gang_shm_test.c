/* Both sides of the segment in one process: an agent thread serves what the trainer submits,
 * and each rule of the protocol is broken once. */
#include "proto/wire/gang_shm.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { BUFFER_BYTES = 1 << 16, WAIT_MAX_S = 20 };

static const int64_t patience_ns = WAIT_MAX_S * NS_PER_S;

struct pair {
    struct gang_shm agent, trainer;
};

static void pair_open(struct pair *pair)
{
    struct error error = { .code = ERR_OK };
    assert_int_equal(gang_shm_create(&pair->agent, BUFFER_BYTES, &error), ERR_OK);
    int fd = dup(pair->agent.fd);
    assert_true(fd >= 0);
    assert_int_equal(gang_shm_attach(&pair->trainer, fd, pair->agent.segment_bytes, &error),
                     ERR_OK);
    assert_int_equal(pair->trainer.buffer_bytes, pair->agent.buffer_bytes);
}

static void pair_close(struct pair *pair)
{
    gang_shm_close(&pair->trainer);
    gang_shm_close(&pair->agent);
}

static void test_one_request(void **unused)
{
    (void)unused;
    struct pair pair;
    struct gang_shm_request request;
    uint64_t sequence;
    pair_open(&pair);
    float *numbers = (float *)gang_shm_buffer(&pair.trainer) + 16;
    for (int i = 0; i < 5; i++)
        numbers[i] = (float)i;
    assert_int_equal(gang_shm_next(&pair.agent, 0, &request, NULL), ERR_TIMEOUT);
    assert_int_equal(gang_shm_submit(&pair.trainer, GANG_SHM_SUM_F32, 64, 5, &sequence, NULL),
                     ERR_OK);
    assert_int_equal(gang_shm_wait(&pair.trainer, sequence, NS_PER_MS, NULL), ERR_TIMEOUT);
    assert_int_equal(gang_shm_next(&pair.agent, 0, &request, NULL), ERR_OK);
    assert_int_equal(request.op, GANG_SHM_SUM_F32);
    assert_int_equal(request.count, 5);
    float *slice = gang_shm_slice(&pair.agent, &request);
    for (int i = 0; i < 5; i++)
        slice[i] *= 10;
    gang_shm_complete(&pair.agent, &request);
    assert_int_equal(gang_shm_wait(&pair.trainer, sequence, 0, NULL), ERR_OK);
    for (int i = 0; i < 5; i++)
        assert_true(numbers[i] == 10.0F * (float)i);
    pair_close(&pair);
}

static void test_ring_is_bounded(void **unused)
{
    (void)unused;
    struct pair pair;
    struct gang_shm_request request;
    uint64_t sequence;
    pair_open(&pair);
    for (int i = 0; i < GANG_SHM_RING; i++)
        assert_int_equal(
            gang_shm_submit(&pair.trainer, GANG_SHM_MAX_I64, 0, 1, &sequence, NULL), ERR_OK);
    assert_int_equal(gang_shm_submit(&pair.trainer, GANG_SHM_MAX_I64, 0, 1, &sequence, NULL),
                     ERR_FULL);
    /* The agent may hold several, and completes them in order. */
    struct gang_shm_request second;
    assert_int_equal(gang_shm_next(&pair.agent, 0, &request, NULL), ERR_OK);
    assert_int_equal(gang_shm_next(&pair.agent, 0, &second, NULL), ERR_OK);
    assert_int_equal(second.sequence, request.sequence + 1);
    gang_shm_complete(&pair.agent, &request);
    assert_int_equal(gang_shm_submit(&pair.trainer, GANG_SHM_MAX_I64, 0, 1, &sequence, NULL),
                     ERR_OK);
    assert_int_equal(sequence, GANG_SHM_RING + 1);
    pair_close(&pair);
}

static void test_close_comes_after_the_last_request(void **unused)
{
    (void)unused;
    struct pair pair;
    struct gang_shm_request request;
    uint64_t sequence;
    pair_open(&pair);
    assert_int_equal(gang_shm_submit(&pair.trainer, GANG_SHM_SUM_F64, 0, 2, &sequence, NULL),
                     ERR_OK);
    gang_shm_finish(&pair.trainer);
    assert_int_equal(gang_shm_next(&pair.agent, 0, &request, NULL), ERR_OK);
    gang_shm_complete(&pair.agent, &request);
    assert_int_equal(gang_shm_next(&pair.agent, patience_ns, &request, NULL), ERR_CLOSED);
    pair_close(&pair);
}

static void test_abort_fails_waits_but_not_what_was_done(void **unused)
{
    (void)unused;
    struct pair pair;
    struct error error = { .code = ERR_OK };
    struct gang_shm_request request;
    uint64_t first, second;
    pair_open(&pair);
    assert_int_equal(gang_shm_submit(&pair.trainer, GANG_SHM_SUM_F64, 0, 1, &first, NULL),
                     ERR_OK);
    assert_int_equal(gang_shm_submit(&pair.trainer, GANG_SHM_SUM_F64, 64, 1, &second, NULL),
                     ERR_OK);
    assert_int_equal(gang_shm_next(&pair.agent, 0, &request, NULL), ERR_OK);
    gang_shm_complete(&pair.agent, &request);
    gang_shm_abort(&pair.agent, "member 3 is gone");
    gang_shm_abort(&pair.agent, "a later reason");
    assert_int_equal(gang_shm_wait(&pair.trainer, first, 0, NULL), ERR_OK);
    assert_int_equal(gang_shm_wait(&pair.trainer, second, patience_ns, &error), ERR_CLOSED);
    assert_non_null(strstr(error.text, "member 3 is gone"));
    assert_int_equal(gang_shm_submit(&pair.trainer, GANG_SHM_SUM_F64, 0, 1, &first, NULL),
                     ERR_CLOSED);
    pair_close(&pair);
}

/* ---- an agent thread ---- */

struct server {
    struct gang_shm *shm;
    int served;
    enum err ended;
};

static void *serve(void *context)
{
    struct server *server = context;
    struct gang_shm_request request;
    while ((server->ended = gang_shm_next(server->shm, patience_ns, &request, NULL)) ==
           ERR_OK) {
        int64_t *values = gang_shm_slice(server->shm, &request);
        for (uint64_t i = 0; i < request.count; i++)
            values[i] += 1;
        server->served++;
        gang_shm_complete(server->shm, &request);
    }
    return NULL;
}

static void test_many_requests_across_threads(void **unused)
{
    (void)unused;
    enum { ROUNDS = 3000 };
    struct pair pair;
    pthread_t thread;
    pair_open(&pair);
    struct server server = { .shm = &pair.agent };
    assert_int_equal(pthread_create(&thread, NULL, serve, &server), 0);
    int64_t *values = gang_shm_buffer(&pair.trainer);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t sequences[4];
        for (int i = 0; i < 4; i++) {
            values[i * 8] = round + i;
            assert_int_equal(gang_shm_submit(&pair.trainer, GANG_SHM_MAX_I64, (uint64_t)i * 64,
                                             1, &sequences[i], NULL),
                             ERR_OK);
        }
        for (int i = 0; i < 4; i++) {
            assert_int_equal(gang_shm_wait(&pair.trainer, sequences[i], patience_ns, NULL),
                             ERR_OK);
            assert_int_equal(values[i * 8], round + i + 1);
        }
        if (round % 1000 == 999) usleep(2000); /* lets the agent fall asleep */
    }
    gang_shm_finish(&pair.trainer);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(server.ended, ERR_CLOSED);
    assert_int_equal(server.served, 4 * ROUNDS);
    pair_close(&pair);
}

static void *abort_later(void *context)
{
    usleep(20000);
    gang_shm_abort(context, "the gang's collective failed");
    return NULL;
}

static void test_abort_wakes_a_sleeper(void **unused)
{
    (void)unused;
    struct pair pair;
    pthread_t thread;
    uint64_t sequence;
    pair_open(&pair);
    assert_int_equal(gang_shm_submit(&pair.trainer, GANG_SHM_SUM_F32, 0, 1, &sequence, NULL),
                     ERR_OK);
    assert_int_equal(pthread_create(&thread, NULL, abort_later, &pair.agent), 0);
    assert_int_equal(gang_shm_wait(&pair.trainer, sequence, patience_ns, NULL), ERR_CLOSED);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pair_close(&pair);
}

/* ---- bad segments and bad trainers ---- */

static void test_bad_sizes(void **unused)
{
    (void)unused;
    struct gang_shm shm = { .fd = -1 };
    const size_t sizes[] = { 0, 1, GANG_SHM_BUFFER_BYTES_MIN - 1, GANG_SHM_BUFFER_BYTES_MAX + 1,
                             SIZE_MAX };
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++)
        assert_int_equal(gang_shm_create(&shm, sizes[i], NULL), ERR_INPUT);
    assert_null(shm.segment);
}

static void test_attach_refuses_what_is_no_segment(void **unused)
{
    (void)unused;
    struct pair pair;
    struct gang_shm other = { .fd = -1 };
    pair_open(&pair);
    size_t bytes = pair.agent.segment_bytes;
    assert_int_equal(gang_shm_attach(&other, pair.agent.fd, bytes + 4096, NULL), ERR_INPUT);
    assert_int_equal(gang_shm_attach(&other, pair.agent.fd, 100, NULL), ERR_INPUT);
    assert_int_equal(gang_shm_attach(&other, -1, bytes, NULL), ERR_IO);
    int fd = memfd_create("zeros", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    assert_int_equal(gang_shm_attach(&other, fd, bytes, NULL), ERR_INPUT);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC); /* left alone */
    close(fd);
    assert_null(other.segment);
    pair_close(&pair);
}

static void test_trainer_cannot_resize(void **unused)
{
    (void)unused;
    struct pair pair;
    pair_open(&pair);
    assert_int_not_equal(ftruncate(pair.agent.fd, 0), 0);
    assert_int_not_equal(ftruncate(pair.agent.fd, 1 << 20), 0);
    pair_close(&pair);
}

/* Finds the only word of the header that equals `value` after a submission, and replaces it. */
static void replace_u64(struct gang_shm *shm, uint64_t value, uint64_t with)
{
    uint64_t *words = (uint64_t *)(void *)shm->segment;
    int found = 0;
    for (size_t i = 0; i < GANG_SHM_HEADER_BYTES / sizeof(uint64_t); i++)
        if (words[i] == value) {
            words[i] = with;
            found++;
        }
    assert_int_equal(found, 1);
}

static void test_agent_refuses_bad_requests(void **unused)
{
    (void)unused;
    const struct {
        uint64_t was, becomes;
    } rows[] = {
        { 4032, 4033 },                /* offset not aligned */
        { 4032, BUFFER_BYTES + 64 },   /* offset outside */
        { 4032, UINT64_MAX - 63 },     /* offset that overflows */
        { 777, 0 },                    /* nothing to reduce */
        { 777, BUFFER_BYTES / 4 + 1 }, /* more than the buffer */
        { 777, UINT64_MAX / 4 + 1 },   /* a product that overflows */
        { GANG_SHM_SUM_F32, 99 },      /* operation, unknown */
        { GANG_SHM_SUM_F32, 0 },       /* operation, none */
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct pair pair;
        struct gang_shm_request request;
        struct error error = { .code = ERR_OK };
        uint64_t sequence;
        pair_open(&pair);
        /* Two requests before, so that the sequence is none of the values. */
        for (int k = 0; k < 2; k++) {
            assert_int_equal(
                gang_shm_submit(&pair.trainer, GANG_SHM_MAX_I64, 0, 8, &sequence, NULL),
                ERR_OK);
            assert_int_equal(gang_shm_next(&pair.agent, 0, &request, NULL), ERR_OK);
            gang_shm_complete(&pair.agent, &request);
        }
        assert_int_equal(
            gang_shm_submit(&pair.trainer, GANG_SHM_SUM_F32, 4032, 777, &sequence, NULL),
            ERR_OK);
        if (rows[i].was == GANG_SHM_SUM_F32) {
            /* The operation stands after sequence, offset and count of the slot. */
            uint64_t *words = (uint64_t *)(void *)pair.trainer.segment;
            size_t at = 0;
            while (words[at] != 777)
                at++;
            assert_int_equal(words[at + 1], GANG_SHM_SUM_F32);
            words[at + 1] = rows[i].becomes;
        } else {
            replace_u64(&pair.trainer, rows[i].was, rows[i].becomes);
        }
        assert_int_equal(gang_shm_next(&pair.agent, 0, &request, &error), ERR_DAMAGED);
        assert_true(error.text[0] != '\0');
        pair_close(&pair);
    }
}

static void test_close_twice(void **unused)
{
    (void)unused;
    struct pair pair;
    pair_open(&pair);
    pair_close(&pair);
    pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_request),
        cmocka_unit_test(test_ring_is_bounded),
        cmocka_unit_test(test_close_comes_after_the_last_request),
        cmocka_unit_test(test_abort_fails_waits_but_not_what_was_done),
        cmocka_unit_test(test_many_requests_across_threads),
        cmocka_unit_test(test_abort_wakes_a_sleeper),
        cmocka_unit_test(test_bad_sizes),
        cmocka_unit_test(test_attach_refuses_what_is_no_segment),
        cmocka_unit_test(test_trainer_cannot_resize),
        cmocka_unit_test(test_agent_refuses_bad_requests),
        cmocka_unit_test(test_close_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
