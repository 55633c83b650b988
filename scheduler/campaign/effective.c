/*
 * effective.c - a loaded campaign written back as a campaign file, with nothing left to
 * defaults.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/money.h"
#include "scheduler/campaign/internal.h"

/* ---- text ---------------------------------------------------------------------------- */

/* Decodes one code point; 0 bytes when it is not valid UTF-8. */
static size_t utf8_decode(const unsigned char *bytes, uint32_t *code)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } forms[] = {
        { 0x80, 0x00, 0 }, { 0xE0, 0xC0, 0x80 }, { 0xF0, 0xE0, 0x800 }, { 0xF8, 0xF0, 0x10000 }
    };
    for (size_t n = 0; n < ARRAY_COUNT(forms); n++) {
        if ((bytes[0] & forms[n].mask) != forms[n].lead) continue;
        uint32_t value = bytes[0] & (unsigned char)~forms[n].mask;
        for (size_t i = 1; i <= n; i++) {
            if ((bytes[i] & 0xC0) != 0x80) return 0; /* the final zero stops here too */
            value = value << 6 | (bytes[i] & 0x3F);
        }
        if (value < forms[n].least || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
            return 0;
        *code = value;
        return n + 1;
    }
    return 0;
}

bool utf8_valid(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    uint32_t code;
    while (*at) {
        size_t bytes = utf8_decode(at, &code);
        if (bytes == 0) return false;
        at += bytes;
    }
    return true;
}

/* Code points that YAML lets stand unescaped between double quotes. */
static bool stands_plain(uint32_t code)
{
    if (code == '"' || code == '\\' || code < 0x20) return false;
    return code < 0x7F || (code >= 0xA0 && code < 0xD800 && code != 0x2028 && code != 0x2029) ||
           (code >= 0xE000 && code < 0xFFFE && code != 0xFEFF) || code >= 0x10000;
}

void quoted_write(struct writer *writer, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    writer_string(writer, "\"");
    while (*at) {
        uint32_t code;
        size_t bytes = utf8_decode(at, &code);
        check(bytes > 0); /* what came out of YAML, and the folder's name, are valid */
        if (stands_plain(code))
            writer_text(writer, (struct text){ (const char *)at, bytes });
        else if (code == '"' || code == '\\')
            writer_format(writer, "\\%c", (char)code);
        else if (code == '\n')
            writer_string(writer, "\\n");
        else
            writer_format(writer, "\\u%04" PRIX32, code);
        at += bytes;
    }
    writer_string(writer, "\"");
}

static void money_line(struct writer *writer, const char *before, int64_t micros,
                       const char *currency, const char *after)
{
    writer_string(writer, before);
    money_write(writer, micros, currency);
    writer_string(writer, after);
}

/* ---- the campaign's own part --------------------------------------------------------- */

static void head_write(struct writer *writer, const struct campaign_spec *spec)
{
    writer_format(writer, "campaign: %s\ncurrency: %s\n", spec->name, spec->currency);
    money_line(writer, "budget: ", spec->budget_micros, spec->currency, "\ntiers:\n");
    for (uint32_t i = 0; i < spec->tier_count; i++) {
        const struct tier_spec *tier = &spec->tiers[i];
        money_line(writer, "  - {up_to: ", tier->up_to_micros, spec->currency, "");
        writer_format(writer, ", approve: %s}\n",
                      tier->owner_index == NO_INDEX ? "auto"
                                                    : spec->owners[tier->owner_index].name);
    }
    writer_string(writer, "prices: # per slot and hour\n");
    for (uint32_t i = 0; i < spec->class_count; i++) {
        writer_format(writer, "  %s: ", spec->classes[i].name);
        money_line(writer, "", spec->classes[i].rate_micros, spec->currency, "\n");
    }
    devices_write(writer, spec);
    owners_write(writer, spec);
}

/* ---- runs ---------------------------------------------------------------------------- */

static void run_gates_write(struct writer *writer, const struct campaign *campaign,
                            const struct run_spec *run)
{
    const char *comma = "";
    writer_string(writer, "    gates: [");
    for (uint32_t n = 0; n < campaign->named_gate_count; n++) {
        const struct named_gate *gate = &campaign->named_gates[n];
        for (uint32_t i = 0; i < run->gate_count; i++) {
            if (run->gates[i].gate_index != gate->first_point) continue;
            writer_format(writer, "%s%s", comma, gate->name);
            comma = ", ";
        }
    }
    writer_string(writer, "]\n");
    money_line(writer, "    # releases ", run->first_tranche_micros, campaign->spec.currency,
               " to start");
    for (uint32_t i = 0; i < run->gate_count; i++) {
        money_line(writer, ", ", run->gates[i].tranche_micros, campaign->spec.currency, "");
        writer_format(writer, " at %s", campaign->spec.gates[run->gates[i].gate_index].name);
    }
    writer_string(writer, "\n");
}

static void command_write(struct writer *writer, const struct launch *launch)
{
    writer_string(writer, "    command: [");
    for (uint32_t i = 0; i < launch->argc; i++) {
        writer_string(writer, i == 0 ? "" : ", ");
        quoted_write(writer, launch->argv[i]);
    }
    writer_string(writer, "]\n");
}

static void launch_write(struct writer *writer, const struct run_spec *run,
                         const struct launch *launch)
{
    if (run->builtin)
        trainer_write(writer, launch);
    else
        command_write(writer, launch);
    if (launch->env_count > 0) writer_string(writer, "    env:\n");
    for (uint32_t i = 0; i < launch->env_count; i++) {
        writer_format(writer, "      %s: ", launch->env[i].name);
        quoted_write(writer, launch->env[i].value);
        writer_string(writer, "\n");
    }
    if (launch->directory[0]) {
        writer_string(writer, "    directory: ");
        quoted_write(writer, launch->directory);
        writer_string(writer, "\n");
    }
    writer_format(writer, "    threads: %u\n", launch->threads);
}

static void run_write(struct writer *writer, const struct campaign *campaign, uint32_t index)
{
    const struct run_spec *run = &campaign->runs[index];
    const struct campaign_spec *spec = &campaign->spec;
    writer_format(writer, "  - name: %s\n    ranks: %u\n    class: %s\n", run->name, run->ranks,
                  run->class_index == NO_INDEX ? "any" : spec->classes[run->class_index].name);
    money_line(writer, "    budget: ", run->budget_micros, spec->currency, "\n");
    writer_format(writer, "    priority: %d\n", run->priority);
    if (run->tenant[0]) writer_format(writer, "    team: %s\n", run->tenant);
    run_gates_write(writer, campaign, run);
    writer_format(writer, "    guardrail: %s\n    owner: %s\n",
                  campaign->guard_names[run->guard_index], spec->owners[run->owner_index].name);
    if (run->steps > 0) writer_format(writer, "    steps: %" PRIu64 "\n", run->steps);
    launch_write(writer, run, &campaign->launches[index]);
}

static void all_write(struct writer *writer, const struct campaign *campaign)
{
    head_write(writer, &campaign->spec);
    placement_write(writer, campaign);
    timing_write(writer, campaign);
    guards_write(writer, campaign);
    gates_write(writer, campaign);
    runbook_write(writer, campaign);
    writer_string(writer, "runs:\n");
    for (uint32_t i = 0; i < campaign->run_count; i++)
        run_write(writer, campaign, i);
}

struct text campaign_effective(struct campaign *campaign)
{
    /* How long it gets is known only by writing it; room is doubled until it fits. */
    for (size_t capacity_bytes = 64 * 1024;; capacity_bytes *= 2) {
        struct arena scratch = { 0 };
        struct writer writer =
            writer_of((char *)arena_alloc(&scratch, capacity_bytes), capacity_bytes);
        all_write(&writer, campaign);
        struct text text = { "", 0 };
        if (!writer.full) {
            text.len = writer.len;
            text.data = arena_copy(&campaign->arena, (struct text){ writer.data, writer.len });
        }
        arena_fini(&scratch);
        if (text.len > 0) return text;
    }
}
