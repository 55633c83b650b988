/*
 * display.h - what a person sees while a campaign runs: on a terminal a table that is redrawn,
 * otherwise one plain line per change.
 *
 * Lines come from records, and are printed only after those are durable. A question to an owner
 * is shown with the exact command that answers it, in both forms.
 */
#ifndef SCHEDULER_COORDINATOR_DISPLAY_H
#define SCHEDULER_COORDINATOR_DISPLAY_H

#include "scheduler/coordinator/telemetry.h"
#include "scheduler/core/state.h"

enum display_kind { DISPLAY_NONE, DISPLAY_LINES, DISPLAY_TABLE };

struct display {
    enum display_kind kind;
    int fd;
    const char *state_dir; /* for the command that answers a question; borrowed */
    int64_t next_draw_ns;
    uint32_t drawn_lines; /* height of the table that stands on the screen */
    bool changed;
    struct writer pending; /* lines that wait for their records to be durable */
};

/* Room for pending lines; more than fit in one batch are cut, and the display says so. */
enum { DISPLAY_PENDING_BYTES = 64 * 1024 };

/* `room` is DISPLAY_PENDING_BYTES of the caller's. */
void display_init(struct display *display, enum display_kind kind, int fd,
                  const char *state_dir, char *room);

/* Takes note of a record that the core is about to apply. */
void display_record(struct display *display, const struct core *core,
                    const struct record *record);

/* An owner must decide about a run (its gate, or the run itself), or with NO_INDEX about a
 * tier: shows the command that answers. */
void display_ask(struct display *display, const struct core *core, uint32_t run);

/* One line of the coordinator's own, for people. */
void display_say(struct display *display, const char *format, ...) printf_like(2, 3);

/* Prints what is pending. Called when the batch's records are durable. */
void display_flush(struct display *display);

/* Redraws the table when it is time to; a no-op for other kinds. */
void display_draw(struct display *display, const struct core *core,
                  const struct telemetry_board *board, int64_t now_ns, bool last);

/* When display_draw wants to be called; TIME_NEVER when it does not. */
int64_t display_due_ns(const struct display *display);

#endif
