#include "scheduler/campaign/tree.h"

#include <string.h>
#include <yaml.h>

/* The state of one parse. `open` are the lists and maps around the current place; in a map,
 * `key` is set between a key and its value. */
struct parse {
    struct arena *arena;
    const char *file;
    struct error *error;
    struct node *open[TREE_DEPTH_MAX];
    struct text key[TREE_DEPTH_MAX];
    uint32_t key_line[TREE_DEPTH_MAX];
    bool has_key[TREE_DEPTH_MAX];
    uint32_t depth, nodes;
    struct node *root;
    bool done;
    struct text yaml;
};

const char *node_kind_name(enum node_kind kind)
{
    switch (kind) {
    case NODE_SCALAR: return "a single value";
    case NODE_LIST: return "a list";
    case NODE_MAP: return "a map";
    }
    unreachable("node kind");
}

struct entry *tree_find(const struct node *map, const char *key)
{
    for (struct entry *entry = map->first; entry; entry = entry->next)
        if (text_is(entry->key, key)) return entry;
    return NULL;
}

struct node *tree_map(struct arena *arena, uint32_t line)
{
    struct node *node = (struct node *)arena_alloc(arena, sizeof *node);
    node->kind = NODE_MAP;
    node->line = line;
    return node;
}

void tree_add(struct arena *arena, struct node *to, struct text key, uint32_t line,
              const struct node *value)
{
    struct entry *entry = (struct entry *)arena_alloc(arena, sizeof *entry);
    *entry = (struct entry){ .key = key, .line = line, .value = value };
    if (to->last)
        to->last->next = entry;
    else
        to->first = entry;
    to->last = entry;
    to->count++;
}

void error_flatten(struct error *error)
{
    if (!error) return;
    for (char *c = error->text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F) *c = '?';
}

static uint32_t line_of(yaml_mark_t mark)
{
    return mark.line < UINT32_MAX ? (uint32_t)mark.line + 1 : UINT32_MAX;
}

static enum err refuse(struct parse *parse, uint32_t line, const char *what)
{
    return error_set(parse->error, ERR_INPUT, "%s:%u: %s", parse->file, line, what);
}

/* Hangs a finished node into the map or list that is open, or makes it the root. */
static enum err place(struct parse *parse, struct node *node)
{
    if (++parse->nodes > TREE_NODES_MAX)
        return refuse(parse, node->line, "the file holds too many values; split the campaign");
    if (parse->depth == 0) {
        parse->root = node;
        return ERR_OK;
    }
    uint32_t top = parse->depth - 1;
    struct node *open = parse->open[top];
    if (open->kind == NODE_LIST) {
        tree_add(parse->arena, open, (struct text){ "", 0 }, node->line, node);
        return ERR_OK;
    }
    check(parse->has_key[top]);
    tree_add(parse->arena, open, parse->key[top], parse->key_line[top], node);
    parse->has_key[top] = false;
    return ERR_OK;
}

static bool expects_key(const struct parse *parse)
{
    return parse->depth > 0 && parse->open[parse->depth - 1]->kind == NODE_MAP &&
           !parse->has_key[parse->depth - 1];
}

/* A map of many keys is searched once per key: quadratic, and bounded by the number of nodes of
 * a file of limited size whose maps are small unless somebody means harm. */
enum { MAP_KEYS_MAX = 500 };

static enum err take_key(struct parse *parse, struct text key, uint32_t line)
{
    uint32_t top = parse->depth - 1;
    struct node *open = parse->open[top];
    if (key.len == 0 || key.len > TREE_KEY_BYTES_MAX)
        return refuse(parse, line, "a key is empty or too long; keys are short words");
    if (open->count >= MAP_KEYS_MAX)
        return refuse(parse, line, "too many keys in one map; at most 500 are read");
    const struct entry *first = tree_find(open, key.data);
    if (first) {
        enum err rc = error_set(parse->error, ERR_INPUT,
                                "%s:%u: %s: given twice, first on line %u; keep one of them",
                                parse->file, line, key.data, first->line);
        error_flatten(parse->error);
        return rc;
    }
    parse->key[top] = key;
    parse->key_line[top] = line;
    parse->has_key[top] = true;
    return ERR_OK;
}

static enum err on_scalar(struct parse *parse, const yaml_event_t *event)
{
    uint32_t line = line_of(event->start_mark);
    const char *bytes = (const char *)event->data.scalar.value;
    struct text raw = { bytes, event->data.scalar.length };
    if (event->data.scalar.anchor)
        return refuse(parse, line,
                      "anchors (&name) are not read; put common keys under `defaults:`");
    if (event->data.scalar.tag)
        return refuse(parse, line, "tags (!name) are not read; write the plain value");
    if (raw.len > 0 && memchr(raw.data, 0, raw.len))
        return refuse(parse, line, "a zero byte inside a value; take it out");
    struct text text = { arena_copy(parse->arena, raw), raw.len };
    if (expects_key(parse)) return take_key(parse, text, line);
    struct node *node = (struct node *)arena_alloc(parse->arena, sizeof *node);
    *node = (struct node){ .kind = NODE_SCALAR,
                           .line = line,
                           .text = text,
                           .quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE };
    return place(parse, node);
}

static enum err on_open(struct parse *parse, enum node_kind kind, const yaml_event_t *event)
{
    bool list = kind == NODE_LIST;
    const yaml_char_t *anchor =
        list ? event->data.sequence_start.anchor : event->data.mapping_start.anchor;
    const yaml_char_t *tag =
        list ? event->data.sequence_start.tag : event->data.mapping_start.tag;
    uint32_t line = line_of(event->start_mark);
    if (anchor)
        return refuse(parse, line,
                      "anchors (&name) are not read; put common keys under `defaults:`");
    if (tag) return refuse(parse, line, "tags (!name) are not read; write the plain value");
    if (expects_key(parse))
        return refuse(parse, line, "a list or map cannot be a key; keys are single words");
    if (parse->depth == TREE_DEPTH_MAX)
        return refuse(parse, line, "nested too deeply; no key needs more than a few levels");
    struct node *node = tree_map(parse->arena, line);
    node->kind = kind;
    enum err rc = place(parse, node);
    if (rc != ERR_OK) return rc;
    parse->open[parse->depth] = node;
    parse->has_key[parse->depth] = false;
    parse->depth++;
    return ERR_OK;
}

static enum err on_event(struct parse *parse, const yaml_event_t *event)
{
    uint32_t line = line_of(event->start_mark);
    switch (event->type) {
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT: return ERR_OK;
    case YAML_STREAM_END_EVENT: parse->done = true; return ERR_OK;
    case YAML_DOCUMENT_START_EVENT:
        if (parse->root)
            return refuse(parse, line, "a second document (---); a file holds one campaign");
        return ERR_OK;
    case YAML_ALIAS_EVENT:
        return refuse(parse, line,
                      "aliases (*name) are not read; put common keys under `defaults:`");
    case YAML_SCALAR_EVENT: return on_scalar(parse, event);
    case YAML_SEQUENCE_START_EVENT: return on_open(parse, NODE_LIST, event);
    case YAML_MAPPING_START_EVENT: return on_open(parse, NODE_MAP, event);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        check(parse->depth > 0);
        parse->depth--;
        return ERR_OK;
    }
    unreachable("YAML event");
}

/* libyaml reads ahead, so for bad bytes it knows the place in the file but not the line. */
static uint32_t line_at(struct text yaml, size_t offset)
{
    uint32_t line = 1;
    for (size_t i = 0; i < offset && i < yaml.len; i++)
        if (yaml.data[i] == '\n') line++;
    return line;
}

static enum err syntax_error(struct parse *parse, const yaml_parser_t *parser)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return error_set(parse->error, ERR_NO_MEMORY, "%s: out of memory", parse->file);
    const char *what = parser->problem ? parser->problem : "cannot be read";
    if (parser->error == YAML_READER_ERROR)
        return error_set(
            parse->error, ERR_INPUT,
            "%s:%u: not plain text (%s); save it as UTF-8 without control characters",
            parse->file, line_at(parse->yaml, parser->problem_offset), what);
    return error_set(parse->error, ERR_INPUT,
                     "%s:%u: not valid YAML: %s%s%s; check indentation, colons and quotes here",
                     parse->file, line_of(parser->problem_mark), what,
                     parser->context ? " " : "", parser->context ? parser->context : "");
}

enum err tree_parse(struct arena *arena, const char *file, struct text yaml,
                    const struct node **root, struct error *error)
{
    struct parse parse = { .arena = arena, .file = file, .error = error, .yaml = yaml };
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return error_set(error, ERR_NO_MEMORY, "%s: out of memory", file);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)yaml.data, yaml.len);
    enum err rc = ERR_OK;
    while (rc == ERR_OK && !parse.done) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            rc = syntax_error(&parse, &parser);
            break;
        }
        rc = on_event(&parse, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    if (rc != ERR_OK) return rc;
    if (!parse.root) return refuse(&parse, 1, "the file is empty; start with `campaign: NAME`");
    if (parse.root->kind != NODE_MAP)
        return refuse(&parse, parse.root->line,
                      "the file must be a map of keys; start with `campaign: NAME`");
    *root = parse.root;
    return ERR_OK;
}
