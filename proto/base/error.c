#define PROTO_BASE_ERROR_C
#include "proto/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void check_failed(const char *file, int line, const char *text)
{
    fprintf(stderr, "%s:%d: check failed: %s\n", file, line, text);
    fflush(stderr);
    abort();
}

static printf_like(2, 0) void set_text(struct error *error, const char *format, va_list args)
{
    vsnprintf(error->text, sizeof error->text, format, args);
}

enum err error_set(struct error *error, enum err code, const char *format, ...)
{
    if (!error) return code;
    error->sys_errno = code == ERR_IO || code == ERR_NO_SPACE ? errno : 0;
    error->code = code;
    va_list args;
    va_start(args, format);
    set_text(error, format, args);
    va_end(args);
    return code;
}

enum err error_errno(struct error *error, const char *format, ...)
{
    int saved = errno;
    enum err code = saved == ENOSPC || saved == EDQUOT ? ERR_NO_SPACE : ERR_IO;
    if (!error) return code;
    va_list args;
    va_start(args, format);
    set_text(error, format, args);
    va_end(args);
    size_t used = strlen(error->text);
    snprintf(error->text + used, sizeof error->text - used, ": %s", strerror(saved));
    error->code = code;
    error->sys_errno = saved;
    errno = saved;
    return code;
}

enum err error_prefix(struct error *error, enum err code, const char *format, ...)
{
    if (!error) return code;
    char old[sizeof error->text];
    memcpy(old, error->text, sizeof old);
    va_list args;
    va_start(args, format);
    set_text(error, format, args);
    va_end(args);
    size_t used = strlen(error->text);
    snprintf(error->text + used, sizeof error->text - used, ": %s", old);
    return code;
}

const char *err_name(enum err code)
{
    static const char *const names[] = {
#define X(id, text) [ERR_##id] = text,
        ERRORS(X)
#undef X
    };
    return (size_t)code < ARRAY_COUNT(names) ? names[code] : "unknown error";
}
