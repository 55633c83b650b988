#include "worker/trainer/ckpt.h"

#include "proto/base/hash.h"
#include "tests/unit/trainer/support.h"
#include "worker/trainer/ckpt_header.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[PATH_MAX], path[PATH_MAX], other_path[PATH_MAX];

static const struct ckpt_note notes[] = { { "lr", "0.001" }, { "batch", "8" } };

static int make_folder(void **unused)
{
    (void)unused;
    folder_make(folder);
    path_join(path, folder, "a.safetensors");
    path_join(other_path, folder, "b.safetensors");
    return 0;
}

static int remove_folder(void **unused)
{
    (void)unused;
    folder_remove(folder);
    return 0;
}

static void write_tiny(const char *to, uint64_t step)
{
    struct tiny tiny;
    struct ckpt_state state = tiny_state(step);
    tiny_init(&tiny, 0.5F);
    text_copy(state.gate, sizeof(state.gate), TEXT("first \"gate\""));
    assert_int_equal(ckpt_write(to, &tiny.arrays, &state, notes, ARRAY_COUNT(notes), NULL),
                     ERR_OK);
}

/* Loads into a model of other numbers. A refusal must leave those alone and say something. */
static enum err load(const char *from, struct error *error)
{
    struct tiny tiny, before, written;
    struct ckpt_state state = { .step = 99 };
    tiny_init(&tiny, -100.0F);
    tiny_init(&before, -100.0F);
    tiny_init(&written, 0.5F);
    enum err rc = ckpt_load(from, &tiny.arrays, &state, error);
    const struct tiny *expected = rc == ERR_OK ? &written : &before;
    assert_memory_equal(tiny.numbers, expected->numbers, sizeof(tiny.numbers));
    if (rc != ERR_OK) assert_int_equal(state.step, 99);
    return rc;
}

static enum err load_bytes(const void *bytes, size_t length, struct error *error)
{
    file_write(other_path, bytes, length);
    return load(other_path, error);
}

static void test_what_is_written_is_read(void **unused)
{
    (void)unused;
    struct tiny tiny;
    struct ckpt_state state, peeked, wanted = tiny_state(40);
    tiny_init(&tiny, 7.0F);
    write_tiny(path, 40);
    assert_int_equal(load(path, NULL), ERR_OK);
    assert_int_equal(ckpt_load(path, &tiny.arrays, &state, NULL), ERR_OK);
    assert_int_equal(ckpt_peek(path, &peeked, NULL), ERR_OK);
    assert_string_equal(state.gate, "first \"gate\"");
    text_copy(wanted.gate, sizeof(wanted.gate), text_of(state.gate));
    assert_int_equal(state.step, wanted.step);
    assert_int_equal(state.tokens, wanted.tokens);
    assert_int_equal(state.seed, wanted.seed);
    assert_int_equal(state.members, wanted.members);
    assert_int_equal(state.data_tokens, wanted.data_tokens);
    assert_memory_equal(&state.cursor, &wanted.cursor, sizeof(state.cursor));
    assert_memory_equal(&state.cursor, &peeked.cursor, sizeof(state.cursor));
    assert_int_equal(peeked.step, 40);
}

static void test_same_state_same_bytes(void **unused)
{
    (void)unused;
    write_tiny(path, 40);
    write_tiny(other_path, 40);
    assert_files_equal(path, other_path);
}

static void test_file_is_safetensors(void **unused)
{
    (void)unused;
    size_t bytes;
    write_tiny(path, 1);
    char *data = file_read(path, &bytes);
    uint64_t length = 0;
    for (int i = 8; i-- > 0;)
        length = length << 8 | (unsigned char)data[i];
    assert_int_equal(length % 8, 0);
    assert_int_equal(8 + length + CKPT_ARRAYS * 8 * sizeof(float), bytes);
    assert_int_equal(data[8], '{');
    float first;
    memcpy(&first, data + 8 + length, sizeof(first));
    assert_true(first == 0.5F);
    assert_non_null(strstr(data + 8, "\"optim.v.ln_f.bias\":{\"dtype\":\"F32\",\"shape\":[2],"
                                     "\"data_offsets\":[88,96]}"));
    assert_non_null(strstr(data + 8, "\"train.lr\":\"0.001\""));
    free(data);
}

/* The independent reader, where it is installed. */
static void test_python_reads_it(void **unused)
{
    (void)unused;
    char command[PATH_MAX + 256];
    if (system("python3 -c 'import safetensors, numpy' 2>/dev/null") != 0) {
        print_message("python3 with safetensors and numpy is not installed\n");
        skip();
    }
    write_tiny(path, 1);
    snprintf(command, sizeof(command),
             "python3 -c \"from safetensors.numpy import load_file\n"
             "t = load_file('%s')\n"
             "assert len(t) == 6 and t['wte.weight'].tolist() == [[.5,1.5],[2.5,3.5],[4.5,5.5]]"
             "\n\"",
             path);
    assert_int_equal(system(command), 0);
}

static void test_every_flipped_bit_is_noticed(void **unused)
{
    (void)unused;
    size_t bytes;
    struct error error = { .code = ERR_OK };
    write_tiny(path, 3);
    unsigned char *data = (unsigned char *)file_read(path, &bytes);
    for (size_t at = 0; at < bytes; at++)
        for (int bit = 0; bit < 8; bit++) {
            data[at] = (unsigned char)(data[at] ^ 1U << bit);
            if (load_bytes(data, bytes, &error) == ERR_OK)
                fail_msg("bit %d of byte %zu of %zu was not noticed", bit, at, bytes);
            assert_non_null(strstr(error.text, other_path));
            data[at] = (unsigned char)(data[at] ^ 1U << bit);
        }
    assert_int_equal(load_bytes(data, bytes, NULL), ERR_OK);
    free(data);
}

static void test_every_length_is_noticed(void **unused)
{
    (void)unused;
    size_t bytes;
    write_tiny(path, 3);
    char *data = file_read(path, &bytes);
    for (size_t length = 0; length < bytes; length++)
        assert_int_equal(load_bytes(data, length, NULL), ERR_DAMAGED);
    char *longer = calloc(1, bytes + 4);
    assert_non_null(longer);
    memcpy(longer, data, bytes);
    assert_int_equal(load_bytes(longer, bytes + 4, NULL), ERR_DAMAGED);
    free(longer);
    free(data);
}

/* ---- headers that are whole but wrong: the checksum is made right after the change ---- */

/* Writes a file with this header, its own checksum filled in at "HEADCRC!" and that of the data
 * at "DATACRC!". */
static void write_header(const char *header)
{
    enum { DATA_BYTES = CKPT_ARRAYS * 8 * sizeof(float) };
    char text[8192], crc[9];
    unsigned char file[8 + sizeof(text) + DATA_BYTES] = { 0 };
    struct tiny tiny;
    tiny_init(&tiny, 0.5F);
    size_t length = strlen(header);
    assert_true(length < sizeof(text));
    memcpy(text, header, length + 1);
    char *data_at = strstr(text, "DATACRC!"), *header_at = strstr(text, "HEADCRC!");
    if (data_at != NULL) {
        snprintf(crc, sizeof(crc), "%08x", crc32c(0, tiny.numbers, DATA_BYTES));
        memcpy(data_at, crc, 8);
    }
    if (header_at != NULL) {
        memcpy(header_at, "00000000", 8);
        snprintf(crc, sizeof(crc), "%08x", crc32c(0, text, length));
        memcpy(header_at, crc, 8);
    }
    for (int i = 0; i < 8; i++)
        file[i] = (unsigned char)(length >> (8 * i));
    memcpy(file + 8, text, length);
    memcpy(file + 8 + length, tiny.numbers, DATA_BYTES);
    file_write(other_path, file, 8 + length + DATA_BYTES);
}

static char *good_header(void)
{
    size_t bytes;
    write_tiny(path, 3);
    char *data = file_read(path, &bytes);
    uint64_t length = (unsigned char)data[0] | (uint64_t)(unsigned char)data[1] << 8;
    char *header = malloc(length + 1);
    assert_non_null(header);
    memcpy(header, data + 8, length);
    header[length] = '\0';
    free(data);
    memcpy(strstr(header, "header_crc32c") + 16, "HEADCRC!", 8);
    memcpy(strstr(header, "data_crc32c") + 14, "DATACRC!", 8);
    return header;
}

static void test_wrong_headers(void **unused)
{
    (void)unused;
    const struct {
        const char *was, *becomes, *says;
    } rows[] = {
        { "{\"__meta", " {\"__meta", "must begin with a brace" },
        { "\"step\":\"3\"", "\"step\":\"x\"", "out of range" },
        { "\"step\":\"3\"", "\"step\":\"-3\"", "out of range" },
        { "\"step\":\"3\"", "\"step\":\"03\"", "out of range" },
        { "\"step\":\"3\"", "\"step\":3", "string must begin" },
        { "\"step\":\"3\"", "\"step\":\"9223372036854775808\"", "out of range" },
        { "\"step\":\"3\"", "\"step\":\"3\",\"step\":\"3\"", "twice" },
        { "\"step\":\"3\",", "", "lacks \"step\"" },
        { "\"gate\":", "\"gats\":", "lacks \"gate\"" },
        { "checkpoint-1", "checkpoint-2", "format" },
        { "HEADCRC!", "0000000g", "malformed" },
        { "HEADCRC!", "00000001", "checksum" },
        { "HEADCRC!", "", "malformed" },
        { "HEADCRC!", "\\u0030000000", "malformed" },
        { "DATACRC!", "00000000", "data's checksum" },
        { "DATACRC!", "ABCDEF01", "malformed" },
        { "\"data.rng\":\"", "\"data.rng\":\"0", "generator" },
        { "F32", "F16", "not of type" },
        { "\"shape\":[3,2]", "\"shape\":[2,3]", "another shape" },
        { "\"shape\":[3,2]", "\"shape\":[6]", "another shape" },
        { "\"shape\":[3,2]", "\"shape\":[3,3]", "size of its shape" },
        { "\"shape\":[3,2]", "\"shape\":[0,2]", "size of its shape" },
        { "\"shape\":[3,2]", "\"shape\":[3,2,1]", "two dimensions" },
        { "\"shape\":[3,2]", "\"shape\":[]", "whole number" },
        { "\"shape\":[3,2]", "\"shape\":[4294967297,4294967296]", "size of its shape" },
        { "[0,24]", "[24,0]", "comes next" },
        { "[0,24]", "[0,20]", "size of its shape" },
        { "[0,24]", "[4,28]", "comes next" },
        { "[88,96]", "[88,100]", "comes next" },
        { "[88,96]", "[80,88]", "comes next" },
        { "[88,96]", "[88,18446744073709551615]", "comes next" },
        { "[0,24]", "[0,24,1]", "bracket" },
        { "[0,24]", "[0]", "comma" },
        { "\"data_offsets\":[0,24]", "\"other\":[0,24]", "unknown key" },
        { ",\"data_offsets\":[0,24]", "", "lacks dtype, shape or offsets" },
        { "\"dtype\":\"F32\",\"shape\":[3,2]", "\"dtype\":\"F32\",\"dtype\":\"F32\"", "twice" },
        { "optim.m.ln_f.bias", "optim.v.ln_f.bias", "twice" },
        { "optim.m.ln_f.bias", "optim.m.ln_f.bas", "lacks tensor" },
        { "\"ln_f.bias\"", "\"__metadata__\"", "stands here twice" },
        { "\"model.layers\":\"1\"", "\"model.layers\":\"2\"", "layers 2" },
        { "\"model.width\":\"2\"", "\"model.width\":\"20000\"", "out of range" },
        { "\"members\":\"2\"", "\"members\":\"1025\"", "out of range" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct error error = { .code = ERR_OK };
        char changed[8192], *header = good_header();
        char *at = strstr(header, rows[i].was);
        if (at == NULL) fail_msg("row %zu names nothing", i);
        snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - header), header,
                 rows[i].becomes, at + strlen(rows[i].was));
        write_header(changed);
        if (load(other_path, &error) == ERR_OK) fail_msg("row %zu was accepted", i);
        if (strstr(error.text, rows[i].says) == NULL) fail_msg("row %zu: %s", i, error.text);
        free(header);
    }
}

/* What other writers may do and the format allows. */
static void test_other_right_headers(void **unused)
{
    (void)unused;
    const struct {
        const char *was, *becomes;
    } rows[] = {
        { "\"__meta", "\"__meta" },
        { "\"step\":\"3\"", "\"unknown\":\"x\",\"step\":\"3\"" },
        { "\"dtype\":\"F32\",\"shape\":[3,2]", "\"shape\" : [ 3 , 2 ], \"dtype\":\"F32\"" },
        { "first", "f\\u0069rst" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char changed[8192], *header = good_header();
        char *at = strstr(header, rows[i].was);
        assert_non_null(at);
        snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - header), header,
                 rows[i].becomes, at + strlen(rows[i].was));
        write_header(changed);
        struct error error = { .code = ERR_OK };
        if (load(other_path, &error) != ERR_OK) fail_msg("row %zu: %s", i, error.text);
        free(header);
    }
}

static void test_another_model(void **unused)
{
    (void)unused;
    struct tiny tiny;
    struct ckpt_state state = { .step = 0 };
    struct error error = { .code = ERR_OK };
    write_tiny(path, 3);
    tiny_init(&tiny, 1.0F);
    tiny.config.layers = 2;
    assert_int_equal(ckpt_load(path, &tiny.arrays, &state, &error), ERR_INPUT);
    assert_non_null(strstr(error.text, "layers 1"));
    assert_true(tiny.numbers[0][0] == 1.0F);
}

static void test_what_is_no_file(void **unused)
{
    (void)unused;
    char missing[PATH_MAX];
    path_join(missing, folder, "missing");
    assert_int_equal(load(missing, NULL), ERR_NOT_FOUND);
    assert_int_equal(load(folder, NULL), ERR_DAMAGED);
    assert_int_equal(mkfifo(missing, 0600), 0);
    assert_int_equal(load(missing, NULL), ERR_DAMAGED);
    assert_int_equal(unlink(missing), 0);
    struct ckpt_state state;
    assert_int_equal(ckpt_peek(missing, &state, NULL), ERR_NOT_FOUND);
}

/* ---- writing that fails ---- */

static void test_no_folder(void **unused)
{
    (void)unused;
    struct tiny tiny;
    struct ckpt_state state = tiny_state(1);
    char nowhere[PATH_MAX];
    tiny_init(&tiny, 1.0F);
    path_join(nowhere, folder, "missing/a.safetensors");
    assert_int_equal(ckpt_write(nowhere, &tiny.arrays, &state, notes, 1, NULL), ERR_IO);
}

/* A full disk, as a limit on file sizes, at every number of bytes: the old file stays whole and
 * nothing is left beside it. */
static void test_full_disk_keeps_the_old_file(void **unused)
{
    (void)unused;
    size_t bytes;
    char half[PATH_MAX];
    write_tiny(path, 40);
    free(file_read(path, &bytes));
    write_tiny(other_path, 40);
    struct writer name = writer_of(half, sizeof(half));
    writer_format(&name, "%s/%sa.safetensors", folder, ckpt_temporary_prefix());
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct tiny tiny;
        struct ckpt_state state = tiny_state(41);
        tiny_init(&tiny, 1.0F);
        text_copy(state.gate, sizeof(state.gate), TEXT("first \"gate\"")); /* as long a file */
        signal(SIGXFSZ, SIG_IGN);
        for (size_t limit = 0; limit < bytes; limit += 7) {
            struct rlimit size = { limit, RLIM_INFINITY };
            if (setrlimit(RLIMIT_FSIZE, &size) != 0) _exit(2);
            enum err rc = ckpt_write(path, &tiny.arrays, &state, notes, 2, NULL);
            if (rc != ERR_IO && rc != ERR_NO_SPACE) _exit(3);
            if (access(half, F_OK) == 0) _exit(4);
        }
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_files_equal(path, other_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_same_state_same_bytes),
        cmocka_unit_test(test_file_is_safetensors),
        cmocka_unit_test(test_python_reads_it),
        cmocka_unit_test(test_every_flipped_bit_is_noticed),
        cmocka_unit_test(test_every_length_is_noticed),
        cmocka_unit_test(test_wrong_headers),
        cmocka_unit_test(test_other_right_headers),
        cmocka_unit_test(test_another_model),
        cmocka_unit_test(test_what_is_no_file),
        cmocka_unit_test(test_no_folder),
        cmocka_unit_test(test_full_disk_keeps_the_old_file),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
