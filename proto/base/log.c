#include "proto/base/log.h"

#include "proto/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARN] = "warn",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
};

static enum log_level log_level_now = LOG_LEVEL_INFO;
static char log_who[NAME_MAX_BYTES] = "penstock";

void log_setup(enum log_level level, const char *who)
{
    log_level_now = level;
    text_copy(log_who, sizeof log_who, text_of(who));
}

enum log_level log_level_of(const char *name, enum log_level fallback)
{
    for (size_t i = 0; name && i < ARRAY_COUNT(level_names); i++)
        if (strcmp(name, level_names[i]) == 0) return (enum log_level)i;
    return fallback;
}

void log_line(enum log_level level, const char *format, ...)
{
    if (level > log_level_now) return;
    char line[1024], text[896];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct timespec now = { 0 };
    timespec_get(&now, TIME_UTC);
    struct writer writer = writer_of(line, sizeof line - 1);
    writer_utc(&writer, now.tv_sec * NS_PER_S + now.tv_nsec);
    writer_format(&writer, " %s %s %s", level_names[level], log_who, text);
    /* A message with line ends in it is still one line. */
    for (size_t i = 0; i < writer.len; i++)
        if (line[i] == '\n' || line[i] == '\r') line[i] = ' ';
    line[writer.len] = '\n';
    fwrite(line, 1, writer.len + 1, stderr);
}
