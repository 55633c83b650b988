#include "worker/agent/ras.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/hash.h"
#include "proto/base/text.h"
#include "proto/wire/codec.h"

/* Above the ports of MASTER_PORT, and below those that systems hand out by themselves. */
enum { PORT_FIRST = 30000, PORT_END = 32768, BLOCKS = (PORT_END - PORT_FIRST) / RAS_SLOTS_MAX };

uint32_t ras_port(const char *state_dir, uint32_t lowest_slot)
{
    uint64_t job = 0;
    if (lowest_slot >= RAS_SLOTS_MAX) return 0;
    for (const char *c = state_dir; *c; c++)
        job = hash_mix(job, (uint8_t)*c);
    return PORT_FIRST + (uint32_t)(job % BLOCKS) * RAS_SLOTS_MAX + lowest_slot;
}

void ras_init(struct ras *ras)
{
    *ras = (struct ras){ .fd = -1, .due_ns = TIME_NEVER };
}

void ras_fini(struct ras *ras)
{
    int kept_errno = errno;
    if (ras->fd >= 0) close(ras->fd);
    ras->fd = -1;
    ras->due_ns = TIME_NEVER;
    errno = kept_errno;
}

/* Ends the question; `why` says what is missing, NULL: nothing. */
static bool end(struct ras *ras, const char *why)
{
    ras->text[ras->n] = '\0';
    if (why) {
        char note[160];
        snprintf(note, sizeof note, "%s(no %sanswer: %s)\n", ras->n > 0 ? "\n" : "",
                 ras->n > 0 ? "whole " : "", why);
        size_t room = sizeof ras->text - 1 - strlen(note);
        if (ras->n > room) ras->n = room;
        memcpy(ras->text + ras->n, note, strlen(note) + 1);
        ras->n += strlen(note);
    }
    for (size_t i = 0; i < ras->n; i++)
        if (ras->text[i] == '\0' || ras->text[i] == '\r') ras->text[i] = ' ';
    codec_make_utf8(ras->text);
    ras_fini(ras);
    return true;
}

void ras_ask(struct ras *ras, uint32_t port, int64_t now_ns)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    ras_init(ras);
    ras->is_asked = true;
    ras->due_ns = add_saturated(now_ns, RAS_TIME_NS);
    ras->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (ras->fd < 0 ||
        (connect(ras->fd, (const struct sockaddr *)&address, sizeof address) != 0 &&
         errno != EINPROGRESS))
        end(ras, strerror(errno));
}

static bool send_question(struct ras *ras)
{
    char question[64];
    int failure = 0;
    socklen_t bytes = sizeof failure;
    getsockopt(ras->fd, SOL_SOCKET, SO_ERROR, &failure, &bytes);
    if (failure != 0) return end(ras, strerror(failure));
    snprintf(question, sizeof question, "TIMEOUT %d\nVERBOSE STATUS\n", RAS_GATHER_S);
    ssize_t sent = send(ras->fd, question, strlen(question), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOTCONN)) return false;
    if (sent < 0) return end(ras, strerror(errno));
    ras->is_sent = true; /* a fresh socket takes so few bytes whole */
    return false;
}

static bool hear_answer(struct ras *ras)
{
    for (;;) {
        size_t room = sizeof ras->text - 1 - ras->n;
        if (room == 0) return end(ras, "it is longer");
        ssize_t got = recv(ras->fd, ras->text + ras->n, room, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
        if (got < 0) return end(ras, strerror(errno));
        if (got == 0) return end(ras, ras->n > 0 ? NULL : "it hung up");
        ras->n += (size_t)got;
    }
}

bool ras_step(struct ras *ras, int64_t now_ns)
{
    if (ras->fd < 0) return true;
    if (!ras->is_sent && send_question(ras)) return true;
    if (ras->is_sent && hear_answer(ras)) return true;
    return now_ns >= ras->due_ns ? end(ras, "it took too long") : false;
}

short ras_events(const struct ras *ras)
{
    return ras->is_sent ? POLLIN : POLLOUT;
}

/* ---- whom the answer blames ---- */

/* The number behind `word`, when the line holds it. */
static bool number_after(struct text line, const char *word, uint64_t *number)
{
    size_t at = text_find(line, text_of(word));
    if (at == SIZE_MAX) return false;
    struct text rest = { line.data + at + strlen(word), line.len - at - strlen(word) };
    size_t digits = 0;
    while (digits < rest.len && rest.data[digits] >= '0' && rest.data[digits] <= '9')
        digits++;
    return text_to_u64((struct text){ rest.data, digits }, number);
}

struct blame {
    uint32_t *ranks;
    size_t most, count;
    uint64_t least; /* operations launched by those in `ranks`; UINT64_MAX: they gave no data */
    uint64_t group; /* operations of the group that the lines are about */
};

static void add(struct blame *blame, uint64_t rank)
{
    if (rank >= GANG_MAX || blame->count == blame->most) return;
    for (size_t i = 0; i < blame->count; i++)
        if (blame->ranks[i] == rank) return;
    blame->ranks[blame->count++] = (uint32_t)rank;
}

/* "The missing rank: 21", "The missing ranks: 2,5" */
static void take_missing(struct blame *blame, struct text line)
{
    size_t colon = text_find(line, TEXT(":"));
    if (colon == SIZE_MAX) return;
    struct text rest = { line.data + colon + 1, line.len - colon - 1 };
    if (blame->least != UINT64_MAX) blame->count = 0;
    blame->least = UINT64_MAX;
    while (rest.len > 0) {
        size_t comma = text_find(rest, TEXT(","));
        size_t n = comma == SIZE_MAX ? rest.len : comma;
        uint64_t rank = 0;
        if (text_to_u64(text_trim((struct text){ rest.data, n }), &rank)) add(blame, rank);
        n += comma == SIZE_MAX ? 0 : 1;
        rest.data += n;
        rest.len -= n;
    }
}

/* "6 ranks have launched up to operation 6649", then "Rank 2 -- GPU 2 managed by ..." for each of them; or, for
 * one alone, "Rank 7 has launched up to operation 60 -- GPU 3 managed by ...". */
static void take_count(struct blame *blame, struct text line)
{
    uint64_t rank = 0, operations = 0;
    bool names_rank = text_starts(line, TEXT("Rank ")) && number_after(line, "Rank ", &rank);
    bool counts = number_after(line, "launched up to operation ", &operations);
    if (!counts && text_find(line, TEXT("not launched any operations")) != SIZE_MAX)
        counts = true;
    if (counts) blame->group = operations;
    if (!counts && !names_rank) {
        blame->group = UINT64_MAX; /* lines about something else */
        return;
    }
    /* What gave no data at all is the better suspect. */
    if (blame->group == UINT64_MAX || (blame->count > 0 && blame->least == UINT64_MAX)) return;
    if (blame->group < blame->least) {
        blame->count = 0;
        blame->least = blame->group;
    }
    if (names_rank && blame->group == blame->least) add(blame, rank);
}

size_t ras_late_ranks(const char *text, uint32_t *ranks, size_t most)
{
    struct blame blame = { ranks, most, 0, UINT64_MAX, UINT64_MAX };
    bool none_missing = true;
    for (const char *at = text; *at;) {
        size_t n = strcspn(at, "\n");
        struct text line = text_trim((struct text){ at, n });
        at += n + (at[n] ? 1 : 0);
        if (text_starts(line, TEXT("Communicator ranks have different"))) {
            if (blame.count > 0) break; /* counts of another kind do not compare */
            blame.least = blame.group = UINT64_MAX;
        } else if (text_starts(line, TEXT("The missing rank"))) {
            take_missing(&blame, line);
            none_missing = false;
        } else if (none_missing) {
            take_count(&blame, line);
        }
    }
    return blame.count;
}
