#include <stdio.h>
#include <string.h>

#include "scheduler/campaign/internal.h"
#include "scheduler/campaign/units.h"

#define DAY_NS (24 * NS_PER_HOUR)

/* ---- names --------------------------------------------------------------------------- */

enum err name_lookup(const struct reader *reader, const char *key, const struct entry *entry,
                     const char *where, const char *names, size_t count, size_t stride_bytes,
                     uint32_t *index)
{
    enum { SHOWN_MAX = 32 };
    const char *shown[SHOWN_MAX];
    char list[300];
    enum err rc = expect_kind(reader, key, entry, NODE_SCALAR);
    if (rc != ERR_OK) return rc;
    struct writer writer = writer_of(list, sizeof list);
    for (size_t i = 0; i < count; i++) {
        const char *name = names + i * stride_bytes;
        if (text_is(entry->value->text, name)) {
            *index = (uint32_t)i;
            return ERR_OK;
        }
        if (i >= SHOWN_MAX) continue;
        shown[i] = name;
        writer_format(&writer, "%s%s", i == 0 ? "" : ", ", name);
    }
    const char *near =
        nearest_word(entry->value->text.data, shown, count < SHOWN_MAX ? count : SHOWN_MAX);
    if (near)
        return reader_fail(reader, entry->line, key,
                           "`%.64s` is not defined under `%s`; did you mean `%s`?",
                           entry->value->text.data, where, near);
    return reader_fail(reader, entry->line, key,
                       "`%.64s` is not defined under `%s`; defined there: %s",
                       entry->value->text.data, where, count == 0 ? "nothing" : list);
}

enum err name_read(const struct reader *reader, const char *key, const struct entry *entry,
                   char *to)
{
    const struct field row = { .key = key, .kind = FIELD_NAME };
    return field_read(reader, &row, key, entry->value, entry->line, to);
}

/* ---- money --------------------------------------------------------------------------- */

enum err currency_read(struct loader *loader, const struct node *root)
{
    struct campaign_spec *spec = &loader->campaign->spec;
    const struct entry *entry = tree_find(root, "currency");
    text_copy(spec->currency, sizeof spec->currency, TEXT("USD"));
    loader->reader.currency = spec->currency;
    if (!entry) return ERR_OK;
    enum err rc = expect_kind(&loader->reader, "currency", entry, NODE_SCALAR);
    if (rc != ERR_OK) return rc;
    struct text text = entry->value->text;
    bool valid = text.len >= 3 && text.len < CURRENCY_BYTES;
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < 'A' || text.data[i] > 'Z') valid = false;
    if (!valid)
        return reader_fail(&loader->reader, entry->line, "currency",
                           "`%.20s` is not a currency; write 3 to 7 capital letters, as USD",
                           text.data);
    text_copy(spec->currency, sizeof spec->currency, text);
    return ERR_OK;
}

struct tier_read {
    int64_t up_to_micros;
    struct entry *approve;
};

static const struct field tier_rows[] = {
    { .key = "up_to",
      FIELD_MONEY,
      offsetof(struct tier_read, up_to_micros),
      1,
      MONEY_MAX_MICROS,
      .required = true },
    { .key = "approve", FIELD_ENTRY, offsetof(struct tier_read, approve), .required = true },
};
static const struct fields tier_fields = { "tiers.", tier_rows, ARRAY_COUNT(tier_rows) };

static enum err tier_read(struct loader *loader, const struct entry *item,
                          struct tier_spec *tier)
{
    struct tier_read read = { 0 };
    enum err rc = fields_read(&loader->reader, &tier_fields, item, &read);
    if (rc != ERR_OK) return rc;
    tier->up_to_micros = read.up_to_micros;
    tier->owner_index = NO_INDEX;
    if (read.approve->value->kind == NODE_SCALAR && text_is(read.approve->value->text, "auto"))
        return ERR_OK;
    return owner_lookup(loader, "tiers.approve", read.approve, &tier->owner_index);
}

enum err tiers_read(struct loader *loader, const struct entry *tiers, uint32_t budget_line)
{
    const struct reader *reader = &loader->reader;
    struct campaign_spec *spec = &loader->campaign->spec;
    if (!tiers) {
        spec->tier_count = 1;
        spec->tiers[0] = (struct tier_spec){ spec->budget_micros, NO_INDEX };
        return ERR_OK;
    }
    enum err rc = expect_kind(reader, "tiers", tiers, NODE_LIST);
    if (rc != ERR_OK) return rc;
    if (tiers->value->count == 0)
        return reader_fail(reader, tiers->line, "tiers", "is empty; take the key out");
    if (tiers->value->count > TIERS_MAX)
        return reader_fail(reader, tiers->line, "tiers", "has more than %d tiers; merge some",
                           TIERS_MAX);
    int64_t last_micros = 0;
    for (const struct entry *item = tiers->value->first; item; item = item->next) {
        struct tier_spec *tier = &spec->tiers[spec->tier_count++];
        if ((rc = tier_read(loader, item, tier)) != ERR_OK) return rc;
        if (tier->up_to_micros <= last_micros)
            return reader_fail(
                reader, item->line, "tiers.up_to",
                "does not rise above the tier before it; sort the tiers by up_to");
        last_micros = tier->up_to_micros;
    }
    if (last_micros == spec->budget_micros) return ERR_OK;
    return reader_fail(reader, tiers->value->last->line, "tiers.up_to",
                       "the last tier does not end at the budget of line %u; make them equal",
                       budget_line);
}

enum err prices_read(struct loader *loader, const struct entry *prices)
{
    static const struct field row = { .key = "price", FIELD_MONEY, 0, 0, MONEY_MAX_MICROS };
    const struct reader *reader = &loader->reader;
    struct campaign_spec *spec = &loader->campaign->spec;
    char key[TREE_KEY_BYTES_MAX + 16];
    enum err rc = expect_kind(reader, "prices", prices, NODE_MAP);
    if (rc != ERR_OK) return rc;
    if (prices->value->count == 0)
        return reader_fail(reader, prices->line, "prices",
                           "is empty; write a price per slot-hour, as `cpu: 1.20 %s`",
                           spec->currency);
    if (prices->value->count > CLASSES_MAX)
        return reader_fail(reader, prices->line, "prices",
                           "has more than %d device classes; take some out", CLASSES_MAX);
    for (const struct entry *entry = prices->value->first; entry; entry = entry->next) {
        struct device_class *class = &spec->classes[spec->class_count++];
        snprintf(key, sizeof key, "prices.%s", entry->key.data);
        if (!name_valid(entry->key) || text_is(entry->key, "any"))
            return reader_fail(
                reader, entry->line, key,
                "is not a device class; use letters, digits and . _ -, not `any`");
        check(text_copy(class->name, sizeof class->name, entry->key));
        rc = field_read(reader, &row, key, entry->value, entry->line, &class->rate_micros);
        if (rc != ERR_OK) return rc;
    }
    return ERR_OK;
}

/* ---- devices ------------------------------------------------------------------------- */

#define TERA INT64_C(1000000000000)

struct device_read {
    struct entry *match, *peak;
};

static const struct field device_rows[] = {
    { .key = "match", FIELD_ENTRY, offsetof(struct device_read, match), .required = true },
    { .key = "peak", FIELD_ENTRY, offsetof(struct device_read, peak), .required = true },
};
static const struct fields device_fields = { "devices.", device_rows,
                                             ARRAY_COUNT(device_rows) };

static enum err match_read(const struct reader *reader, const struct entry *entry, char *to)
{
    enum err rc = expect_kind(reader, "devices.match", entry, NODE_SCALAR);
    if (rc != ERR_OK) return rc;
    struct text text = entry->value->text;
    bool plain = text.len > 0 && text_trim(text).len == text.len;
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < ' ' || text.data[i] > '~') plain = false;
    if (plain && text_copy(to, NAME_MAX_BYTES, text)) return ERR_OK;
    return reader_fail(reader, entry->line, "devices.match",
                       "is not a part of a device's name; write 1 to %d plain characters, as "
                       "`H100 PCIe`",
                       NAME_MAX_BYTES - 1);
}

/* "989.4 TFLOP/s", exact to one operation. */
static enum err peak_read(const struct reader *reader, const struct entry *entry,
                          uint64_t *peak_flops)
{
    static const struct text unit = { "TFLOP/s", 7 };
    enum err rc = expect_kind(reader, "devices.peak", entry, NODE_SCALAR);
    if (rc != ERR_OK) return rc;
    struct text text = entry->value->text, number = text;
    int64_t flops = 0;
    bool valid = text.len > unit.len;
    if (valid) {
        number.len -= unit.len;
        valid = text_equal((struct text){ text.data + number.len, unit.len }, unit);
    }
    if (valid) valid = text_to_scaled(text_trim(number), TERA, &flops);
    if (valid && flops >= TERA / 1000 && flops <= 1000000 * TERA) {
        *peak_flops = (uint64_t)flops;
        return ERR_OK;
    }
    return reader_fail(reader, entry->line, "devices.peak",
                       "`%.40s` is not a peak between 0.001 and 1000000 TFLOP/s; write it as "
                       "989.4 TFLOP/s",
                       text.data);
}

enum err devices_read(struct loader *loader, const struct entry *devices)
{
    const struct reader *reader = &loader->reader;
    struct campaign_spec *spec = &loader->campaign->spec;
    if (!devices) return ERR_OK;
    enum err rc = expect_kind(reader, "devices", devices, NODE_LIST);
    if (rc != ERR_OK) return rc;
    if (devices->value->count == 0)
        return reader_fail(reader, devices->line, "devices", "is empty; take the key out");
    if (devices->value->count > DEVICE_PEAKS_MAX)
        return reader_fail(reader, devices->line, "devices",
                           "has more than %d entries; take some out", DEVICE_PEAKS_MAX);
    for (const struct entry *item = devices->value->first; item; item = item->next) {
        struct device_peak *device = &spec->devices[spec->device_count];
        struct device_read read = { NULL, NULL };
        rc = fields_read(reader, &device_fields, item, &read);
        if (rc == ERR_OK) rc = match_read(reader, read.match, device->match);
        if (rc == ERR_OK) rc = peak_read(reader, read.peak, &device->peak_flops);
        if (rc != ERR_OK) return rc;
        for (uint32_t i = 0; i < spec->device_count; i++)
            if (strcmp(spec->devices[i].match, device->match) == 0)
                return reader_fail(reader, item->line, "devices.match",
                                   "`%s` is given twice; keep one", device->match);
        spec->device_count++;
    }
    return ERR_OK;
}

void devices_write(struct writer *writer, const struct campaign_spec *spec)
{
    if (spec->device_count > 0) writer_string(writer, "devices:\n");
    for (uint32_t i = 0; i < spec->device_count; i++) {
        writer_string(writer, "  - {match: ");
        quoted_write(writer, spec->devices[i].match);
        writer_string(writer, ", peak: ");
        scaled_write(writer, (int64_t)spec->devices[i].peak_flops, TERA);
        writer_string(writer, " TFLOP/s}\n");
    }
}

/* ---- placement and timing ------------------------------------------------------------ */

struct placement_read {
    struct entry *policy;
    bool backfill;
};

static const struct field placement_rows[] = {
    { .key = "policy", FIELD_ENTRY, offsetof(struct placement_read, policy) },
    { .key = "backfill", FIELD_BOOL, offsetof(struct placement_read, backfill), 0, 1 },
};
static const struct fields placement_fields = { "placement.", placement_rows,
                                                ARRAY_COUNT(placement_rows) };

enum err placement_read(struct loader *loader, const struct entry *placement)
{
    struct campaign_spec *spec = &loader->campaign->spec;
    struct placement_read read = { .backfill = true };
    const char *names[PLACE_POLICY_COUNT];
    uint32_t policy = PLACE_FIFO;
    for (uint32_t i = 0; i < PLACE_POLICY_COUNT; i++)
        names[i] = place_policy_name((enum place_policy)i);
    enum err rc =
        placement ? fields_read(&loader->reader, &placement_fields, placement, &read) : ERR_OK;
    if (rc == ERR_OK && read.policy)
        rc = word_read(&loader->reader, "placement.policy", read.policy, names,
                       PLACE_POLICY_COUNT, &policy);
    if (rc != ERR_OK) return rc;
    spec->place = (enum place_policy)policy;
    spec->backfill = read.backfill;
    return ERR_OK;
}

void placement_write(struct writer *writer, const struct campaign *campaign)
{
    writer_format(writer, "placement:\n  policy: %s\n  backfill: %s\n",
                  place_policy_name(campaign->spec.place),
                  campaign->spec.backfill ? "true" : "false");
}

#define TIMING(member) offsetof(struct timing, member)

static const struct field timing_rows[] = {
    { .key = "heartbeat",
      FIELD_DURATION,
      TIMING(heartbeat_ns),
      10 * NS_PER_MS,
      5 * NS_PER_MIN },
    { .key = "lease", FIELD_DURATION, TIMING(lease_ns), NS_PER_S, DAY_NS },
    { .key = "stop_grace",
      FIELD_DURATION,
      TIMING(stop_grace_ns),
      100 * NS_PER_MS,
      NS_PER_HOUR },
    { .key = "worker_timeout",
      FIELD_DURATION,
      TIMING(worker_timeout_ns),
      20 * NS_PER_MS,
      DAY_NS },
    { .key = "start_deadline", FIELD_DURATION, TIMING(start_deadline_ns), NS_PER_S, DAY_NS },
    { .key = "step_deadline", FIELD_DURATION, TIMING(step_deadline_ns), NS_PER_S, 7 * DAY_NS },
    { .key = "step_factor", FIELD_COUNT, TIMING(step_factor), 1, 1000000 },
    { .key = "restart_backoff", FIELD_DURATION, TIMING(backoff_ns), 0, DAY_NS },
    { .key = "restart_backoff_max", FIELD_DURATION, TIMING(backoff_max_ns), 0, DAY_NS },
    { .key = "clock_error", FIELD_SHARE, TIMING(clock_error_ppm), 0, 100000 },
};
static const struct fields timing_fields = { "timing.", timing_rows, ARRAY_COUNT(timing_rows) };

static enum err timing_check(const struct loader *loader, const struct entry *timing,
                             const struct timing *t)
{
    const struct reader *reader = &loader->reader;
    uint32_t line = timing ? timing->line : 1;
    if (t->lease_ns < 4 * t->heartbeat_ns)
        return reader_fail(
            reader, line, "timing.lease",
            "is shorter than 4 heartbeats; make lease longer or heartbeat shorter");
    if (t->worker_timeout_ns < 2 * t->heartbeat_ns)
        return reader_fail(
            reader, line, "timing.worker_timeout",
            "is shorter than 2 heartbeats; make it longer, or heartbeat shorter");
    if (t->backoff_ns > t->backoff_max_ns)
        return reader_fail(reader, line, "timing.restart_backoff",
                           "is longer than restart_backoff_max; make it shorter");
    return ERR_OK;
}

enum err timing_read(struct loader *loader, const struct entry *timing)
{
    struct campaign_spec *spec = &loader->campaign->spec;
    struct timing t = { .heartbeat_ns = NS_PER_S,
                        .lease_ns = NS_PER_MIN,
                        .stop_grace_ns = 30 * NS_PER_S,
                        .worker_timeout_ns = -1,
                        .start_deadline_ns = 120 * NS_PER_S,
                        .step_deadline_ns = 60 * NS_PER_S,
                        .step_factor = 10,
                        .backoff_ns = 5 * NS_PER_S,
                        .backoff_max_ns = 5 * NS_PER_MIN,
                        .clock_error_ppm = 1000 };
    enum err rc = timing ? fields_read(&loader->reader, &timing_fields, timing, &t) : ERR_OK;
    if (rc != ERR_OK) return rc;
    /* Half a lease, in whole milliseconds, so that the effective policy can say it exactly. */
    if (t.worker_timeout_ns < 0) t.worker_timeout_ns = t.lease_ns / 2 / NS_PER_MS * NS_PER_MS;
    if ((rc = timing_check(loader, timing, &t)) != ERR_OK) return rc;
    loader->timing = t;
    spec->heartbeat_ns = t.heartbeat_ns;
    spec->lease_ns = t.lease_ns;
    spec->stop_grace_ns = t.stop_grace_ns;
    spec->worker_timeout_ns = t.worker_timeout_ns;
    spec->clock_error_ppm = t.clock_error_ppm;
    spec->backoff_ns = t.backoff_ns;
    spec->backoff_max_ns = t.backoff_max_ns;
    return ERR_OK;
}

void timing_write(struct writer *writer, const struct campaign *campaign)
{
    const struct campaign_spec *spec = &campaign->spec;
    const struct launch *launch = &campaign->launches[0]; /* all runs share these deadlines */
    struct timing t = { .heartbeat_ns = spec->heartbeat_ns,
                        .lease_ns = spec->lease_ns,
                        .stop_grace_ns = spec->stop_grace_ns,
                        .worker_timeout_ns = spec->worker_timeout_ns,
                        .start_deadline_ns = launch->start_deadline_ns,
                        .step_deadline_ns = launch->step_deadline_min_ns,
                        .step_factor = launch->step_deadline_factor,
                        .backoff_ns = spec->backoff_ns,
                        .backoff_max_ns = spec->backoff_max_ns,
                        .clock_error_ppm = spec->clock_error_ppm };
    writer_string(writer, "timing:\n");
    fields_write(writer, &timing_fields, &t, 2, spec->currency);
}

/* ---- guardrails ---------------------------------------------------------------------- */

struct guard_read {
    struct guard_spec spec;
    struct entry *utilization, *idle, *variants, *start_warn;
};

#define GUARD(member) offsetof(struct guard_read, spec.member)
#define WINDOWS_MAX 100000

static const struct field guard_rows[] = {
    { .key = "window", FIELD_DURATION, GUARD(window_ns), NS_PER_S, DAY_NS },
    { .key = "grace", FIELD_DURATION, GUARD(grace_ns), 0, 7 * DAY_NS },
    { .key = "utilization", FIELD_ENTRY, offsetof(struct guard_read, utilization) },
    { .key = "idle", FIELD_ENTRY, offsetof(struct guard_read, idle) },
    { .key = "park_for", FIELD_DURATION, GUARD(park_ns), 0, 7 * DAY_NS },
    { .key = "variants", FIELD_ENTRY, offsetof(struct guard_read, variants) },
};
/* A variant is a guardrail without variants of its own. */
static const struct fields guard_fields = { "guardrails.", guard_rows,
                                            ARRAY_COUNT(guard_rows) };
static const struct fields variant_fields = { "guardrails.variants.", guard_rows,
                                              ARRAY_COUNT(guard_rows) - 1 };

static const struct field utilization_rows[] = {
    { .key = "floor", FIELD_SHARE, GUARD(floor_ppm), 0, PPM },
    { .key = "clear", FIELD_SHARE, GUARD(clear_ppm), 0, PPM },
    { .key = "warn_after", FIELD_COUNT, GUARD(warn_windows), 1, WINDOWS_MAX, .never = true },
    { .key = "park_after", FIELD_COUNT, GUARD(park_windows), 1, WINDOWS_MAX, .never = true },
    { .key = "stop_after", FIELD_COUNT, GUARD(stop_windows), 1, WINDOWS_MAX, .never = true },
};
static const struct fields utilization_fields = { "guardrails.utilization.", utilization_rows,
                                                  ARRAY_COUNT(utilization_rows) };

static const struct field idle_rows[] = {
    { .key = "below", FIELD_SHARE, GUARD(idle_ppm), 0, PPM },
    { .key = "start_warn", FIELD_ENTRY, offsetof(struct guard_read, start_warn) },
    { .key = "start_stop",
      FIELD_DURATION,
      GUARD(idle_start_stop_ns),
      NS_PER_S,
      365 * DAY_NS,
      .never = true },
    { .key = "again_warn",
      FIELD_DURATION,
      GUARD(idle_again_warn_ns),
      NS_PER_S,
      365 * DAY_NS,
      .never = true },
    { .key = "again_stop",
      FIELD_DURATION,
      GUARD(idle_again_stop_ns),
      NS_PER_S,
      365 * DAY_NS,
      .never = true },
};
static const struct fields idle_fields = { "guardrails.idle.", idle_rows,
                                           ARRAY_COUNT(idle_rows) };

static enum err start_warn_read(const struct reader *reader, const struct entry *entry,
                                struct guard_spec *guard)
{
    static const char key[] = "guardrails.idle.start_warn";
    static const struct field row = {
        .key = "start_warn", FIELD_DURATION, 0, NS_PER_S, 365 * DAY_NS
    };
    guard->idle_start_warn_ns[0] = guard->idle_start_warn_ns[1] = 0;
    if (entry->value->kind == NODE_SCALAR && text_is(entry->value->text, "never"))
        return ERR_OK;
    enum err rc = expect_kind(reader, key, entry, NODE_LIST);
    if (rc != ERR_OK) return rc;
    if (entry->value->count < 1 || entry->value->count > 2)
        return reader_fail(reader, entry->line, key,
                           "takes one or two durations, as [60m, 105m], or `never`");
    int64_t *to = guard->idle_start_warn_ns;
    for (const struct entry *item = entry->value->first; item; item = item->next)
        if ((rc = field_read(reader, &row, key, item->value, item->line, to++)) != ERR_OK)
            return rc;
    if (entry->value->count == 2 &&
        guard->idle_start_warn_ns[1] <= guard->idle_start_warn_ns[0])
        return reader_fail(reader, entry->line, key, "must rise; put the shorter time first");
    return ERR_OK;
}

/* Is an ordered pair of limits the wrong way round? Zero means never. */
static bool falls(int64_t first, int64_t then)
{
    return first > 0 && then > 0 && first > then;
}

static enum err guard_check(const struct reader *reader, uint32_t line,
                            const struct guard_spec *g)
{
    if (g->clear_ppm < g->floor_ppm)
        return reader_fail(reader, line, "guardrails.utilization.clear",
                           "is below the floor; make it at least the floor");
    if (falls(g->warn_windows, g->park_windows) || falls(g->park_windows, g->stop_windows) ||
        falls(g->warn_windows, g->stop_windows))
        return reader_fail(reader, line, "guardrails.utilization",
                           "warn_after, park_after and stop_after must not fall; sort them");
    if (falls(g->idle_start_warn_ns[0], g->idle_start_stop_ns) ||
        falls(g->idle_start_warn_ns[1], g->idle_start_stop_ns))
        return reader_fail(reader, line, "guardrails.idle.start_warn",
                           "comes after start_stop; warn earlier or stop later");
    if (falls(g->idle_again_warn_ns, g->idle_again_stop_ns))
        return reader_fail(reader, line, "guardrails.idle.again_warn",
                           "comes after again_stop; warn earlier or stop later");
    return ERR_OK;
}

/* Reads one guardrail over the values that read->spec already has. */
static enum err guard_read(const struct reader *reader, const struct fields *fields,
                           const struct entry *entry, struct guard_read *read)
{
    enum err rc = fields_read(reader, fields, entry, read);
    if (rc == ERR_OK && read->utilization)
        rc = fields_read(reader, &utilization_fields, read->utilization, read);
    if (rc == ERR_OK && read->idle) rc = fields_read(reader, &idle_fields, read->idle, read);
    if (rc == ERR_OK && read->start_warn)
        rc = start_warn_read(reader, read->start_warn, &read->spec);
    return rc == ERR_OK ? guard_check(reader, entry->line, &read->spec) : rc;
}

static enum err variants_read(struct loader *loader, const struct entry *variants)
{
    const struct reader *reader = &loader->reader;
    struct campaign_spec *spec = &loader->campaign->spec;
    enum err rc = expect_kind(reader, "guardrails.variants", variants, NODE_MAP);
    if (rc != ERR_OK) return rc;
    if (variants->value->count >= GUARDS_MAX)
        return reader_fail(reader, variants->line, "guardrails.variants",
                           "has more than %d variants; take some out", GUARDS_MAX - 1);
    for (const struct entry *entry = variants->value->first; entry; entry = entry->next) {
        struct guard_read read = { .spec = spec->guards[0] };
        if (!name_valid(entry->key) || text_is(entry->key, "default"))
            return reader_fail(
                reader, entry->line, "guardrails.variants",
                "`%s` is not a name; use letters, digits and . _ -, not `default`",
                entry->key.data);
        if ((rc = guard_read(reader, &variant_fields, entry, &read)) != ERR_OK) return rc;
        check(text_copy(loader->campaign->guard_names[spec->guard_count], NAME_MAX_BYTES,
                        entry->key));
        spec->guards[spec->guard_count++] = read.spec;
    }
    return ERR_OK;
}

enum err guards_read(struct loader *loader, const struct entry *guardrails)
{
    struct campaign *campaign = loader->campaign;
    struct guard_read read = { .spec = {
                                   .window_ns = NS_PER_MIN,
                                   .grace_ns = 10 * NS_PER_MIN,
                                   .floor_ppm = 200000,
                                   .clear_ppm = 250000,
                                   .warn_windows = 2,
                                   .park_windows = 5,
                                   .stop_windows = 10,
                                   .idle_ppm = 10000,
                                   .idle_start_warn_ns = { 60 * NS_PER_MIN, 105 * NS_PER_MIN },
                                   .idle_start_stop_ns = 120 * NS_PER_MIN,
                                   .idle_again_warn_ns = 30 * NS_PER_MIN,
                                   .idle_again_stop_ns = 60 * NS_PER_MIN,
                                   .park_ns = 10 * NS_PER_MIN } };
    enum err rc =
        guardrails ? guard_read(&loader->reader, &guard_fields, guardrails, &read) : ERR_OK;
    if (rc != ERR_OK) return rc;
    campaign->guard_names =
        (char(*)[NAME_MAX_BYTES])arena_array(&campaign->arena, GUARDS_MAX, NAME_MAX_BYTES);
    text_copy(campaign->guard_names[0], NAME_MAX_BYTES, TEXT("default"));
    campaign->spec.guards[0] = read.spec;
    campaign->spec.guard_count = 1;
    return read.variants ? variants_read(loader, read.variants) : ERR_OK;
}

static void start_warn_write(struct writer *writer, const struct guard_spec *guard)
{
    if (guard->idle_start_warn_ns[0] == 0) {
        writer_string(writer, "never\n");
        return;
    }
    writer_string(writer, "[");
    duration_write(writer, guard->idle_start_warn_ns[0]);
    if (guard->idle_start_warn_ns[1] > 0) {
        writer_string(writer, ", ");
        duration_write(writer, guard->idle_start_warn_ns[1]);
    }
    writer_string(writer, "]\n");
}

static void guard_write(struct writer *writer, const struct guard_spec *guard, unsigned indent)
{
    struct guard_read base = { .spec = *guard };
    fields_write(writer, &guard_fields, &base, indent, "");
    writer_format(writer, "%*sutilization:\n", (int)indent, "");
    fields_write(writer, &utilization_fields, &base, indent + 2, "");
    writer_format(writer, "%*sidle:\n%*sstart_warn: ", (int)indent, "", (int)indent + 2, "");
    start_warn_write(writer, guard);
    fields_write(writer, &idle_fields, &base, indent + 2, "");
}

void guards_write(struct writer *writer, const struct campaign *campaign)
{
    writer_string(writer, "guardrails:\n");
    guard_write(writer, &campaign->spec.guards[0], 2);
    if (campaign->spec.guard_count == 1) return;
    writer_string(writer, "  variants:\n");
    for (uint32_t i = 1; i < campaign->spec.guard_count; i++) {
        writer_format(writer, "    %s:\n", campaign->guard_names[i]);
        guard_write(writer, &campaign->spec.guards[i], 6);
    }
}

/* ---- keys ---------------------------------------------------------------------------- */

void policy_each_key(key_fn take, void *context)
{
    const struct fields *tables[] = { &tier_fields,   &device_fields, &placement_fields,
                                      &timing_fields, &guard_fields,  &utilization_fields,
                                      &idle_fields };
    for (size_t t = 0; t < ARRAY_COUNT(tables); t++)
        for (size_t i = 0; i < tables[t]->count; i++)
            take(context, tables[t]->rows[i].key);
    owners_each_key(take, context);
}
