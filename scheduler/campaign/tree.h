/*
 * tree.h - a YAML file as a tree of scalars, lists and maps, each with the line that it stands
 * on.
 *
 * Only the plain part of YAML is read: one document, no anchors, aliases, tags or complex keys,
 * at most TREE_DEPTH_MAX levels and TREE_NODES_MAX nodes; so a small file cannot become a large
 * tree. Within a map each key stands once. Scalars are text; what they mean is for the reader
 * to say.
 */
#ifndef SCHEDULER_CAMPAIGN_TREE_H
#define SCHEDULER_CAMPAIGN_TREE_H

#include "proto/base/arena.h"
#include "proto/base/error.h"

enum { TREE_DEPTH_MAX = 12, TREE_NODES_MAX = 200000, TREE_KEY_BYTES_MAX = 128 };

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct entry;

struct node {
    enum node_kind kind;
    uint32_t line;    /* from 1 */
    struct text text; /* SCALAR: without zero bytes, zero-terminated */
    bool quoted;      /* SCALAR: was written in quotes or as a block */
    uint32_t count;   /* LIST, MAP */
    struct entry *first, *last;
};

struct entry {
    struct entry *next;
    struct text key; /* MAP */
    uint32_t line;   /* of the key, or of the list's item */
    const struct node *value;
};

/* Parses `yaml` into *root, a map. `file` is the name put before errors, "FILE:LINE: ...". What
 * it gives lives in the arena. */
must_use enum err tree_parse(struct arena *arena, const char *file, struct text yaml,
                             const struct node **root, struct error *error);

/* The value of a key, or NULL. */
struct entry *tree_find(const struct node *map, const char *key);

/* A new, empty map; and one more entry at the end of a map or list. */
struct node *tree_map(struct arena *arena, uint32_t line);
void tree_add(struct arena *arena, struct node *to, struct text key, uint32_t line,
              const struct node *value);

/* Makes one printable line of an error's text, whatever the file held. */
void error_flatten(struct error *error);

/* "a map", "a list", "a single value": for messages. */
const char *node_kind_name(enum node_kind kind);

#endif
