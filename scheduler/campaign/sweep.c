#include "scheduler/campaign/sweep.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "scheduler/campaign/internal.h"
#include "scheduler/campaign/units.h"

enum { GRID_KEYS_MAX = 8 };

/* ---- merging ------------------------------------------------------------------------- */

static bool is_map(const struct node *node)
{
    return node->kind == NODE_MAP;
}

/* Maps that are merged key by key; every other key is replaced as a whole. */
static bool merges(struct text key)
{
    return text_is(key, "model") || text_is(key, "train") || text_is(key, "env");
}

/* `over` on top of `under`, one level of nested maps deep. */
static const struct node *merge(struct arena *arena, const struct node *under,
                                const struct node *over, bool nested)
{
    struct node *merged = tree_map(arena, over->line);
    for (const struct entry *e = under->first; e; e = e->next) {
        const struct entry *mine = tree_find(over, e->key.data);
        if (!mine)
            tree_add(arena, merged, e->key, e->line, e->value);
        else if (nested && merges(e->key) && is_map(e->value) && is_map(mine->value))
            tree_add(arena, merged, e->key, mine->line,
                     merge(arena, e->value, mine->value, false));
        else
            tree_add(arena, merged, e->key, mine->line, mine->value);
    }
    for (const struct entry *e = over->first; e; e = e->next)
        if (!tree_find(under, e->key.data)) tree_add(arena, merged, e->key, e->line, e->value);
    return merged;
}

static bool has_any(const struct node *map, const char *const *keys, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (tree_find(map, keys[i])) return true;
    return false;
}

static const struct node *without(struct arena *arena, const struct node *map,
                                  const char *const *keys, size_t count)
{
    struct node *rest = tree_map(arena, map->line);
    for (const struct entry *e = map->first; e; e = e->next) {
        bool dropped = false;
        for (size_t i = 0; i < count; i++)
            if (text_is(e->key, keys[i])) dropped = true;
        if (!dropped) tree_add(arena, rest, e->key, e->line, e->value);
    }
    return rest;
}

/* The defaults that a run takes: one that has its own command takes nothing for the built-in
 * trainer, and one that configures the built-in trainer takes no command. */
static const struct node *defaults_for(struct arena *arena, const struct entry *defaults,
                                       const struct node *run)
{
    static const char *const builtin_keys[] = { "model", "train", "data" };
    static const char *const command_keys[] = { "command" };
    if (!defaults) return tree_map(arena, run->line);
    if (has_any(run, command_keys, ARRAY_COUNT(command_keys)))
        return without(arena, defaults->value, builtin_keys, ARRAY_COUNT(builtin_keys));
    if (has_any(run, builtin_keys, ARRAY_COUNT(builtin_keys)))
        return without(arena, defaults->value, command_keys, ARRAY_COUNT(command_keys));
    return defaults->value;
}

/* ---- grids --------------------------------------------------------------------------- */

struct grid_key {
    const char *path;         /* "train.lr" */
    struct text outer, inner; /* "train", "lr"; inner is empty for a plain key */
    uint32_t line;
    const struct node *values; /* a list of scalars */
    uint32_t count;
    const struct entry *now; /* the value of this combination */
};

struct grid {
    const struct reader *reader;
    struct grid_key keys[GRID_KEYS_MAX];
    uint32_t key_count;
    uint64_t run_count;
    const struct entry *name; /* the pattern */
};

static enum err grid_key_read(struct grid *grid, const struct entry *entry)
{
    static const char *const plain[] = {
        "ranks", "class",     "budget", "priority", "team",
        "owner", "guardrail", "steps",  "data",     "threads"
    };
    struct grid_key *key = &grid->keys[grid->key_count++];
    size_t point = text_find(entry->key, TEXT("."));
    *key =
        (struct grid_key){ .path = entry->key.data, .outer = entry->key, .line = entry->line };
    if (point != SIZE_MAX) {
        key->outer.len = point;
        key->inner = (struct text){ entry->key.data + point + 1, entry->key.len - point - 1 };
    }
    bool known = point != SIZE_MAX && key->inner.len > 0 && merges(key->outer);
    for (size_t i = 0; i < ARRAY_COUNT(plain) && point == SIZE_MAX; i++)
        if (text_is(entry->key, plain[i])) known = true;
    if (!known)
        return reader_fail(
            grid->reader, entry->line, "sweep.grid",
            "`%s` cannot be swept; take model.KEY, train.KEY, env.KEY, or a plain "
            "key of a run such as steps",
            key->path);
    enum err rc = expect_kind(grid->reader, key->path, entry, NODE_LIST);
    if (rc != ERR_OK) return rc;
    if (entry->value->count == 0)
        return reader_fail(grid->reader, entry->line, key->path,
                           "is empty; list the values to try");
    for (const struct entry *v = entry->value->first; v; v = v->next)
        if ((rc = expect_kind(grid->reader, key->path, v, NODE_SCALAR)) != ERR_OK) return rc;
    key->values = entry->value;
    key->count = entry->value->count;
    key->now = entry->value->first;
    return ERR_OK;
}

static enum err too_many_runs(const struct reader *reader, uint32_t line, const char *key)
{
    return reader_fail(reader, line, key,
                       "the campaign has more than %d runs; split it into several",
                       CAMPAIGN_RUNS_MAX);
}

static enum err grid_read(struct grid *grid, const struct entry *sweep)
{
    const struct reader *reader = grid->reader;
    enum err rc = expect_kind(reader, "sweep", sweep, NODE_MAP);
    if (rc != ERR_OK) return rc;
    const struct entry *entry = tree_find(sweep->value, "grid");
    grid->name = tree_find(sweep->value, "name");
    if (!entry)
        return reader_fail(reader, sweep->line, "sweep.grid",
                           "is missing; add it here, as {train.lr: [1e-3, 3e-3]}");
    if (!grid->name)
        return reader_fail(reader, sweep->line, "sweep.name",
                           "is missing; add a pattern here, as \"lr{train.lr}\"");
    if ((rc = expect_kind(reader, "sweep.name", grid->name, NODE_SCALAR)) != ERR_OK) return rc;
    if ((rc = expect_kind(reader, "sweep.grid", entry, NODE_MAP)) != ERR_OK) return rc;
    if (entry->value->count == 0 || entry->value->count > GRID_KEYS_MAX)
        return reader_fail(reader, entry->line, "sweep.grid", "takes 1 to %d keys",
                           GRID_KEYS_MAX);
    grid->run_count = 1;
    for (const struct entry *key = entry->value->first; key; key = key->next) {
        if ((rc = grid_key_read(grid, key)) != ERR_OK) return rc;
        grid->run_count *= grid->keys[grid->key_count - 1].count;
        if (grid->run_count > CAMPAIGN_RUNS_MAX)
            return too_many_runs(reader, entry->line, "sweep.grid");
    }
    return ERR_OK;
}

/* Fills the pattern: {train.lr} becomes this combination's value. */
static enum err name_fill(const struct grid *grid, uint32_t *used, struct writer *name)
{
    const struct reader *reader = grid->reader;
    struct text rest = grid->name->value->text;
    while (rest.len > 0) {
        size_t open = text_find(rest, TEXT("{"));
        if (open == SIZE_MAX) open = rest.len;
        writer_text(name, (struct text){ rest.data, open });
        rest = (struct text){ rest.data + open, rest.len - open };
        if (rest.len == 0) break;
        size_t close = text_find(rest, TEXT("}"));
        if (close == SIZE_MAX)
            return reader_fail(
                reader, grid->name->line, "sweep.name",
                "has a { without its }; write {train.lr} for a value of the grid");
        struct text path = { rest.data + 1, close - 1 };
        uint32_t k = 0;
        while (k < grid->key_count && !text_is(path, grid->keys[k].path))
            k++;
        if (k == grid->key_count)
            return reader_fail(reader, grid->name->line, "sweep.name",
                               "{%.*s} is not a key of the grid; name only keys of the grid",
                               (int)(path.len < 60 ? path.len : 60), path.data);
        *used |= UINT32_C(1) << k;
        writer_text(name, grid->keys[k].now->value->text);
        rest = (struct text){ rest.data + close + 1, rest.len - close - 1 };
    }
    return ERR_OK;
}

static enum err combination_name(const struct grid *grid, const struct node **node)
{
    const struct reader *reader = grid->reader;
    char buffer[4 * NAME_MAX_BYTES];
    struct writer name = writer_of(buffer, sizeof buffer);
    uint32_t used = 0;
    enum err rc = name_fill(grid, &used, &name);
    if (rc != ERR_OK) return rc;
    for (uint32_t k = 0; k < grid->key_count; k++)
        if (grid->keys[k].count > 1 && (used & UINT32_C(1) << k) == 0)
            return reader_fail(reader, grid->name->line, "sweep.name",
                               "does not name {%s}, so several runs would share a name; add it",
                               grid->keys[k].path);
    struct text text = { arena_copy(reader->arena, (struct text){ name.data, name.len }),
                         name.len };
    struct node *scalar = tree_map(reader->arena, grid->name->line);
    scalar->kind = NODE_SCALAR;
    scalar->text = text;
    *node = scalar;
    return ERR_OK;
}

/* {outer: {inner: value}}, or {outer: value}. */
static const struct node *one_value(struct arena *arena, const struct grid_key *key)
{
    check(key->now != NULL);
    struct node *map = tree_map(arena, key->line);
    struct text outer = { arena_copy(arena, key->outer), key->outer.len };
    if (key->inner.len == 0) {
        tree_add(arena, map, outer, key->now->line, key->now->value);
        return map;
    }
    struct node *inner = tree_map(arena, key->line);
    tree_add(arena, inner, key->inner, key->now->line, key->now->value);
    tree_add(arena, map, outer, key->line, inner);
    return map;
}

/* This combination's values as a map of run keys. */
static enum err combination_map(const struct grid *grid, const struct node **map)
{
    struct arena *arena = grid->reader->arena;
    const struct node *name = NULL;
    struct node *named = tree_map(arena, grid->name->line);
    enum err rc = combination_name(grid, &name);
    if (rc != ERR_OK) return rc;
    tree_add(arena, named, TEXT("name"), grid->name->line, name);
    *map = named;
    for (uint32_t k = 0; k < grid->key_count; k++)
        *map = merge(arena, *map, one_value(arena, &grid->keys[k]), true);
    return ERR_OK;
}

/* The next combination; false after the last. */
static bool advance(struct grid *grid)
{
    for (uint32_t k = grid->key_count; k-- > 0;) {
        grid->keys[k].now = grid->keys[k].now->next;
        if (grid->keys[k].now) return true;
        grid->keys[k].now = grid->keys[k].values->first;
    }
    return false;
}

/* ---- the runs of a file -------------------------------------------------------------- */

struct expansion {
    const struct reader *reader;
    const struct entry *defaults;
    run_fn take;
    void *context;
    uint32_t count;
};

static enum err give(struct expansion *expansion, const struct node *own, uint32_t line)
{
    struct arena *arena = expansion->reader->arena;
    if (expansion->count++ == CAMPAIGN_RUNS_MAX)
        return too_many_runs(expansion->reader, line, "runs");
    const struct node *under = defaults_for(arena, expansion->defaults, own);
    struct entry entry = { .key = TEXT("runs"),
                           .line = line,
                           .value = merge(arena, under, own, true) };
    return expansion->take(expansion->context, &entry);
}

static enum err sweep_expand(struct expansion *expansion, const struct entry *sweep)
{
    static const char *const own_keys[] = { "name", "grid" };
    struct arena *arena = expansion->reader->arena;
    struct grid grid = { .reader = expansion->reader };
    enum err rc = grid_read(&grid, sweep);
    if (rc != ERR_OK) return rc;
    const struct node *common = without(arena, sweep->value, own_keys, ARRAY_COUNT(own_keys));
    do {
        const struct node *values = NULL;
        if ((rc = combination_map(&grid, &values)) != ERR_OK) return rc;
        rc = give(expansion, merge(arena, common, values, true), sweep->line);
        if (rc != ERR_OK) return rc;
    } while (advance(&grid));
    return ERR_OK;
}

static enum err listed_expand(struct expansion *expansion, const struct entry *runs)
{
    enum err rc = expect_kind(expansion->reader, "runs", runs, NODE_LIST);
    if (rc != ERR_OK) return rc;
    for (const struct entry *item = runs->value->first; item; item = item->next) {
        if ((rc = expect_kind(expansion->reader, "runs", item, NODE_MAP)) != ERR_OK) return rc;
        if ((rc = give(expansion, item->value, item->line)) != ERR_OK) return rc;
    }
    return ERR_OK;
}

enum err runs_expand(const struct reader *reader, const struct entry *defaults,
                     const struct entry *runs, const struct entry *sweep, run_fn take,
                     void *context)
{
    struct expansion expansion = {
        .reader = reader, .defaults = defaults, .take = take, .context = context
    };
    enum err rc = ERR_OK;
    if (defaults) {
        if ((rc = expect_kind(reader, "defaults", defaults, NODE_MAP)) != ERR_OK) return rc;
        const struct entry *name = tree_find(defaults->value, "name");
        if (name)
            return reader_fail(reader, name->line, "defaults.name",
                               "each run needs a name of its own; take this one out");
    }
    if (runs && (rc = listed_expand(&expansion, runs)) != ERR_OK) return rc;
    if (!sweep) return ERR_OK;
    if (sweep->value->kind != NODE_LIST) return sweep_expand(&expansion, sweep);
    for (const struct entry *item = sweep->value->first; item; item = item->next)
        if ((rc = sweep_expand(&expansion, item)) != ERR_OK) return rc;
    return ERR_OK;
}

void sweep_each_key(key_fn take, void *context)
{
    take(context, "grid");
}
