#include "proto/wire/link_memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct letter {
    uint32_t from;
    size_t n;
    uint8_t *bytes;
};

/* A ring of letters for one rank. */
struct mailbox {
    struct letter *letters;
    size_t head, count;
    bool cut, doubled;
    struct link_memory *office;
};

struct link_memory {
    pthread_mutex_t lock;
    uint32_t size;
    size_t queue_count;
    struct mailbox *boxes;
};

static enum err put(struct link_memory *office, uint32_t from, uint32_t to, const void *bytes,
                    size_t n, struct error *error)
{
    struct mailbox *box = &office->boxes[to];
    if (box->count == office->queue_count)
        return error_set(error, ERR_FULL, "the mailbox of rank %u is full", to);
    uint8_t *copy = malloc(n);
    if (!copy) return error_set(error, ERR_NO_MEMORY, "no memory for a message");
    memcpy(copy, bytes, n);
    size_t at = (box->head + box->count) % office->queue_count;
    box->letters[at] = (struct letter){ .from = from, .n = n, .bytes = copy };
    box->count++;
    return ERR_OK;
}

static enum err memory_send(void *context, uint32_t to, const void *bytes, size_t n,
                            struct error *error)
{
    struct mailbox *own = context;
    struct link_memory *office = own->office;
    uint32_t from = (uint32_t)(own - office->boxes);
    pthread_mutex_lock(&office->lock);
    enum err rc = ERR_OK;
    if (!own->cut && !office->boxes[to].cut) {
        rc = put(office, from, to, bytes, n, error);
        if (rc == ERR_OK && office->boxes[to].doubled)
            rc = put(office, from, to, bytes, n, error);
    }
    pthread_mutex_unlock(&office->lock);
    return rc;
}

static enum err memory_receive(void *context, uint32_t *from, void *buffer,
                               size_t capacity_bytes, size_t *n, struct error *error)
{
    struct mailbox *own = context;
    struct link_memory *office = own->office;
    pthread_mutex_lock(&office->lock);
    enum err rc = own->count == 0 ? ERR_NOT_FOUND : ERR_OK;
    if (rc == ERR_OK) {
        struct letter letter = own->letters[own->head];
        own->head = (own->head + 1) % office->queue_count;
        own->count--;
        if (letter.n > capacity_bytes) {
            rc = error_set(error, ERR_INPUT, "message of %zu bytes from rank %u is too long",
                           letter.n, letter.from);
        } else {
            memcpy(buffer, letter.bytes, letter.n);
            *from = letter.from;
            *n = letter.n;
        }
        free(letter.bytes);
    }
    pthread_mutex_unlock(&office->lock);
    return rc;
}

static enum err memory_poll(void *context, bool *arrived, struct error *error)
{
    struct mailbox *own = context;
    (void)error;
    pthread_mutex_lock(&own->office->lock);
    *arrived = own->count > 0;
    pthread_mutex_unlock(&own->office->lock);
    return ERR_OK;
}

static size_t memory_pending(const void *context)
{
    (void)context;
    return 0;
}

static const struct link_ops memory_ops = { .name = "memory",
                                            .send = memory_send,
                                            .receive = memory_receive,
                                            .poll = memory_poll,
                                            .pending = memory_pending };

enum err link_memory_create(struct link_memory **office, uint32_t size, size_t queue_count,
                            struct error *error)
{
    check(size >= 1);
    check(queue_count >= 1);
    struct link_memory *made = calloc(1, sizeof *made);
    if (!made) return error_set(error, ERR_NO_MEMORY, "no memory for links");
    pthread_mutex_init(&made->lock, NULL);
    made->size = size;
    made->queue_count = queue_count;
    made->boxes = calloc(size, sizeof *made->boxes);
    for (uint32_t i = 0; made->boxes && i < size; i++) {
        made->boxes[i].office = made;
        made->boxes[i].letters = calloc(queue_count, sizeof(struct letter));
        if (made->boxes[i].letters) continue;
        link_memory_destroy(made);
        return error_set(error, ERR_NO_MEMORY, "no memory for links");
    }
    if (!made->boxes) {
        link_memory_destroy(made);
        return error_set(error, ERR_NO_MEMORY, "no memory for links");
    }
    *office = made;
    return ERR_OK;
}

void link_memory_destroy(struct link_memory *office)
{
    if (!office) return;
    for (uint32_t i = 0; office->boxes && i < office->size; i++) {
        struct mailbox *box = &office->boxes[i];
        for (; box->count > 0; box->count--) {
            free(box->letters[box->head].bytes);
            box->head = (box->head + 1) % office->queue_count;
        }
        free(box->letters);
    }
    free(office->boxes);
    pthread_mutex_destroy(&office->lock);
    free(office);
}

struct link link_memory_of(struct link_memory *office, uint32_t rank)
{
    check(rank < office->size);
    return (struct link){
        .ops = &memory_ops, .context = &office->boxes[rank], .rank = rank, .size = office->size
    };
}

void link_memory_cut(struct link_memory *office, uint32_t rank, bool cut)
{
    check(rank < office->size);
    pthread_mutex_lock(&office->lock);
    office->boxes[rank].cut = cut;
    pthread_mutex_unlock(&office->lock);
}

void link_memory_double(struct link_memory *office, uint32_t rank, bool doubled)
{
    check(rank < office->size);
    pthread_mutex_lock(&office->lock);
    office->boxes[rank].doubled = doubled;
    pthread_mutex_unlock(&office->lock);
}
