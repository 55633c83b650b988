/*
 * svg.h - the report's charts as inline SVG: loss curves with gate marks, spend over time, who held which slot
 * when.
 *
 * The charts have no fixed width: positions along the time or step axis are percentages, so text keeps its
 * size from a phone to a wide screen. Colours are classes (s0..s7, see style.c) and never the only carrier of
 * meaning: gate marks differ in shape and are named, bars carry their run's name and a title, stopping is
 * hatched. Each function writes nothing when there is nothing to draw.
 */
#ifndef SCHEDULER_REPORT_SVG_H
#define SCHEDULER_REPORT_SVG_H

#include "scheduler/report/model.h"

enum { SERIES_COLOURS = 8, CURVES_MAX = 24, SLOT_ROWS_MAX = 256 };

/* Patterns that the charts refer to; once in a page, before them. */
void svg_patterns(FILE *to);

void svg_spend(const struct model *model, FILE *to);
void svg_curves(const struct model *model, FILE *to);
void svg_slots(const struct model *model, FILE *to);

#endif
