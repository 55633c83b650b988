/*
 * style.h - the style sheet of the HTML report: light and dark, wide screens, phones and paper. Nothing in it is
 * loaded from outside.
 */
#ifndef SCHEDULER_REPORT_STYLE_H
#define SCHEDULER_REPORT_STYLE_H

#include <stdio.h>

void style_write(FILE *to);

#endif
