/*
 * load.h - what the tests of the campaign file share: loading text that stands in a test, and
 * comparing two campaigns field by field.
 */
#ifndef TESTS_UNIT_CAMPAIGN_LOAD_H
#define TESTS_UNIT_CAMPAIGN_LOAD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scheduler/campaign/campaign.h"

/* The shortest head of a campaign file: lines 1 to 3. */
#define HEAD "campaign: c\nbudget: 10.00 USD\nprices: {cpu: 1.20 USD}\n"

/* Loads `text` as a file DIR/t.yaml of a new folder, which is removed again. */
enum err load_text(const char *text, struct campaign *campaign, struct error *error);

/* As load_text, and must succeed. */
void load_good(const char *text, struct campaign *campaign);

/* Loads, and must fail with `expected` after "FILE:". */
void load_bad(const char *text, const char *expected);

/* The whole file as a string to be freed. */
char *read_file(const char *path);

/* Fails the test where a field differs; all but the file's text and hash is compared. */
void assert_same_campaign(const struct campaign *a, const struct campaign *b);

#endif
