#include "worker/spawn/packet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BODY_BYTES_MAX = 4 << 20, BODY_STRINGS_MAX = 8192 };

/* ---- packets ---- */

static enum err socket_error(struct error *error, const char *what)
{
    if (errno == EAGAIN) return error_set(error, ERR_FULL, "%s: the socket is full", what);
    if (errno == EPIPE || errno == ECONNRESET || errno == ECONNREFUSED || errno == ENOTCONN)
        return error_set(error, ERR_CLOSED, "%s: the other side is gone", what);
    return error_errno(error, "%s", what);
}

union descriptors {
    char bytes[CMSG_SPACE((LAUNCH_FDS_MAX + 1) * sizeof(int))];
    struct cmsghdr align;
};

enum err request_send(int socket, const struct request *request, int body_fd, const int *fds,
                      size_t fd_count, struct error *error)
{
    check(fd_count <= LAUNCH_FDS_MAX);
    check(body_fd >= 0 || fd_count == 0);
    int all[LAUNCH_FDS_MAX + 1] = { body_fd };
    for (size_t i = 0; i < fd_count; i++)
        all[i + 1] = fds[i];
    struct request copy = *request;
    struct iovec part = { .iov_base = &copy, .iov_len = sizeof copy };
    union descriptors control = { { 0 } };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    if (body_fd >= 0) {
        size_t bytes = (fd_count + 1) * sizeof(int);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(bytes);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(bytes);
        memcpy(CMSG_DATA(head), all, bytes);
    }
    if (sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return socket_error(error, "ask the launcher");
    return ERR_OK;
}

static size_t take_descriptors(struct msghdr *message, int *all)
{
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    if (!head || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) return 0;
    size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(all, CMSG_DATA(head), count * sizeof(int));
    return count;
}

enum err request_receive(int socket, struct request *request, int *body_fd, int *fds,
                         size_t *fd_count, struct error *error)
{
    struct request copy;
    struct iovec part = { .iov_base = &copy, .iov_len = sizeof copy };
    union descriptors control = { { 0 } };
    struct msghdr message = { .msg_iov = &part,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof control.bytes };
    ssize_t got = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return ERR_NOT_FOUND;
    if (got < 0) return socket_error(error, "hear the agent");
    if (got == 0) return error_set(error, ERR_CLOSED, "the agent is gone");
    int all[LAUNCH_FDS_MAX + 1];
    size_t count = take_descriptors(&message, all);
    if ((size_t)got != sizeof copy || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
        for (size_t i = 0; i < count; i++)
            close(all[i]);
        return error_set(error, ERR_INPUT, "a request of %zd bytes", got);
    }
    *request = copy;
    *body_fd = count > 0 ? all[0] : -1;
    *fd_count = count > 0 ? count - 1 : 0;
    for (size_t i = 0; i < *fd_count; i++)
        fds[i] = all[i + 1];
    return ERR_OK;
}

enum err report_send(int socket, const struct launch_report *report, struct error *error)
{
    if (send(socket, report, sizeof *report, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return socket_error(error, "report to the agent");
    return ERR_OK;
}

enum err report_receive(int socket, struct launch_report *report, struct error *error)
{
    struct launch_report copy;
    ssize_t got = recv(socket, &copy, sizeof copy, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return ERR_NOT_FOUND;
    if (got < 0) return socket_error(error, "hear the launcher");
    if (got == 0) return error_set(error, ERR_CLOSED, "the launcher is gone");
    if ((size_t)got != sizeof copy)
        return error_set(error, ERR_INPUT, "a report of %zd bytes", got);
    copy.text[sizeof copy.text - 1] = '\0';
    *report = copy;
    return ERR_OK;
}

/* ---- the long part: counts, then zero-terminated strings one after the other ---- */

struct body_head {
    uint32_t argv_count, env_count;
    uint32_t text_bytes;
};

enum { PATH_STRINGS = 5 };

static size_t count_strings(const char *const *strings, size_t *bytes)
{
    size_t count = 0;
    for (; strings && strings[count]; count++)
        *bytes += strlen(strings[count]) + 1;
    return count;
}

static char *append(char *at, const char *string)
{
    size_t bytes = strlen(string) + 1;
    memcpy(at, string, bytes);
    return at + bytes;
}

static enum err write_all(int fd, const char *data, size_t bytes, struct error *error)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(fd, data + done, bytes - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_errno(error, "write a request for the launcher");
        done += (size_t)n;
    }
    return ERR_OK;
}

static const char *or_empty(const char *string)
{
    return string ? string : "";
}

enum err body_write(const struct launch *launch, int *fd, struct error *error)
{
    const char *paths[PATH_STRINGS] = { or_empty(launch->directory), or_empty(launch->out_path),
                                        or_empty(launch->err_path), or_empty(launch->lock_path),
                                        or_empty(launch->marker) };
    size_t bytes = 0;
    size_t argv_count = count_strings(launch->argv, &bytes);
    size_t env_count = count_strings(launch->env, &bytes);
    for (size_t i = 0; i < PATH_STRINGS; i++)
        bytes += strlen(paths[i]) + 1;
    if (argv_count == 0) return error_set(error, ERR_INPUT, "a command without a program");
    if (bytes > BODY_BYTES_MAX || argv_count + env_count > BODY_STRINGS_MAX)
        return error_set(error, ERR_INPUT, "the command and its environment are too long");
    size_t total = sizeof(struct body_head) + bytes;
    char *block = malloc(total);
    if (!block) return error_set(error, ERR_NO_MEMORY, "no memory for a request");
    struct body_head head = { (uint32_t)argv_count, (uint32_t)env_count, (uint32_t)bytes };
    memcpy(block, &head, sizeof head);
    char *at = block + sizeof head;
    for (size_t i = 0; i < PATH_STRINGS; i++)
        at = append(at, paths[i]);
    for (size_t i = 0; i < argv_count; i++)
        at = append(at, launch->argv[i]);
    for (size_t i = 0; i < env_count; i++)
        at = append(at, launch->env[i]);
    int made = memfd_create("penstock-launch", MFD_CLOEXEC);
    enum err rc = made < 0 ? error_errno(error, "memfd_create") : ERR_OK;
    if (rc == ERR_OK) rc = write_all(made, block, total, error);
    free(block);
    if (rc != ERR_OK) {
        if (made >= 0) close(made);
        return rc;
    }
    *fd = made;
    return ERR_OK;
}

/* The next string of the block; NULL at its end. */
static const char *next_string(const char **at, const char *end)
{
    const char *string = *at;
    const char *zero = string < end ? memchr(string, 0, (size_t)(end - string)) : NULL;
    if (!zero) return NULL;
    *at = zero + 1;
    return string;
}

static enum err split(struct launch_body *body, const struct body_head *head,
                      struct error *error)
{
    const char *at = body->block, *end = body->block + head->text_bytes;
    const char **paths[PATH_STRINGS] = { &body->directory, &body->out_path, &body->err_path,
                                         &body->lock_path, &body->marker };
    bool whole = true;
    for (size_t i = 0; i < PATH_STRINGS; i++)
        whole = whole && (*paths[i] = next_string(&at, end)) != NULL;
    body->argv = calloc(head->argv_count + 1U, sizeof(char *));
    body->env = calloc(head->env_count + 1U, sizeof(char *));
    if (!body->argv || !body->env)
        return error_set(error, ERR_NO_MEMORY, "no memory for a request");
    for (size_t i = 0; whole && i < head->argv_count; i++)
        whole = (body->argv[i] = next_string(&at, end)) != NULL;
    for (size_t i = 0; whole && i < head->env_count; i++)
        whole = (body->env[i] = next_string(&at, end)) != NULL;
    return whole && at == end ? ERR_OK : error_set(error, ERR_INPUT, "a damaged request");
}

enum err body_read(int fd, struct launch_body *body, struct error *error)
{
    struct body_head head;
    *body = (struct launch_body){ 0 };
    if (pread(fd, &head, sizeof head, 0) != (ssize_t)sizeof head || head.argv_count == 0 ||
        head.argv_count > BODY_STRINGS_MAX || head.env_count > BODY_STRINGS_MAX ||
        head.text_bytes > BODY_BYTES_MAX)
        return error_set(error, ERR_INPUT, "a damaged request");
    body->block = malloc(head.text_bytes + 1U);
    if (!body->block) return error_set(error, ERR_NO_MEMORY, "no memory for a request");
    enum err rc = ERR_OK;
    for (size_t done = 0; rc == ERR_OK && done < head.text_bytes;) {
        ssize_t n =
            pread(fd, body->block + done, head.text_bytes - done, (off_t)(sizeof head + done));
        if (n <= 0)
            rc = error_set(error, ERR_INPUT, "a damaged request");
        else
            done += (size_t)n;
    }
    if (rc == ERR_OK) rc = split(body, &head, error);
    if (rc != ERR_OK) body_fini(body);
    return rc;
}

void body_fini(struct launch_body *body)
{
    for (size_t i = 0; i < body->fd_count; i++)
        close(body->fds[i]);
    free(body->argv);
    free(body->env);
    free(body->block);
    *body = (struct launch_body){ 0 };
}
