/* leftovers.c - see leftovers.h. */
#include "scheduler/verbs/leftovers.h"

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/text.h"
#include "scheduler/coordinator/files.h"

enum { MARK_BYTES = 512, HOST_BYTES = 256, LEFTOVER_PATH_BYTES = 1024, DEPTH = 16 };

/* The words of STATE/coordinator: HOST PID EPOCH JOB. */
enum { WORD_HOST, WORD_PID, WORD_EPOCH, WORD_JOB, WORD_COUNT };

static bool read_words(const char *state_dir, char data[MARK_BYTES],
                       struct text words[WORD_COUNT])
{
    size_t bytes = 0;
    if (file_read(state_dir, "coordinator", data, MARK_BYTES, &bytes, NULL) != ERR_OK)
        return false;
    struct text rest = text_trim((struct text){ data, bytes });
    for (int i = 0; i < WORD_COUNT; i++) {
        size_t blank = text_find(rest, TEXT(" "));
        size_t end = blank == SIZE_MAX ? rest.len : blank;
        if (end == 0) return false;
        words[i] = (struct text){ rest.data, end };
        rest = text_trim((struct text){ rest.data + end, rest.len - end });
    }
    return true;
}

static void await_end(pid_t pid)
{
    static const struct timespec pause = { 0, 50 * NS_PER_MS };
    for (int i = 0; i < 200 && pid > 1 && kill(pid, 0) == 0; i++)
        nanosleep(&pause, NULL);
}

/* Open MPI's names: vader_segment.HOST.UID.JOB.RANK with the job in hexadecimal. */
static void remove_segments(const char *host, uint64_t job, uint32_t ranks)
{
    for (uint32_t rank = 0; rank < ranks; rank++) {
        char path[LEFTOVER_PATH_BYTES];
        struct writer writer = writer_of(path, sizeof path);
        writer_format(&writer, "/dev/shm/vader_segment.%s.%u.%llx.%u", host,
                      (unsigned)geteuid(), (unsigned long long)job, rank);
        if (!writer.full) unlink(path);
    }
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    remove(path);
    return 0;
}

/* TMPDIR/ompi.HOST.UID/pid.PID-OF-MPIRUN. */
static void remove_folder(const char *host, pid_t mpirun)
{
    char path[LEFTOVER_PATH_BYTES];
    const char *temporary = getenv("TMPDIR");
    struct writer writer = writer_of(path, sizeof path);
    writer_format(&writer, "%s/ompi.%s.%u/pid.%ld",
                  temporary != NULL && temporary[0] != '\0' ? temporary : "/tmp", host,
                  (unsigned)geteuid(), (long)mpirun);
    if (!writer.full) nftw(path, remove_entry, DEPTH, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

void leftovers_remove(const char *state_dir, pid_t mpirun, uint32_t ranks)
{
    char data[MARK_BYTES], host[HOST_BYTES] = "";
    struct text words[WORD_COUNT];
    int64_t pid = 0;
    uint64_t job = 0;
    if (!read_words(state_dir, data, words)) return;
    if (gethostname(host, sizeof host - 1) != 0 || !text_is(words[WORD_HOST], host)) return;
    if (!text_to_i64(words[WORD_PID], &pid)) return;
    await_end((pid_t)pid);
    if (text_to_u64(words[WORD_JOB], &job)) remove_segments(host, job, ranks);
    remove_folder(host, mpirun);
}
