/* history.c - the durable records of a simulated coordinator. See history.h. */

#include "scheduler/sim/history.h"

#include "scheduler/ledger/record.h"

#include <stdlib.h>
#include <string.h>

void history_fini(struct history *history)
{
    free(history->bytes);
    free(history->ends);
    record_codec_destroy(history->codec);
    *history = (struct history){ 0 };
}

static struct record_codec *codec_of(struct history *history)
{
    if (!history->codec) history->codec = record_codec_create();
    check(history->codec != NULL);
    return history->codec;
}

void history_add(struct history *history, const struct record *record)
{
    struct text payload;
    struct error error;
    if (record->kind == RECORD_EPOCH) history->epoch = record->as.epoch.epoch;
    enum err rc = record_encode(codec_of(history), record, history->count + 1, history->epoch,
                                &payload, &error);
    check(rc == ERR_OK);
    if (history->len + payload.len > history->capacity) {
        history->capacity = 2 * history->capacity + payload.len + 65536;
        history->bytes = (uint8_t *)realloc(history->bytes, history->capacity);
        check(history->bytes != NULL);
    }
    if (history->count == history->ends_capacity) {
        history->ends_capacity = 2 * history->ends_capacity + 1024;
        history->ends =
            (size_t *)realloc(history->ends, history->ends_capacity * sizeof *history->ends);
        check(history->ends != NULL);
    }
    memcpy(history->bytes + history->len, payload.data, payload.len);
    history->len += payload.len;
    history->ends[history->count++] = history->len;
}

void history_cut(struct history *history, size_t n)
{
    check(n <= history->count);
    history->count = n;
    history->len = n > 0 ? history->ends[n - 1] : 0;
}

enum err history_each(struct history *history, history_visit_fn visit, void *context,
                      struct error *error)
{
    size_t from = 0;
    for (size_t i = 0; i < history->count; i++) {
        struct text payload = { (const char *)history->bytes + from, history->ends[i] - from };
        struct record record;
        struct envelope envelope;
        enum err rc = record_decode(codec_of(history), payload, &record, &envelope, error);
        if (rc == ERR_OK) rc = visit(context, &record, error);
        if (rc != ERR_OK) return error_prefix(error, rc, "record %zu", i + 1);
        from = history->ends[i];
    }
    return ERR_OK;
}

static enum err apply(void *context, const struct record *record, struct error *error)
{
    return core_apply((struct core *)context, record, error);
}

enum err history_replay(struct history *history, struct core *core, struct error *error)
{
    return history_each(history, apply, core, error);
}
