#include "worker/spawn/packet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BODY_BYTES_MAX = 4 << 20,
    BODY_STRINGS_MAX = 8192,
    BODY_INLINE_MAX = 16 << 10 /* longer ones go through a memory file */
};

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

static enum err make_file(const char *data, size_t bytes, int *fd, struct error *error)
{
    int made = memfd_create("penstock-launch", MFD_CLOEXEC);
    if (made < 0) return error_errno(error, "memfd_create");
    enum err rc = write_all(made, data, bytes, error);
    if (rc == ERR_OK)
        *fd = made;
    else
        close(made);
    return rc;
}

static enum err send_packet(int socket, struct iovec *parts, size_t part_count, const int *fds,
                            size_t fd_count, struct error *error)
{
    union descriptors control = { { 0 } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = part_count };
    if (fd_count > 0) {
        size_t bytes = fd_count * sizeof(int);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(bytes);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(bytes);
        memcpy(CMSG_DATA(head), fds, bytes);
    }
    if (sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return socket_error(error, "ask the launcher");
    return ERR_OK;
}

enum err request_send(int socket, const struct request *request, const struct launch *launch,
                      struct error *error)
{
    struct request copy = *request;
    struct iovec parts[2] = { { .iov_base = &copy, .iov_len = sizeof copy } };
    int all[LAUNCH_FDS_MAX + 1], file = -1;
    size_t count = 0;
    if (!launch) return send_packet(socket, parts, 1, NULL, 0, error);
    check(launch->fd_count <= LAUNCH_FDS_MAX);
    char *body = NULL;
    size_t bytes = 0;
    enum err rc = body_pack(launch, &body, &bytes, error);
    if (rc != ERR_OK) return rc;
    copy.in_file = bytes > BODY_INLINE_MAX;
    if (copy.in_file) {
        rc = make_file(body, bytes, &file, error);
        all[count++] = file;
    } else {
        parts[1] = (struct iovec){ .iov_base = body, .iov_len = bytes };
    }
    for (size_t i = 0; i < launch->fd_count; i++)
        all[count++] = launch->fds[i];
    if (rc == ERR_OK) rc = send_packet(socket, parts, copy.in_file ? 1 : 2, all, count, error);
    if (file >= 0) close(file);
    free(body);
    return rc;
}

static size_t take_descriptors(struct msghdr *message, int *all)
{
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    if (!head || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) return 0;
    size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(all, CMSG_DATA(head), count * sizeof(int));
    return count;
}

static enum err damaged(struct error *error)
{
    return error_set(error, ERR_INPUT, "a damaged request");
}

static enum err read_file(int fd, struct launch_body *body, struct error *error)
{
    off_t size = lseek(fd, 0, SEEK_END);
    if (size <= 0 || size > BODY_BYTES_MAX) return damaged(error);
    char *bytes = malloc((size_t)size);
    if (!bytes) return error_set(error, ERR_NO_MEMORY, "no memory for a request");
    for (off_t done = 0; done < size;) {
        ssize_t n = pread(fd, bytes + done, (size_t)(size - done), done);
        if (n <= 0) {
            free(bytes);
            return damaged(error);
        }
        done += n;
    }
    return body_unpack(bytes, (size_t)size, body, error);
}

static enum err read_inline(const char *data, size_t count, struct launch_body *body,
                            struct error *error)
{
    char *bytes = malloc(count + 1);
    if (!bytes) return error_set(error, ERR_NO_MEMORY, "no memory for a request");
    memcpy(bytes, data, count);
    return body_unpack(bytes, count, body, error);
}

enum err request_receive(int socket, struct request *request, struct launch_body *body,
                         struct error *error)
{
    char data[BODY_INLINE_MAX];
    struct iovec parts[2] = { { .iov_base = request, .iov_len = sizeof *request },
                              { .iov_base = data, .iov_len = sizeof data } };
    union descriptors control = { { 0 } };
    struct msghdr message = { .msg_iov = parts,
                              .msg_iovlen = 2,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof control.bytes };
    *body = (struct launch_body){ 0 };
    ssize_t got = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return ERR_NOT_FOUND;
    if (got < 0) return socket_error(error, "hear the agent");
    if (got == 0) return error_set(error, ERR_CLOSED, "the agent is gone");
    int all[LAUNCH_FDS_MAX + 1];
    size_t count = take_descriptors(&message, all), first = 0;
    bool whole = (size_t)got >= sizeof *request;
    enum err rc = ERR_OK;
    if (!whole) request->id = 0;
    if (!whole || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        rc = error_set(error, ERR_INPUT, "a request of %zd bytes", got);
    else if (request->kind != REQUEST_SPAWN)
        rc = count == 0 ? ERR_OK : damaged(error);
    else if (!request->in_file)
        rc = read_inline(data, (size_t)got - sizeof *request, body, error);
    else
        rc = count > first ? read_file(all[first++], body, error) : damaged(error);
    if (first > 0) close(all[0]);
    for (size_t i = first; i < count; i++)
        if (rc == ERR_OK && body->fd_count < LAUNCH_FDS_MAX)
            body->fds[body->fd_count++] = all[i];
        else
            close(all[i]);
    return rc;
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

static const char *or_empty(const char *string)
{
    return string ? string : "";
}

enum err body_pack(const struct launch *launch, char **packed, size_t *count,
                   struct error *error)
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
    if (sizeof(struct body_head) + bytes > BODY_BYTES_MAX ||
        argv_count + env_count > BODY_STRINGS_MAX)
        return error_set(error, ERR_INPUT, "the command and its environment are too long");
    *count = sizeof(struct body_head) + bytes;
    *packed = malloc(*count);
    if (!*packed) return error_set(error, ERR_NO_MEMORY, "no memory for a request");
    struct body_head head = { (uint32_t)argv_count, (uint32_t)env_count };
    memcpy(*packed, &head, sizeof head);
    char *at = *packed + sizeof head;
    for (size_t i = 0; i < PATH_STRINGS; i++)
        at = append(at, paths[i]);
    for (size_t i = 0; i < argv_count; i++)
        at = append(at, launch->argv[i]);
    for (size_t i = 0; i < env_count; i++)
        at = append(at, launch->env[i]);
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

static enum err split(struct launch_body *body, size_t count, struct error *error)
{
    struct body_head head = { 0 };
    if (count >= sizeof head) memcpy(&head, body->block, sizeof head);
    if (head.argv_count == 0 || head.argv_count > BODY_STRINGS_MAX ||
        head.env_count > BODY_STRINGS_MAX)
        return damaged(error);
    const char *at = body->block + sizeof head, *end = body->block + count;
    const char **paths[PATH_STRINGS] = { &body->directory, &body->out_path, &body->err_path,
                                         &body->lock_path, &body->marker };
    bool whole = true;
    for (size_t i = 0; i < PATH_STRINGS; i++)
        whole = whole && (*paths[i] = next_string(&at, end)) != NULL;
    body->argv = calloc(head.argv_count + 1U, sizeof(char *));
    body->env = calloc(head.env_count + 1U, sizeof(char *));
    if (!body->argv || !body->env)
        return error_set(error, ERR_NO_MEMORY, "no memory for a request");
    for (size_t i = 0; whole && i < head.argv_count; i++)
        whole = (body->argv[i] = next_string(&at, end)) != NULL;
    for (size_t i = 0; whole && i < head.env_count; i++)
        whole = (body->env[i] = next_string(&at, end)) != NULL;
    return whole && at == end ? ERR_OK : damaged(error);
}

enum err body_unpack(char *bytes, size_t count, struct launch_body *body, struct error *error)
{
    *body = (struct launch_body){ .block = bytes };
    enum err rc = split(body, count, error);
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
