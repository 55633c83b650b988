#include "scheduler/campaign/campaign.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/campaign/internal.h"

struct top {
    char name[NAME_MAX_BYTES];
    int64_t budget_micros;
    bool runbook_defaults;
    struct entry *currency, *tiers, *prices, *devices, *owners, *placement, *timing,
        *guardrails, *gates, *runbook, *defaults, *runs, *sweep;
};

#define TOP(member) offsetof(struct top, member)

static const struct field top_rows[] = {
    { .key = "campaign", FIELD_NAME, TOP(name), .required = true },
    { .key = "currency", FIELD_ENTRY, TOP(currency) },
    { .key = "budget", FIELD_MONEY, TOP(budget_micros), 1, MONEY_MAX_MICROS, .required = true },
    { .key = "tiers", FIELD_ENTRY, TOP(tiers) },
    { .key = "prices", FIELD_ENTRY, TOP(prices), .required = true },
    { .key = "devices", FIELD_ENTRY, TOP(devices) },
    { .key = "owners", FIELD_ENTRY, TOP(owners) },
    { .key = "placement", FIELD_ENTRY, TOP(placement) },
    { .key = "timing", FIELD_ENTRY, TOP(timing) },
    { .key = "guardrails", FIELD_ENTRY, TOP(guardrails) },
    { .key = "gates", FIELD_ENTRY, TOP(gates) },
    { .key = "runbook", FIELD_ENTRY, TOP(runbook) },
    { .key = "runbook_defaults", FIELD_BOOL, TOP(runbook_defaults), 0, 1 },
    { .key = "defaults", FIELD_ENTRY, TOP(defaults) },
    { .key = "runs", FIELD_ENTRY, TOP(runs) },
    { .key = "sweep", FIELD_ENTRY, TOP(sweep) },
};
static const struct fields top_fields = { "", top_rows, ARRAY_COUNT(top_rows) };

void campaign_each_key(key_fn take, void *context)
{
    for (size_t i = 0; i < top_fields.count; i++)
        take(context, top_fields.rows[i].key);
    policy_each_key(take, context);
    gates_each_key(take, context);
    runbook_each_key(take, context);
    trainer_each_key(take, context);
    sweep_each_key(take, context);
    runs_each_key(take, context);
}

/* ---- the file ------------------------------------------------------------------------ */

static enum err file_text(struct arena *arena, const char *path, struct text *text,
                          struct error *error)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        if (errno == ENOENT)
            return error_set(error, ERR_INPUT, "%s: there is no such campaign file", path);
        return error_errno(error, "%s: cannot be opened", path);
    }
    char *data = (char *)arena_alloc(arena, CAMPAIGN_FILE_BYTES_MAX + 1);
    size_t bytes = fread(data, 1, CAMPAIGN_FILE_BYTES_MAX + 1, file);
    enum err rc = ERR_OK;
    if (ferror(file))
        rc = error_errno(error, "%s: cannot be read", path);
    else if (bytes > CAMPAIGN_FILE_BYTES_MAX)
        rc = error_set(
            error, ERR_INPUT,
            "%s:1: the file is larger than %d KiB; use a sweep, or split the campaign", path,
            CAMPAIGN_FILE_BYTES_MAX / 1024);
    fclose(file);
    *text = (struct text){ data, rc == ERR_OK ? bytes : 0 };
    return rc;
}

/* The folder of the file, absolute, so that a run means the same files wherever it is started.
 */
static enum err folder_of(struct arena *arena, const char *path, const char **folder,
                          struct error *error)
{
    const char *slash = strrchr(path, '/');
    struct text parent = { path, slash ? (size_t)(slash - path) : 0 };
    const char *name = !slash ? "." : parent.len == 0 ? "/" : arena_copy(arena, parent);
    char *absolute = realpath(name, NULL);
    if (!absolute) return error_errno(error, "%s: the folder cannot be found", path);
    *folder = arena_copy(arena, text_of(absolute));
    free(absolute);
    if (utf8_valid(*folder)) return ERR_OK;
    return error_set(error, ERR_INPUT,
                     "%s:1: the folder's name is not UTF-8; rename it or move the file", path);
}

/* ---- runs ---------------------------------------------------------------------------- */

/* Runs as they are read. A sweep tells their number only by being expanded, so the tables grow. */
struct run_list {
    struct loader *loader;
    uint32_t capacity;
    uint32_t *name_slots; /* open hash of names: run index + 1; four slots a run */
    uint32_t *lines;      /* by run */
    uint32_t team_count;
    const char *teams[TENANTS_MAX];
};

/* The slot where the name stands, or would stand. */
static uint32_t *name_slot(const struct run_list *list, const char *name)
{
    uint32_t mask = 4 * list->capacity - 1;
    uint64_t hash = 0;
    for (const char *c = name; *c; c++)
        hash = hash_mix(hash, (uint8_t)*c);
    uint32_t at = (uint32_t)hash & mask;
    while (list->name_slots[at] != 0 &&
           strcmp(list->loader->campaign->runs[list->name_slots[at] - 1].name, name) != 0)
        at = (at + 1) & mask;
    return &list->name_slots[at];
}

static void grow(struct run_list *list)
{
    struct campaign *campaign = list->loader->campaign;
    struct arena *arena = &campaign->arena;
    uint32_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
    struct run_spec *runs = (struct run_spec *)arena_array(arena, capacity, sizeof *runs);
    struct launch *launches = (struct launch *)arena_array(arena, capacity, sizeof *launches);
    uint32_t *lines = (uint32_t *)arena_array(arena, capacity, sizeof *lines);
    if (campaign->run_count > 0) {
        memcpy(runs, campaign->runs, campaign->run_count * sizeof *runs);
        memcpy(launches, campaign->launches, campaign->run_count * sizeof *launches);
        memcpy(lines, list->lines, campaign->run_count * sizeof *lines);
    }
    campaign->runs = runs;
    campaign->launches = launches;
    list->lines = lines;
    list->capacity = capacity;
    list->name_slots =
        (uint32_t *)arena_array(arena, 4 * (size_t)capacity, sizeof *list->name_slots);
    for (uint32_t i = 0; i < campaign->run_count; i++)
        *name_slot(list, runs[i].name) = i + 1;
}

static enum err name_is_new(struct run_list *list, const struct run_spec *run, uint32_t line)
{
    uint32_t *slot = name_slot(list, run->name);
    if (*slot != 0)
        return reader_fail(&list->loader->reader, line, "name",
                           "two runs are called `%s`, the first on line %u; rename one",
                           run->name, list->lines[*slot - 1]);
    *slot = list->loader->campaign->run_count + 1;
    return ERR_OK;
}

static enum err team_has_room(struct run_list *list, const struct run_spec *run, uint32_t line)
{
    for (uint32_t i = 0; i < list->team_count; i++)
        if (strcmp(list->teams[i], run->tenant) == 0) return ERR_OK;
    if (list->team_count == TENANTS_MAX)
        return reader_fail(&list->loader->reader, line, "team",
                           "the campaign has more than %d teams; merge some", TENANTS_MAX);
    list->teams[list->team_count++] =
        arena_copy(list->loader->reader.arena, text_of(run->tenant));
    return ERR_OK;
}

static enum err take_run(void *context, const struct entry *entry)
{
    struct run_list *list = (struct run_list *)context;
    struct campaign *campaign = list->loader->campaign;
    if (campaign->run_count == list->capacity) grow(list);
    struct run_spec *run = &campaign->runs[campaign->run_count];
    struct launch *launch = &campaign->launches[campaign->run_count];
    enum err rc = run_read(list->loader, entry, run, launch);
    if (rc == ERR_OK) rc = name_is_new(list, run, entry->line);
    if (rc == ERR_OK) rc = team_has_room(list, run, entry->line);
    if (rc != ERR_OK) return rc;
    list->lines[campaign->run_count++] = entry->line;
    return ERR_OK;
}

static enum err runs_read(struct loader *loader, const struct top *top)
{
    struct run_list list = { .loader = loader };
    enum err rc =
        runs_expand(&loader->reader, top->defaults, top->runs, top->sweep, take_run, &list);
    if (rc != ERR_OK) return rc;
    if (loader->campaign->run_count > 0) return ERR_OK;
    return reader_fail(&loader->reader, top->runs ? top->runs->line : 1, "runs",
                       "the campaign has no runs; add `runs:` or a `sweep:`");
}

/* ---- all of it ----------------------------------------------------------------------- */

/* In the order in which later parts refer to earlier ones. */
static enum err read_all(struct loader *loader, const struct node *root)
{
    struct campaign_spec *spec = &loader->campaign->spec;
    struct top top = { .runbook_defaults = true };
    struct entry whole = { .line = 1, .value = root };
    enum err rc = currency_read(loader, root);
    if (rc == ERR_OK) rc = fields_read(&loader->reader, &top_fields, &whole, &top);
    if (rc != ERR_OK) return rc;
    check(text_copy(spec->name, sizeof spec->name, text_of(top.name)));
    spec->budget_micros = top.budget_micros;
    rc = owners_read(loader, top.owners);
    if (rc == ERR_OK) rc = tiers_read(loader, top.tiers, tree_find(root, "budget")->line);
    if (rc == ERR_OK) rc = prices_read(loader, top.prices);
    if (rc == ERR_OK) rc = devices_read(loader, top.devices);
    if (rc == ERR_OK) rc = placement_read(loader, top.placement);
    if (rc == ERR_OK) rc = timing_read(loader, top.timing);
    if (rc == ERR_OK) rc = guards_read(loader, top.guardrails);
    if (rc == ERR_OK) rc = gates_read(loader, top.gates);
    if (rc == ERR_OK) rc = runbook_read(loader, top.runbook, top.runbook_defaults);
    if (rc == ERR_OK) rc = runs_read(loader, &top);
    return rc;
}

enum err campaign_parse(const struct source *source, struct campaign *campaign,
                        struct error *error)
{
    struct loader loader = { .directory = source->folder,
                             .trainer = source->trainer,
                             .campaign = campaign };
    loader.reader = (struct reader){
        .arena = &campaign->arena, .file = source->file, .currency = "", .error = error
    };
    const struct node *root = NULL;
    enum err rc = tree_parse(&campaign->arena, source->file, source->text, &root, error);
    if (rc == ERR_OK) rc = read_all(&loader, root);
    if (rc != ERR_OK) return rc;
    campaign->spec.file_text = source->text;
    campaign->spec.file_hash = sha256_of2(source->text, TEXT(""));
    return ERR_OK;
}

enum err campaign_load(const char *path, const char *trainer, struct campaign *campaign,
                       struct error *error)
{
    memset(campaign, 0, sizeof *campaign);
    struct source source = { .file = path,
                             .trainer = arena_copy(&campaign->arena, text_of(trainer)) };
    enum err rc = file_text(&campaign->arena, path, &source.text, error);
    if (rc == ERR_OK) rc = folder_of(&campaign->arena, path, &source.folder, error);
    if (rc == ERR_OK) rc = campaign_parse(&source, campaign, error);
    if (rc != ERR_OK) campaign_fini(campaign);
    return rc;
}

void campaign_fini(struct campaign *campaign)
{
    if (!campaign) return;
    arena_fini(&campaign->arena);
    memset(campaign, 0, sizeof *campaign);
}
