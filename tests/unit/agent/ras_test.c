/* Questions to NCCL's RAS: a server that answers well, slowly, in pieces, too much, not at all; and whom the
 * answers blame. The server is a socket of this process, on the loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/text.h"
#include "worker/agent/ras.h"
#include "worker/spawn/process.h"

#define PATIENCE_NS (20 * NS_PER_S)
#define T0 NS_PER_S

struct server {
    int listener, client;
    uint32_t port;
};

static struct server open_server(void)
{
    struct server server = { .listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                             .client = -1 };
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t bytes = sizeof address;
    assert_int_equal(bind(server.listener, (struct sockaddr *)&address, bytes), 0);
    assert_int_equal(getsockname(server.listener, (struct sockaddr *)&address, &bytes), 0);
    assert_int_equal(listen(server.listener, 1), 0);
    server.port = ntohs(address.sin_port);
    return server;
}

static void close_server(struct server *server)
{
    if (server->client >= 0) close(server->client);
    if (server->listener >= 0) close(server->listener);
}

/* Steps the question until its descriptor has nothing more to do for now. True: over. */
static bool settle(struct ras *ras)
{
    int64_t until_ns = boot_clock_ns() + PATIENCE_NS;
    while (boot_clock_ns() < until_ns) {
        if (ras_step(ras, T0)) return true;
        struct pollfd watch = { .fd = ras->fd, .events = ras_events(ras) };
        if (poll(&watch, 1, 50) == 0) return false;
    }
    fail_msg("no end");
    return false;
}

static void expect_question(struct server *server)
{
    char got[128] = "";
    size_t n = 0;
    server->client = accept(server->listener, NULL, NULL);
    assert_true(server->client >= 0);
    while (n < sizeof got - 1 && !strstr(got, "STATUS\n")) {
        ssize_t more = recv(server->client, got + n, sizeof got - 1 - n, 0);
        assert_true(more > 0);
        n += (size_t)more;
        got[n] = '\0';
    }
    assert_string_equal(got, "TIMEOUT 2\nVERBOSE STATUS\n");
}

static void answer(struct server *server, const char *text, size_t n)
{
    assert_int_equal(send(server->client, text, n, MSG_NOSIGNAL), (ssize_t)n);
}

static void hang_up(struct server *server)
{
    close(server->client);
    server->client = -1;
}

static void test_an_answer_in_pieces(void **state)
{
    (void)state;
    struct server server = open_server();
    struct ras ras;
    ras_init(&ras);
    assert_true(ras_step(&ras, T0)); /* nothing was asked */
    ras_ask(&ras, server.port, T0);
    assert_int_equal(ras.due_ns, T0 + RAS_TIME_NS);
    assert_false(settle(&ras));
    expect_question(&server);
    answer(&server, "OK\nJob sum", 10);
    assert_false(settle(&ras));
    answer(&server, "mary\r\n\x01\xff", 8);
    hang_up(&server);
    assert_true(settle(&ras));
    assert_string_equal(ras.text, "OK\nJob summary \n??");
    assert_int_equal(ras.fd, -1);
    assert_int_equal(ras.due_ns, TIME_NEVER);
    assert_true(ras_step(&ras, T0)); /* and stays so */
    close_server(&server);
}

static void test_an_answer_that_is_too_long(void **state)
{
    (void)state;
    static char flood[3 * RAS_TEXT_BYTES];
    struct server server = open_server();
    struct ras ras;
    memset(flood, 'x', sizeof flood);
    ras_ask(&ras, server.port, T0);
    assert_false(settle(&ras));
    expect_question(&server);
    answer(&server, flood, sizeof flood);
    assert_true(settle(&ras));
    assert_true(strlen(ras.text) < RAS_TEXT_BYTES);
    assert_non_null(strstr(ras.text, "(no whole answer: it is longer)\n"));
    close_server(&server);
}

static void test_no_answer_is_said(void **state)
{
    (void)state;
    struct server server = open_server();
    struct ras ras;
    ras_ask(&ras, server.port, T0);
    assert_false(settle(&ras));
    expect_question(&server);
    assert_false(ras_step(&ras, T0 + RAS_TIME_NS - 1));
    assert_true(ras_step(&ras, T0 + RAS_TIME_NS));
    assert_string_equal(ras.text, "(no answer: it took too long)\n");
    hang_up(&server);
    /* A part is kept. */
    ras_ask(&ras, server.port, T0);
    assert_false(settle(&ras));
    expect_question(&server);
    answer(&server, "half", 4);
    assert_false(settle(&ras));
    assert_true(ras_step(&ras, T0 + RAS_TIME_NS));
    assert_string_equal(ras.text, "half\n(no whole answer: it took too long)\n");
    hang_up(&server);
    ras_ask(&ras, server.port, T0);
    assert_false(settle(&ras));
    expect_question(&server);
    hang_up(&server);
    assert_true(settle(&ras));
    assert_string_equal(ras.text, "(no answer: it hung up)\n");
    close_server(&server);
    ras_ask(&ras, server.port, T0); /* nobody listens any more */
    assert_true(settle(&ras));
    assert_non_null(strstr(ras.text, "(no answer: Connection refused)"));
    ras_ask(&ras, server.port, T0);
    ras_fini(&ras); /* in the middle */
    assert_int_equal(ras.fd, -1);
}

static void test_ports(void **state)
{
    (void)state;
    uint32_t first = ras_port("/scratch/a", 0);
    for (uint32_t slot = 0; slot < RAS_SLOTS_MAX; slot++) {
        assert_int_equal(ras_port("/scratch/a", slot), first + slot);
        assert_in_range(ras_port("/scratch/a", slot), 30000, 32767);
    }
    assert_int_equal(ras_port("/scratch/a", RAS_SLOTS_MAX), 0);
    assert_int_equal(ras_port("/scratch/a", UINT32_MAX), 0);
    /* Most other jobs have another block. */
    uint32_t same = 0;
    char path[32];
    for (int i = 0; i < 430; i++) {
        snprintf(path, sizeof path, "/scratch/job-%d", i);
        uint32_t port = ras_port(path, 0);
        assert_int_equal((port - 30000) % RAS_SLOTS_MAX, 0);
        same += port == first;
    }
    assert_true(same < 30);
}

static void test_whom_an_answer_blames(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t count;
        uint32_t ranks[3];
    } rows[] = {
        { "", 0, { 0 } },
        { "OK\nJob summary\n  0  8  4  RUNNING  OK\n", 0, { 0 } },
        { "#0-0 (cf26) INCOMPLETE\n  Missing communicator data from 1 rank\n"
          "  The missing rank: 21\n",
          1,
          { 21 } },
        { "  The missing ranks: 2, 5,7\n", 3, { 2, 5, 7 } },
        { "  Communicator ranks have different collective operation counts\n"
          "  26 ranks have launched up to operation 6650\n"
          "  2 ranks have launched up to operation 6649\n"
          "  Rank 0 -- GPU 0 managed by process 4830 on node 172.16.64.210\n"
          "  Rank 7 -- GPU 7 managed by process 4837 on node 172.16.64.210\n",
          2,
          { 0, 7 } },
        { "  Communicator ranks have different AllReduce operation counts\n"
          "  7 ranks have launched up to operation 64\n"
          "  Rank 6 has launched up to operation 60 -- GPU 3 managed by process 16 on node a\n"
          "  Communicator ranks have different Broadcast operation counts\n"
          "  7 ranks have launched up to operation 3\n"
          "  Rank 5 has launched up to operation 2 -- GPU 2 managed by process 15 on node a\n",
          1,
          { 6 } },
        /* Who is ahead is not to blame. */
        { "  6 ranks have launched up to operation 9\n"
          "  Rank 3 has launched up to operation 10 -- GPU 3 managed by process 1 on node a\n",
          0,
          { 0 } },
        { "  3 ranks have launched up to operation 9\n"
          "  1 ranks have not launched any operations\n"
          "  Rank 2 -- GPU 2 managed by process 1 on node a\n",
          1,
          { 2 } },
        /* What gave no data is suspected first, in whichever order. */
        { "  The missing rank: 4\n  Rank 1 has launched up to operation 1 -- GPU 0\n",
          1,
          { 4 } },
        { "  Rank 1 has launched up to operation 1 -- GPU 0\n  The missing rank: 4\n",
          1,
          { 4 } },
        /* States are no counts. */
        { "  4 ranks have status RUNNING\n  Rank 0 -- GPU 0 managed by process 5\n", 0, { 0 } },
        { "The missing rank: x, 99999999999999999999, 5000, -1\n", 0, { 0 } },
        { "Rank Rank Rank\nThe missing rank\nlaunched up to operation \n", 0, { 0 } },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint32_t ranks[3];
        size_t count = ras_late_ranks(rows[i].text, ranks, ARRAY_COUNT(ranks));
        if (count != rows[i].count) fail_msg("row %zu blames %zu", i, count);
        assert_memory_equal(ranks, rows[i].ranks, count * sizeof ranks[0]);
    }
    uint32_t one[1];
    assert_int_equal(ras_late_ranks("The missing ranks: 1,2,3\n", one, 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer_in_pieces),
        cmocka_unit_test(test_an_answer_that_is_too_long),
        cmocka_unit_test(test_no_answer_is_said),
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_whom_an_answer_blames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
