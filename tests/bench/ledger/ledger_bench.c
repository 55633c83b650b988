/*
 * ledger_bench DIR [SECONDS] [RECORDS] - what durability costs, in DIR's file system.
 *
 * First: decisions made durable per second, alone and with 16 and 64 waiting for the same commit,
 * beside the bare minimum for the same bytes: one pwrite and one fdatasync at the end of a growing
 * file, without checksum, chain, fence or encoding. Both take turns in short rounds of one run, so
 * that the disk's moods hit both; the medians of the rounds are printed, and their ratio.
 * Then: how long RECORDS records take to be opened, replayed and verified.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/money.h"
#include "scheduler/ledger/frame.h"
#include "scheduler/ledger/replay.h"
#include "scheduler/ledger/verify.h"

enum { ROUNDS = 9, FRAME_BYTES = 160 };

static char path[4096];

static const char *in_dir(const char *dir, const char *name)
{
    struct writer writer = writer_of(path, sizeof(path));
    writer_format(&writer, "%s/%s", dir, name);
    check(!writer.full);
    return path;
}

static int64_t now_ns(void)
{
    struct timespec now;
    check(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void must(enum err rc, const struct error *error)
{
    if (rc == ERR_OK) return;
    fprintf(stderr, "ledger_bench: %s\n", error->text);
    exit(1);
}

static void clear_dir(const char *dir)
{
    (void)unlink(in_dir(dir, LEDGER_FILE));
    (void)unlink(in_dir(dir, LEDGER_LOCK_FILE));
    (void)unlink(in_dir(dir, "raw"));
}

/* ---- durable decisions ---- */

/* A verdict at a gate, as the core records it. */
static struct record decision(int64_t at_ns)
{
    return (struct record){ .kind = RECORD_DECISION,
                            .at_ns = at_ns,
                            .as.decision = { .subject = SUBJECT_GATE,
                                             .run = 17,
                                             .slot = 2,
                                             .tier = NO_INDEX,
                                             .verdict = VERDICT_NO_GO,
                                             .rule = GATE_RULE_RANK,
                                             .owner = NO_INDEX,
                                             .asked_ns = at_ns - NS_PER_MS,
                                             .observed_micro = 3217004,
                                             .bound_micro = 3100212,
                                             .rank = 5,
                                             .siblings = 12,
                                             .reason = TEXT("rank 5 of 13, 4 go on") } };
}

static int64_t clock_at_ns;

/* Decisions per second for `length_ns`; the size of one frame in *frame_bytes. */
static int64_t ledger_round(struct ledger *ledger, uint32_t group, int64_t length_ns,
                            int64_t *frame_bytes)
{
    struct error error;
    int64_t begin = now_ns(), count = 0, bytes = ledger_head(ledger).bytes;
    while (now_ns() - begin < length_ns) {
        for (uint32_t i = 0; i < group; i++) {
            struct record record = decision(clock_at_ns += NS_PER_MS);
            must(ledger_append(ledger, &record, &error), &error);
        }
        must(ledger_commit(ledger, &error), &error);
        count += group;
    }
    check(count > 0);
    *frame_bytes = (ledger_head(ledger).bytes - bytes) / count;
    return count * NS_PER_S / (now_ns() - begin);
}

static int64_t raw_round(int fd, uint32_t group, int64_t length_ns, int64_t frame_bytes)
{
    static uint8_t bytes[64 * 4 * FRAME_BYTES];
    size_t batch = (size_t)(group * frame_bytes);
    check(batch <= sizeof(bytes));
    memset(bytes, 0x5A, batch);
    off_t end = lseek(fd, 0, SEEK_END);
    int64_t begin = now_ns(), count = 0;
    while (now_ns() - begin < length_ns) {
        check(pwrite(fd, bytes, batch, end) == (ssize_t)batch);
        check(fdatasync(fd) == 0);
        end += (off_t)batch;
        count += group;
    }
    return count * NS_PER_S / (now_ns() - begin);
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static int64_t median(int64_t *values)
{
    qsort(values, ROUNDS, sizeof(*values), ascending);
    return values[ROUNDS / 2];
}

static void measure_commits(const char *dir, int64_t seconds)
{
    static const uint32_t groups[] = { 1, 16, 64 };
    struct ledger_options options = { .host = "bench", .pid = 1 };
    struct ledger *ledger;
    struct error error;
    clear_dir(dir);
    must(ledger_open(dir, &options, &ledger, &error), &error);
    int fd = open(in_dir(dir, "raw"), O_RDWR | O_CREAT | O_TRUNC, 0644);
    check(fd >= 0);
    int64_t alone = 0,
            round_ns = seconds * NS_PER_S / (2 * ROUNDS * (int64_t)ARRAY_COUNT(groups));
    printf("%-8s %14s %14s %8s %10s\n", "waiting", "decisions/s", "raw/s", "ratio", "to alone");
    for (size_t g = 0; g < ARRAY_COUNT(groups); g++) {
        int64_t ours[ROUNDS], raw[ROUNDS], frame_bytes;
        for (int round = 0; round < ROUNDS; round++) {
            ours[round] = ledger_round(ledger, groups[g], round_ns, &frame_bytes);
            raw[round] = raw_round(fd, groups[g], round_ns, frame_bytes);
        }
        int64_t rate = median(ours), bare = median(raw);
        if (g == 0) alone = rate;
        printf("%-8" PRIu32 " %14" PRId64 " %14" PRId64 " %5" PRId64 " %% %8" PRId64 ".%" PRId64
               "\n",
               groups[g], rate, bare, rate * 100 / bare, rate / alone, rate * 10 / alone % 10);
    }
    close(fd);
    ledger_close(ledger);
    clear_dir(dir);
}

/* ---- recovery ---- */

/* A campaign that core_apply accepts: one run that renews its lease and closes windows for ever. */
static void write_campaign(struct ledger *ledger, uint32_t records)
{
    enum { LEASE_NS = 60 };
    static const uint32_t workers[] = { 1 };
    static struct record head[] = {
        { .kind = RECORD_CAMPAIGN,
          .as.campaign = { .name = "bench",
                           .currency = "USD",
                           .budget_micros = INT64_MAX / 4,
                           .tier_count = 1,
                           .tiers = { { INT64_MAX / 4, NO_INDEX } },
                           .class_count = 1,
                           .classes = { { "cpu", 1000000 } },
                           .heartbeat_ns = NS_PER_S,
                           .lease_ns = LEASE_NS * NS_PER_S,
                           .guard_count = 1,
                           .guards = { { .window_ns = NS_PER_S } } } },
        { .kind = RECORD_RUN,
          .as.run = { .name = "run",
                      .ranks = 1,
                      .budget_micros = INT64_MAX / 8,
                      .first_tranche_micros = INT64_MAX / 8 } },
        { .kind = RECORD_EPOCH, .as.epoch = { .epoch = 1, .host = { "h", 1 }, .workers = 1 } },
        { .kind = RECORD_WORKER, .as.worker = { .worker = 1, .host = { "h", 1 } } },
        { .kind = RECORD_TIER, .as.tier = { 0, INT64_MAX / 4 } },
        { .kind = RECORD_TRANCHE, .as.tranche = { 0, 0, INT64_MAX / 8, INT64_MAX / 8 } },
        { .kind = RECORD_PLACED,
          .as.placed = { .attempt = 1,
                         .member_count = 1,
                         .workers = workers,
                         .rate_micros = 1000000,
                         .reserved_micros = 20000,
                         .lease_end_ns = LEASE_NS * NS_PER_S } },
        { .kind = RECORD_MEMBER_STARTED, .as.member_started = { 0, 1, 0, 9 } },
    };
    struct error error;
    for (size_t i = 0; i < ARRAY_COUNT(head); i++)
        must(ledger_append(ledger, &head[i], &error), &error);
    for (uint32_t i = 1; i + ARRAY_COUNT(head) <= records; i++) {
        int64_t at_ns = i * NS_PER_S;
        int64_t settled = money_cost_micros(1, at_ns, 1000000);
        struct record record = { .kind = i % 2 == 0 ? RECORD_WINDOW : RECORD_LEASE,
                                 .at_ns = at_ns };
        if (record.kind == RECORD_LEASE)
            record.as.lease =
                (struct record_lease){ 0,       1,     i / 2 + 2,
                                       settled, 20000, at_ns + LEASE_NS * NS_PER_S };
        else
            record.as.window = (struct record_window){ .attempt = 1,
                                                       .step = i,
                                                       .tokens = i * UINT64_C(8192),
                                                       .loss_micro = 3000000,
                                                       .val_loss_micro = LOSS_UNKNOWN,
                                                       .length_ns = 2 * NS_PER_S,
                                                       .util_ppm = 412000,
                                                       .rung = UTIL_RUNG_MFU,
                                                       .flops_per_token = 1000000,
                                                       .cpu_ns = at_ns };
        must(ledger_append(ledger, &record, &error), &error);
        if (i % 65536 == 0) must(ledger_commit(ledger, &error), &error);
    }
    must(ledger_commit(ledger, &error), &error);
}

static void print_pass(const char *what, int64_t begin_ns, uint32_t records)
{
    int64_t took_ns = now_ns() - begin_ns;
    printf("%-8s %10" PRId64 " ms %10" PRId64 " records/s\n", what, took_ns / NS_PER_MS,
           records * NS_PER_S / took_ns);
}

static void measure_recovery(const char *dir, uint32_t records)
{
    struct ledger_options options = { .host = "bench", .pid = 1 };
    struct ledger *ledger;
    struct core *core;
    struct replay_summary summary;
    struct verify_report report;
    struct error error;
    must(ledger_open(dir, &options, &ledger, &error), &error);
    write_campaign(ledger, records);
    printf("\n%" PRIu32 " records, %" PRId64 " bytes each\n", records,
           ledger_head(ledger).bytes / records);
    ledger_close(ledger);
    int64_t begin = now_ns();
    must(ledger_open(dir, &options, &ledger, &error), &error);
    print_pass("open", begin, records);
    ledger_close(ledger);
    begin = now_ns();
    must(replay_run(dir, NULL, &core, &summary, &error), &error);
    print_pass("replay", begin, records);
    core_destroy(core);
    begin = now_ns();
    must(ledger_verify(dir, NULL, &report, &error), &error);
    print_pass("verify", begin, records);
    clear_dir(dir);
}

int main(int argc, char **argv)
{
    int64_t seconds = 6, records = 200000;
    if (argc < 2 || (argc > 2 && !text_to_i64(text_of(argv[2]), &seconds)) ||
        (argc > 3 && !text_to_i64(text_of(argv[3]), &records)) || seconds < 1 ||
        records < 100) {
        fprintf(stderr, "usage: ledger_bench DIR [SECONDS] [RECORDS]\n");
        return 2;
    }
    measure_commits(argv[1], seconds);
    measure_recovery(argv[1], (uint32_t)records);
    return 0;
}
