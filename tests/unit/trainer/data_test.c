#include "worker/trainer/data.h"

#include "tests/unit/trainer/support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { CONTEXT = 8, BATCH = 4 };

static char folder[PATH_MAX], path[PATH_MAX];

static int make_folder(void **unused)
{
    (void)unused;
    folder_make(folder);
    path_join(path, folder, "data");
    return 0;
}

static int remove_folder(void **unused)
{
    (void)unused;
    folder_remove(folder);
    return 0;
}

static enum err try_open(enum data_format format, int context, int vocab, struct data **data,
                         struct error *error)
{
    struct data_options options = {
        .path = path, .format = format, .context = context, .vocab_count = vocab
    };
    return data_open(&options, data, error);
}

static struct data *open_bytes(size_t bytes)
{
    struct data *data;
    char *text = malloc(bytes);
    assert_non_null(text);
    for (size_t i = 0; i < bytes; i++)
        text[i] = (char)(i % 251);
    file_write(path, text, bytes);
    free(text);
    assert_int_equal(try_open(DATA_FORMAT_TEXT, CONTEXT, 256, &data, NULL), ERR_OK);
    return data;
}

static void test_targets_are_the_next_tokens(void **unused)
{
    (void)unused;
    struct data *data = open_bytes(1000);
    struct data_cursor cursor = data_cursor_of(1);
    struct data_rows rows = { BATCH, 0, BATCH };
    int32_t tokens[BATCH * CONTEXT], targets[BATCH * CONTEXT];
    for (int batch = 0; batch < 50; batch++) {
        assert_int_equal(data_next(data, &rows, &cursor, tokens, targets, NULL), ERR_OK);
        for (int i = 0; i < BATCH * CONTEXT; i++) {
            assert_int_equal(targets[i], (tokens[i] + 1) % 251);
            if (i % CONTEXT > 0) assert_int_equal(tokens[i], targets[i - 1]);
        }
    }
    data_close(data);
}

/* An epoch uses every window once, and none of the held-out tail. */
static void test_an_epoch_is_a_permutation(void **unused)
{
    (void)unused;
    enum { TOKENS = 2500 }; /* two bytes a token: each position is unique */
    uint16_t numbers[TOKENS];
    for (int i = 0; i < TOKENS; i++)
        numbers[i] = (uint16_t)i;
    file_write(path, numbers, sizeof(numbers));
    struct data *data;
    assert_int_equal(try_open(DATA_FORMAT_U16, CONTEXT, TOKENS, &data, NULL), ERR_OK);
    uint64_t windows = data_window_count(data);
    assert_int_equal(data_token_count(data), TOKENS);
    assert_int_equal(windows, (2250 - 1) / CONTEXT - 1);
    struct data_cursor cursor = data_cursor_of(9);
    struct data_rows rows = { 1, 0, 1 };
    int32_t tokens[CONTEXT], targets[CONTEXT], firsts[2];
    for (int epoch = 0; epoch < 2; epoch++) {
        int32_t shift = -1;
        bool seen[TOKENS] = { false }, sorted = true;
        for (uint64_t i = 0; i < windows; i++) {
            assert_int_equal(data_next(data, &rows, &cursor, tokens, targets, NULL), ERR_OK);
            assert_int_equal(cursor.epoch, epoch);
            if (i == 0) {
                shift = tokens[0] % CONTEXT;
                firsts[epoch] = tokens[0];
            }
            sorted = sorted && tokens[0] == (int32_t)i * CONTEXT + shift;
            assert_int_equal(tokens[0] % CONTEXT, shift);
            assert_false(seen[tokens[0]]);
            seen[tokens[0]] = true;
            assert_true(targets[CONTEXT - 1] < 2250);
        }
        assert_false(sorted);
    }
    assert_int_not_equal(firsts[0], firsts[1]);
    data_close(data);
}

/* Two members together read what one would. */
static void test_a_gang_shares_the_batch(void **unused)
{
    (void)unused;
    struct data *data = open_bytes(700);
    struct data_cursor whole = data_cursor_of(3), a = whole, b = whole;
    struct data_rows all = { BATCH, 0, BATCH }, first = { BATCH, 0, 1 }, rest = { BATCH, 1, 3 };
    int32_t x[BATCH * CONTEXT], y[BATCH * CONTEXT], t[BATCH * CONTEXT], u[BATCH * CONTEXT];
    for (int batch = 0; batch < 100; batch++) { /* several epochs */
        assert_int_equal(data_next(data, &all, &whole, x, t, NULL), ERR_OK);
        assert_int_equal(data_next(data, &first, &a, y, u, NULL), ERR_OK);
        assert_int_equal(data_next(data, &rest, &b, y + CONTEXT, u + CONTEXT, NULL), ERR_OK);
        assert_memory_equal(x, y, sizeof(x));
        assert_memory_equal(t, u, sizeof(t));
        assert_memory_equal(&a, &whole, sizeof(a));
        assert_memory_equal(&b, &whole, sizeof(b));
    }
    assert_true(whole.epoch > 2);
    for (int index = 0; index < 3; index++) {
        assert_int_equal(data_held_out(data, &all, index, 3, x, t, NULL), ERR_OK);
        assert_int_equal(data_held_out(data, &first, index, 3, y, u, NULL), ERR_OK);
        assert_int_equal(data_held_out(data, &rest, index, 3, y + CONTEXT, u + CONTEXT, NULL),
                         ERR_OK);
        assert_memory_equal(x, y, sizeof(x));
    }
    data_close(data);
}

static void test_a_cursor_is_all_there_is_to_save(void **unused)
{
    (void)unused;
    struct data *data = open_bytes(900);
    struct data_cursor cursor = data_cursor_of(2), other = data_cursor_of(3);
    struct data_rows rows = { BATCH, 0, BATCH };
    int32_t x[BATCH * CONTEXT], y[BATCH * CONTEXT], t[BATCH * CONTEXT];
    for (int batch = 0; batch < 37; batch++)
        assert_int_equal(data_next(data, &rows, &cursor, x, t, NULL), ERR_OK);
    struct data_cursor saved = cursor;
    assert_int_equal(data_next(data, &rows, &cursor, x, t, NULL), ERR_OK);
    data_close(data);
    data = open_bytes(900);
    assert_int_equal(data_next(data, &rows, &saved, y, t, NULL), ERR_OK);
    assert_memory_equal(x, y, sizeof(x));
    assert_int_equal(data_next(data, &rows, &other, y, t, NULL), ERR_OK);
    assert_memory_not_equal(x, y, sizeof(x)); /* another seed, another order */
    /* A cursor of a longer file goes on with the next epoch. */
    saved.window = 1 << 20;
    uint64_t epoch = saved.epoch;
    assert_int_equal(data_next(data, &rows, &saved, y, t, NULL), ERR_OK);
    assert_int_equal(saved.epoch, epoch + 1);
    data_close(data);
}

static void test_held_out_is_the_tail(void **unused)
{
    (void)unused;
    enum { TOKENS = 2000 };
    uint16_t numbers[TOKENS];
    for (int i = 0; i < TOKENS; i++)
        numbers[i] = (uint16_t)i;
    file_write(path, numbers, sizeof(numbers));
    struct data *data;
    assert_int_equal(try_open(DATA_FORMAT_U16, CONTEXT, TOKENS, &data, NULL), ERR_OK);
    struct data_rows rows = { BATCH, 0, BATCH };
    int32_t tokens[BATCH * CONTEXT], targets[BATCH * CONTEXT], last = -1;
    for (int index = 0; index < 5; index++) {
        assert_int_equal(data_held_out(data, &rows, index, 5, tokens, targets, NULL), ERR_OK);
        for (int row = 0; row < BATCH; row++) {
            assert_true(tokens[row * CONTEXT] >= 1800);
            assert_true(tokens[row * CONTEXT] > last);
            last = tokens[row * CONTEXT];
        }
    }
    assert_int_equal(targets[BATCH * CONTEXT - 1], TOKENS - 1);
    data_close(data);
}

static void test_bad_files(void **unused)
{
    (void)unused;
    static const uint16_t tokens[] = { [40] = 300, [99] = 0 };
    const struct {
        enum data_format format;
        const void *bytes;
        size_t length;
        int context, vocab;
        const char *says;
    } rows[] = {
        { DATA_FORMAT_TEXT, "", 0, 8, 256, "0 tokens" },
        { DATA_FORMAT_TEXT, "short", 5, 8, 256, "at least 18" },
        { DATA_FORMAT_TEXT, "seventeen bytes !", 17, 8, 256, "at least 18" },
        { DATA_FORMAT_TEXT, "letters beyond the vocabulary of a hundred", 42, 8, 100,
          "token 108 at position 0" },
        { DATA_FORMAT_U16, tokens, sizeof(tokens) - 1, 8, 65536, "odd" },
        { DATA_FORMAT_U16, tokens, sizeof(tokens), 8, 300, "token 300 at position 40" },
        { DATA_FORMAT_U16, tokens, 34, 8, 65536, "17 tokens" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct data *data;
        struct error error = { .code = ERR_OK };
        file_write(path, rows[i].bytes, rows[i].length);
        assert_int_equal(
            try_open(rows[i].format, rows[i].context, rows[i].vocab, &data, &error), ERR_INPUT);
        assert_null(data);
        if (strstr(error.text, rows[i].says) == NULL) fail_msg("%zu: %s", i, error.text);
    }
}

static void test_shortest_file(void **unused)
{
    (void)unused;
    struct data *data;
    file_write(path, "eighteen bytes is!", 18);
    assert_int_equal(try_open(DATA_FORMAT_TEXT, CONTEXT, 256, &data, NULL), ERR_OK);
    struct data_cursor cursor = data_cursor_of(0);
    struct data_rows rows = { BATCH, 0, BATCH };
    int32_t tokens[BATCH * CONTEXT], targets[BATCH * CONTEXT];
    assert_int_equal(data_window_count(data), 1);
    assert_int_equal(data_next(data, &rows, &cursor, tokens, targets, NULL), ERR_OK);
    assert_int_equal(tokens[0], 'e');
    assert_int_equal(data_held_out(data, &rows, 0, 1, tokens, targets, NULL), ERR_OK);
    data_close(data);
}

static void test_what_is_no_file(void **unused)
{
    (void)unused;
    struct data *data;
    struct error error = { .code = ERR_OK };
    unlink(path);
    assert_int_equal(try_open(DATA_FORMAT_TEXT, CONTEXT, 256, &data, &error), ERR_NOT_FOUND);
    assert_non_null(strstr(error.text, "does not exist"));
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(try_open(DATA_FORMAT_TEXT, CONTEXT, 256, &data, &error), ERR_INPUT);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* must not wait for a writer */
    assert_int_equal(try_open(DATA_FORMAT_TEXT, CONTEXT, 256, &data, &error), ERR_INPUT);
    assert_int_equal(unlink(path), 0);
    data_close(NULL);
}

static void test_a_file_that_shrinks(void **unused)
{
    (void)unused;
    struct data *data = open_bytes(5000);
    struct error error = { .code = ERR_OK };
    struct data_cursor cursor = data_cursor_of(1), before;
    struct data_rows rows = { BATCH, 0, BATCH };
    int32_t tokens[BATCH * CONTEXT], targets[BATCH * CONTEXT];
    assert_int_equal(data_next(data, &rows, &cursor, tokens, targets, NULL), ERR_OK);
    assert_int_equal(truncate(path, 4), 0);
    before = cursor;
    assert_int_equal(data_next(data, &rows, &cursor, tokens, targets, &error), ERR_INPUT);
    assert_memory_equal(&before, &cursor, sizeof(cursor));
    assert_non_null(strstr(error.text, "has shrunk"));
    assert_int_equal(data_held_out(data, &rows, 0, 1, tokens, targets, &error), ERR_INPUT);
    data_close(data);
}

static void test_a_file_that_is_deleted_stays_readable(void **unused)
{
    (void)unused;
    struct data *data = open_bytes(5000);
    struct data_cursor cursor = data_cursor_of(1);
    struct data_rows rows = { BATCH, 0, BATCH };
    int32_t tokens[BATCH * CONTEXT], targets[BATCH * CONTEXT];
    assert_int_equal(unlink(path), 0);
    assert_int_equal(data_next(data, &rows, &cursor, tokens, targets, NULL), ERR_OK);
    data_close(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets_are_the_next_tokens),
        cmocka_unit_test(test_an_epoch_is_a_permutation),
        cmocka_unit_test(test_a_gang_shares_the_batch),
        cmocka_unit_test(test_a_cursor_is_all_there_is_to_save),
        cmocka_unit_test(test_held_out_is_the_tail),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_shortest_file),
        cmocka_unit_test(test_what_is_no_file),
        cmocka_unit_test(test_a_file_that_shrinks),
        cmocka_unit_test(test_a_file_that_is_deleted_stays_readable),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
