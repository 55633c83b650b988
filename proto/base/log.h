/*
 * log.h - one line a message for operators, on stderr: "2026-11-24 10:48:55Z level text".
 *
 * Only the edges log (coordinator, agent, launcher, trainer); core and policy never do. The
 * text is key=value pairs. PENSTOCK_LOG=error|warn|info|debug sets the level; info is the
 * default.
 */
#ifndef PROTO_BASE_LOG_H
#define PROTO_BASE_LOG_H

#include "proto/base/defs.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Sets the level, and the name put before each text ("coordinator", "agent 2"). */
void log_setup(enum log_level level, const char *who);

/* The level named by `name`, or `fallback` when it is NULL or unknown. */
enum log_level log_level_of(const char *name, enum log_level fallback);

/* Writes one line in one write(2), cut at 1 KiB. A no-op below the level. */
void log_line(enum log_level level, const char *format, ...) printf_like(2, 3);

#endif
