/*
 * money.h - exact money: int64 micro-units of the campaign's currency. No floating point, ever.
 *
 * A rate is micro-units per slot-hour. The cost of holding slots is
 *     ceil(slots x ns x rate / 3,600,000,000,000)
 * with the product in 128 bits, rounded up once, from cumulative totals (rounding each report
 * up would add a micro-unit a report).
 */
#ifndef PROTO_BASE_MONEY_H
#define PROTO_BASE_MONEY_H

#include "proto/base/defs.h"
#include "proto/base/text.h"

#define MICROS_PER_UNIT INT64_C(1000000)

/* Cost in micro-units of holding `slots` slots for `held_ns` at `rate_micros` per slot-hour,
 * rounded up; INT64_MAX when it does not fit. All arguments are >= 0. */
int64_t money_cost_micros(int64_t slots, int64_t held_ns, int64_t rate_micros);

/* How long `amount_micros` pays for `slots` slots: the largest ns whose cost is <= the amount;
 * TIME_NEVER when the rate is 0. slots >= 1, amount >= 0. */
int64_t money_affords_ns(int64_t amount_micros, int64_t slots, int64_t rate_micros);

/* "12.50 USD", "12.50" (currency taken as given) -> 12500000. At most 6 decimals, >= 0. The
 * currency, if written, must be `currency`. */
must_use bool money_parse(struct text text, struct text currency, int64_t *micros);

/* "12.50 USD"; two decimals, or as many as needed (up to six) for an exact figure. */
void money_write(struct writer *writer, int64_t micros, const char *currency);

#endif
