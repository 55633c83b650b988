/* owners.c - who decides: names, roles, public keys, deadlines, and what applies after them. */

#include <string.h>

#include "proto/base/sshsig.h"
#include "scheduler/campaign/internal.h"
#include "scheduler/campaign/units.h"

#define DAY_NS (24 * NS_PER_HOUR)

/* ---- finding one --------------------------------------------------------------------- */

/* By name, or by a role: whoever has it. */
enum err owner_lookup(const struct loader *loader, const char *key, const struct entry *entry,
                      uint32_t *index)
{
    const struct campaign_spec *spec = &loader->campaign->spec;
    const struct node *node = entry->value;
    for (uint32_t i = 0; node && node->kind == NODE_SCALAR && i < spec->owner_count; i++)
        if (text_is(node->text, spec->owners[i].name)) {
            *index = i;
            return ERR_OK;
        }
    for (uint32_t i = 0; node && node->kind == NODE_SCALAR && i < spec->owner_count; i++)
        if (spec->owners[i].role[0] && text_is(node->text, spec->owners[i].role)) {
            *index = i;
            return ERR_OK;
        }
    return name_lookup(&loader->reader, key, entry, "owners:", spec->owners[0].name,
                       spec->owner_count, sizeof spec->owners[0], index);
}

uint32_t owner_of_role(const struct campaign_spec *spec, const char *role)
{
    for (uint32_t i = 0; i < spec->owner_count; i++)
        if (strcmp(spec->owners[i].role, role) == 0) return i;
    return 0;
}

/* ---- the table ----------------------------------------------------------------------- */

struct owner_read {
    char name[NAME_MAX_BYTES];
    struct entry *role, *keys, *delegate, *otherwise;
    int64_t answer_within_ns;
};

static const struct field owner_rows[] = {
    { .key = "name", FIELD_NAME, offsetof(struct owner_read, name), .required = true },
    { .key = "role", FIELD_ENTRY, offsetof(struct owner_read, role) },
    { .key = "keys", FIELD_ENTRY, offsetof(struct owner_read, keys) },
    { .key = "answer_within",
      FIELD_DURATION,
      offsetof(struct owner_read, answer_within_ns),
      NS_PER_S,
      365 * DAY_NS,
      .never = true },
    { .key = "delegate", FIELD_ENTRY, offsetof(struct owner_read, delegate) },
    { .key = "otherwise", FIELD_ENTRY, offsetof(struct owner_read, otherwise) },
};
static const struct fields owner_fields = { "owners.", owner_rows, ARRAY_COUNT(owner_rows) };
static const struct field owner_rows_written[] = {
    { .key = "answer_within", FIELD_DURATION, 0, NS_PER_S, 365 * DAY_NS, .never = true },
};
static const struct fields owner_fields_written = { "owners.", owner_rows_written,
                                                    ARRAY_COUNT(owner_rows_written) };
static const char *const owner_roles[] = { "research", "spend", "data", "evaluation" };

static enum err role_read(const struct loader *loader, const struct entry *entry,
                          struct owner_spec *owner)
{
    const struct campaign_spec *spec = &loader->campaign->spec;
    uint32_t role;
    if (!entry) return ERR_OK;
    enum err rc = word_read(&loader->reader, "owners.role", entry, owner_roles,
                            ARRAY_COUNT(owner_roles), &role);
    if (rc != ERR_OK) return rc;
    check(text_copy(owner->role, sizeof owner->role, text_of(owner_roles[role])));
    for (uint32_t i = 0; i < spec->owner_count; i++)
        if (strcmp(spec->owners[i].role, owner->role) == 0)
            return reader_fail(&loader->reader, entry->line, "owners.role",
                               "`%s` has this role already; every kind of decision has one "
                               "owner (name a `delegate` for the other)",
                               spec->owners[i].name);
    return ERR_OK;
}

static bool key_taken(const struct owner_spec *owner, const struct ssh_key *key)
{
    for (uint32_t k = 0; k < owner->key_count; k++)
        if (ssh_key_equal(&owner->keys[k], key)) return true;
    return false;
}

/* Lines of .pub files. A key that signs for two owners would make one of them the other. */
static enum err keys_read(const struct loader *loader, const struct entry *keys,
                          struct owner_spec *owner)
{
    const struct reader *reader = &loader->reader;
    const struct campaign_spec *spec = &loader->campaign->spec;
    if (!keys) return ERR_OK;
    enum err rc = expect_kind(reader, "owners.keys", keys, NODE_LIST);
    if (rc != ERR_OK) return rc;
    if (keys->value->count == 0)
        return reader_fail(reader, keys->line, "owners.keys", "is empty; take the key out");
    if (keys->value->count > OWNER_KEYS_MAX)
        return reader_fail(reader, keys->line, "owners.keys", "has more than %d keys",
                           OWNER_KEYS_MAX);
    for (const struct entry *item = keys->value->first; item; item = item->next) {
        struct ssh_key key;
        struct error error;
        rc = expect_kind(reader, "owners.keys", item, NODE_SCALAR);
        if (rc != ERR_OK) return rc;
        if (ssh_key_parse(item->value->text, &key, &error) != ERR_OK)
            return reader_fail(reader, item->line, "owners.keys", "%s", error.text);
        if (key_taken(owner, &key))
            return reader_fail(reader, item->line, "owners.keys", "a key stands twice");
        for (uint32_t i = 0; i < spec->owner_count; i++)
            if (key_taken(&spec->owners[i], &key))
                return reader_fail(reader, item->line, "owners.keys",
                                   "the key is also `%s`'s; each owner needs another",
                                   spec->owners[i].name);
        owner->keys[owner->key_count++] = key;
    }
    return ERR_OK;
}

/* How long an answer may take, and what then applies. */
static enum err terms_read(const struct loader *loader, const struct owner_read *read,
                           uint32_t line, struct owner_spec *owner)
{
    static const char *const words[] = { "wait", "go", "no-go" };
    uint32_t otherwise = OTHERWISE_WAIT;
    owner->delegate_index = NO_INDEX; /* known when all owners are: delegates_read */
    owner->answer_within_ns = read->answer_within_ns;
    enum err rc = ERR_OK;
    if (read->otherwise)
        rc = word_read(&loader->reader, "owners.otherwise", read->otherwise, words,
                       ARRAY_COUNT(words), &otherwise);
    owner->otherwise = (enum otherwise)otherwise;
    if (rc != ERR_OK || owner->answer_within_ns > 0) return rc;
    if (read->delegate || otherwise != OTHERWISE_WAIT)
        return reader_fail(
            &loader->reader, line, read->delegate ? "owners.delegate" : "owners.otherwise",
            "would never apply; say `answer_within` too, as `answer_within: 2d`");
    return ERR_OK;
}

static enum err delegates_read(struct loader *loader, const struct entry *owners)
{
    uint32_t index = 0;
    for (const struct entry *item = owners->value->first; item; item = item->next, index++) {
        const struct entry *entry = tree_find(item->value, "delegate");
        uint32_t *delegate = &loader->campaign->spec.owners[index].delegate_index;
        if (!entry) continue;
        enum err rc = owner_lookup(loader, "owners.delegate", entry, delegate);
        if (rc != ERR_OK) return rc;
        if (*delegate == index)
            return reader_fail(&loader->reader, entry->line, "owners.delegate",
                               "is the owner itself; name somebody else, or nobody");
    }
    return ERR_OK;
}

static enum err owner_read(struct loader *loader, const struct entry *item,
                           struct owner_spec *owner)
{
    struct owner_read read = { .name = "" };
    enum err rc = fields_read(&loader->reader, &owner_fields, item, &read);
    if (rc != ERR_OK) return rc;
    check(text_copy(owner->name, sizeof owner->name, text_of(read.name)));
    if (text_is(text_of(owner->name), "auto"))
        return reader_fail(&loader->reader, item->line, "owners.name",
                           "`auto` means that nobody is asked; choose another name");
    rc = role_read(loader, read.role, owner);
    if (rc == ERR_OK) rc = keys_read(loader, read.keys, owner);
    if (rc == ERR_OK) rc = terms_read(loader, &read, item->line, owner);
    return rc;
}

void owners_write(struct writer *writer, const struct campaign_spec *spec)
{
    writer_string(writer, "owners:\n");
    for (uint32_t i = 0; i < spec->owner_count; i++) {
        const struct owner_spec *owner = &spec->owners[i];
        writer_format(writer, "  - name: %s\n", owner->name);
        if (owner->role[0]) writer_format(writer, "    role: %s\n", owner->role);
        if (owner->key_count > 0) writer_string(writer, "    keys:\n");
        for (uint32_t k = 0; k < owner->key_count; k++) {
            writer_string(writer, "      - ");
            ssh_key_write(&owner->keys[k], writer);
            writer_string(writer, "\n");
        }
        fields_write(writer, &owner_fields_written, &owner->answer_within_ns, 4,
                     spec->currency);
        if (owner->delegate_index < spec->owner_count)
            writer_format(writer, "    delegate: %s\n",
                          spec->owners[owner->delegate_index].name);
        if (owner->answer_within_ns > 0)
            writer_format(writer, "    otherwise: %s\n", otherwise_name(owner->otherwise));
    }
}

enum err owners_read(struct loader *loader, const struct entry *owners)
{
    const struct reader *reader = &loader->reader;
    struct campaign_spec *spec = &loader->campaign->spec;
    if (!owners) { /* somebody must be there to be asked */
        spec->owner_count = 1;
        spec->owners[0].delegate_index = NO_INDEX;
        text_copy(spec->owners[0].name, sizeof spec->owners[0].name, TEXT("owner"));
        return ERR_OK;
    }
    enum err rc = expect_kind(reader, "owners", owners, NODE_LIST);
    if (rc != ERR_OK) return rc;
    if (owners->value->count == 0)
        return reader_fail(reader, owners->line, "owners", "is empty; name at least one owner");
    if (owners->value->count > OWNERS_MAX)
        return reader_fail(reader, owners->line, "owners", "has more than %d owners",
                           OWNERS_MAX);
    for (const struct entry *item = owners->value->first; item; item = item->next) {
        struct owner_spec *owner = &spec->owners[spec->owner_count];
        if ((rc = owner_read(loader, item, owner)) != ERR_OK) return rc;
        for (uint32_t i = 0; i < spec->owner_count; i++)
            if (strcmp(spec->owners[i].name, owner->name) == 0)
                return reader_fail(reader, item->line, "owners.name",
                                   "`%s` is named twice; keep one", owner->name);
        spec->owner_count++;
    }
    return delegates_read(loader, owners);
}

void owners_each_key(key_fn take, void *context)
{
    for (size_t i = 0; i < owner_fields.count; i++)
        take(context, owner_fields.rows[i].key);
}
