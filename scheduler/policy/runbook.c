#include "scheduler/policy/policy.h"

static bool row_matches(const struct runbook_row *row, const struct runbook_facts *facts)
{
    if (row->incident != facts->incident) return false;
    if (row->exit_code != RUNBOOK_EXIT_ANY && row->exit_code != facts->exit_code) return false;
    if (row->builtin_only && !facts->builtin) return false;
    return text_find(facts->stderr_tail, text_of(row->pattern)) != SIZE_MAX;
}

static bool has_room(const struct runbook_step *step, uint16_t used)
{
    return step->limit >= RUNBOOK_UNLIMITED || used < step->limit;
}

struct runbook_choice runbook_choose(const struct runbook_row *rows, size_t row_count,
                                     const struct runbook_facts *facts)
{
    check(row_count < UINT32_MAX);
    uint32_t count = (uint32_t)row_count, row = 0;
    while (row < count && !row_matches(&rows[row], facts))
        row++;
    for (uint32_t step = 0; row < count && step < rows[row].step_count; step++) {
        check(step < RUNBOOK_STEPS_MAX);
        if (has_room(&rows[row].steps[step], facts->used[row][step]))
            return (struct runbook_choice){ rows[row].steps[step].action, row, step };
    }
    return (struct runbook_choice){ RUNBOOK_STOP, count, 0 };
}

const char *incident_name(enum incident incident)
{
    static const char *const names[INCIDENT_COUNT] = {
#define X(id, name, class) [INCIDENT_##id] = name,
        INCIDENTS(X)
#undef X
    };
    return (unsigned)incident < INCIDENT_COUNT ? names[incident] : "unknown";
}

enum retry_class incident_retry_class(enum incident incident)
{
    static const enum retry_class classes[INCIDENT_COUNT] = {
#define X(id, name, class) [INCIDENT_##id] = class,
        INCIDENTS(X)
#undef X
    };
    check((unsigned)incident < INCIDENT_COUNT);
    return classes[incident];
}

const char *runbook_action_name(enum runbook_action action)
{
    static const char *const names[RUNBOOK_ACTION_COUNT] = {
#define X(id, name) [RUNBOOK_##id] = name,
        RUNBOOK_ACTIONS(X)
#undef X
    };
    return (unsigned)action < RUNBOOK_ACTION_COUNT ? names[action] : "unknown";
}

const char *retry_class_name(enum retry_class class_)
{
    static const char *const names[RETRY_CLASS_COUNT] = {
#define X(id, name) [RETRY_##id] = name,
        RETRY_CLASSES(X)
#undef X
    };
    return (unsigned)class_ < RETRY_CLASS_COUNT ? names[class_] : "unknown";
}
