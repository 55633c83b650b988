#include "worker/trainer/train.h"

#include "proto/base/hash.h"
#include "proto/base/log.h"
#include "worker/trainer/comm.h"
#include "worker/trainer/data.h"
#include "worker/trainer/gang_id.h"
#include "worker/trainer/optim.h"
#include "worker/trainer/shelf.h"
#include "worker/trainer/watchdog.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_EVERY_NS (200 * NS_PER_MS)
#define MEET_NS_MAX (120 * NS_PER_S) /* for the members of a gang to come together */
#define LEAVE_NS_MAX (30 * NS_PER_S) /* for a trainer that has failed to let go of its GPU */

enum { CRC_CHUNK_FLOATS = 1 << 16 };

struct train {
    const struct train_setup *setup;
    struct data *data;
    struct comm *comm;
    int claim_fd; /* of this member's GPU; -1: none */
    struct gpt *gpt;
    struct optim *optim;
    struct shelf *shelf; /* member 0 only */
    struct optim_schedule schedule;
    const struct gpt_tensor **tensors;
    struct ckpt_arrays arrays;
    struct ckpt_state state;
    struct ckpt_note notes[OPTIONS_NOTES_MAX];
    size_t note_count;
    struct data_rows rows;
    int32_t *tokens, *targets; /* [rows.count, context] */
    float *crc_chunk;
    bool gate_done[GATES_PER_RUN_MAX];
    bool is_ready;       /* and has said so */
    bool stop;           /* all members know it */
    bool has_checkpoint; /* one of checkpoint_step is durable */
    uint64_t checkpoint_step;
    char checkpoint[PATH_MAX]; /* its path, as events name it */
    bool has_loss, has_val_loss;
    uint64_t val_loss_step; /* that val_loss was measured at */
    double loss, val_loss, grad_norm, learning_rate;
    int64_t busy_ns, wait_ns;
    int64_t reported_ns; /* when progress was last sent, at which step, and whether it was made
                            sure that it arrives */
    uint64_t reported_step;
    bool reported_surely;
};

static int64_t now_ns(void)
{
    struct timespec now;
    check(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static bool leads(const struct train *train)
{
    return train->rows.first == 0;
}

static bool on_gpu(const struct train *train)
{
    return train->setup->backend->module != NULL;
}

/* What a failure among the members means for the outside. A member whose own GPU failed says
 * so; the others only see that it is gone. */
static enum exit_code gang_exit(enum err rc)
{
    if (rc == ERR_OK) return EXIT_DONE;
    if (rc == ERR_NO_MEMORY) return EXIT_MEMORY;
    return rc == ERR_DEVICE ? EXIT_DEVICE : EXIT_GANG;
}

/* What a failure of model or kernels means for the outside. */
static enum exit_code model_exit(const struct train *train, enum err rc)
{
    switch (rc) {
    case ERR_OK: return EXIT_DONE;
    case ERR_INPUT: return EXIT_USAGE;
    case ERR_DEVICE:
    case ERR_TIMEOUT: return EXIT_DEVICE;
    case ERR_UNSUPPORTED: return EXIT_BACKEND;
    case ERR_REFUSED: return EXIT_NONFINITE;
    case ERR_NO_MEMORY: return on_gpu(train) ? EXIT_MEMORY : EXIT_INTERNAL;
    case ERR_IO:
    case ERR_NO_SPACE:
    case ERR_DAMAGED:
    case ERR_LOCKED:
    case ERR_FULL:
    case ERR_NOT_FOUND:
    case ERR_CLOSED: break;
    }
    return EXIT_INTERNAL;
}

static enum exit_code nonfinite(const struct train *train, const char *what, double value,
                                struct error *error)
{
    error_set(error, ERR_REFUSED,
              "the %s at step %" PRIu64
              " is %g; lower --lr, or resume from an earlier checkpoint with another --seed",
              what, train->state.step + 1, value);
    return EXIT_NONFINITE;
}

/* ---- progress ---- */

static void report_progress(struct train *train, bool must_arrive)
{
    bool fresh = train->has_val_loss && train->val_loss_step == train->state.step;
    struct events_progress progress = { .step = train->state.step,
                                        .tokens = train->state.tokens,
                                        .has_loss = train->has_loss,
                                        .loss = train->loss,
                                        .has_val_loss = fresh,
                                        .val_loss = train->val_loss,
                                        .grad_norm = train->grad_norm,
                                        .learning_rate = train->learning_rate,
                                        .busy_ns = (uint64_t)train->busy_ns,
                                        .wait_ns = (uint64_t)train->wait_ns,
                                        .collectives = train->comm->collectives };
    events_progress(train->setup->events, &progress, must_arrive);
    train->reported_ns = now_ns();
    train->reported_step = train->state.step;
    train->reported_surely = must_arrive;
}

/* Called while this member waits for its gang: the same work, and where it stands. */
static void report_wait(void *context)
{
    const struct train *train = context;
    if (!train->is_ready) return;
    struct events_progress progress = { .step = train->state.step,
                                        .tokens = train->state.tokens,
                                        .grad_norm = train->grad_norm,
                                        .learning_rate = train->learning_rate,
                                        .busy_ns = (uint64_t)train->busy_ns,
                                        .wait_ns = (uint64_t)train->wait_ns,
                                        .collectives = train->comm->collectives,
                                        .in_collective = train->comm->in_collective };
    events_progress(train->setup->events, &progress, false);
}

static void report_progress_if_due(struct train *train)
{
    if (train->reported_step == train->state.step) return;
    if (now_ns() - train->reported_ns >= PROGRESS_EVERY_NS) report_progress(train, false);
}

/* ---- checkpoints ---- */

/* CRC-32C of the parameters; *finite says whether all of them are. */
static uint32_t params_crc(const struct train *train, bool *finite)
{
    uint32_t crc = 0;
    int64_t count = gpt_param_count(train->gpt);
    const float *params = gpt_params(train->gpt);
    struct kernels_device *device = gpt_device(train->gpt);
    const struct kernels *kernels = gpt_kernels(train->gpt);
    for (int64_t at = 0; at < count; at += CRC_CHUNK_FLOATS) {
        size_t bytes = (size_t)min_i64(CRC_CHUNK_FLOATS, count - at) * sizeof(float);
        kernels->download(device, train->crc_chunk, params + at, bytes);
        crc = crc32c(crc, train->crc_chunk, bytes);
    }
    *finite = isfinite(kernels->sum_squares(device, params, count));
    return crc;
}

/* The path of a checkpoint as events name it. */
static void set_checkpoint_path(struct train *train, const char *path)
{
    const struct job *job = train->setup->job;
    struct text full = text_of(path), dir = text_of(job->dir);
    bool inside = job->dir_is_known && text_starts(full, dir) && full.len > dir.len + 1 &&
                  full.data[dir.len] == '/';
    if (inside) full = (struct text){ full.data + dir.len + 1, full.len - dir.len - 1 };
    text_copy(train->checkpoint, sizeof(train->checkpoint), full);
    train->checkpoint_step = train->state.step;
    train->has_checkpoint = true;
}

/* All members must hold the same parameters, or averaging has not worked. */
static enum exit_code check_params(struct train *train, struct error *error)
{
    bool finite;
    int64_t crc = params_crc(train, &finite);
    int64_t extremes[2] = { crc, -crc };
    enum err rc = comm_agree(train->comm, extremes, 2, error);
    if (rc != ERR_OK) return gang_exit(rc);
    if (extremes[0] != -extremes[1]) {
        error_set(error, ERR_DAMAGED,
                  "the members of the gang hold different parameters at step %" PRIu64
                  "; use an MPI library whose sums are the same on all ranks",
                  train->state.step);
        return EXIT_GANG;
    }
    if (!finite) {
        error_set(error, ERR_REFUSED,
                  "parameters are not finite after step %" PRIu64
                  "; lower --lr, or resume from an earlier checkpoint",
                  train->state.step);
        return EXIT_NONFINITE;
    }
    return EXIT_DONE;
}

/* Makes a durable checkpoint of this step exist, written for `gate` or for none (""). */
static enum exit_code checkpoint(struct train *train, const char *gate, struct error *error)
{
    char path[PATH_MAX];
    if (train->has_checkpoint && train->checkpoint_step == train->state.step) return EXIT_DONE;
    enum exit_code code = check_params(train, error);
    if (code != EXIT_DONE) return code;
    if (leads(train)) {
        text_copy(train->state.gate, sizeof(train->state.gate), text_of(gate));
        if (shelf_path(train->shelf, train->state.step, path, error) != ERR_OK)
            return EXIT_STORE;
        if (ckpt_write(path, &train->arrays, &train->state, train->notes, train->note_count,
                       error) != ERR_OK)
            return EXIT_STORE;
        shelf_added(train->shelf, train->state.step, gate[0] != '\0');
        set_checkpoint_path(train, path);
        events_checkpoint(train->setup->events, train->state.step, train->state.tokens,
                          train->checkpoint);
    }
    train->checkpoint_step = train->state.step;
    train->has_checkpoint = true;
    return EXIT_DONE;
}

/* ---- evaluation and gates ---- */

/* Held-out loss of the gang at this step; measured once a step. */
static enum exit_code evaluate(struct train *train, struct error *error)
{
    if (train->has_val_loss && train->val_loss_step == train->state.step) return EXIT_DONE;
    int batches = (int)train->setup->options->eval_batches;
    double sum = 0;
    for (int i = 0; i < batches; i++) {
        double loss;
        int64_t started_ns = now_ns();
        if (data_held_out(train->data, &train->rows, i, batches, train->tokens, train->targets,
                          error) != ERR_OK)
            return EXIT_DATA;
        int64_t read_ns = now_ns();
        enum err rc = gpt_forward(train->gpt, train->tokens, train->targets, &loss, error);
        if (rc != ERR_OK) return model_exit(train, rc);
        train->wait_ns += read_ns - started_ns;
        train->busy_ns += now_ns() - read_ns;
        sum += loss;
    }
    int64_t waited_ns = train->comm->wait_ns;
    enum err rc = comm_begin(train->comm, &sum, 1, error);
    if (rc == ERR_OK) rc = comm_finish(train->comm, error);
    if (rc != ERR_OK) return gang_exit(rc);
    train->wait_ns += train->comm->wait_ns - waited_ns;
    train->val_loss = sum / batches / train->comm->size;
    train->val_loss_step = train->state.step;
    train->has_val_loss = true;
    return EXIT_DONE;
}

static bool gate_reached(const struct train *train, const struct job_gate *gate)
{
    return (gate->by_tokens ? train->state.tokens : train->state.step) >= gate->at;
}

/* Evaluates, checkpoints and reports for every gate that is reached now. */
static enum exit_code pass_gates(struct train *train, struct error *error)
{
    const struct job *job = train->setup->job;
    for (int i = 0; i < job->gate_count; i++) {
        const struct job_gate *gate = &job->gates[i];
        if (train->gate_done[i] || !gate_reached(train, gate)) continue;
        enum exit_code code = evaluate(train, error);
        if (code == EXIT_DONE) code = checkpoint(train, gate->name, error);
        if (code != EXIT_DONE) return code;
        struct events_gate event = { .name = gate->name,
                                     .step = train->state.step,
                                     .tokens = train->state.tokens,
                                     .val_loss = train->val_loss,
                                     .checkpoint = train->checkpoint };
        if (leads(train)) events_gate(train->setup->events, &event);
        train->gate_done[i] = true;
    }
    return EXIT_DONE;
}

/* ---- a step ---- */

static void gradients_ready(void *context, int64_t offset, int64_t count)
{
    struct comm *comm = (struct comm *)context;
    comm_add(comm, offset, count);
}

/* Forward, backward and sum over the gang; sums[0] is the members' summed loss, sums[1] how
 * many of them were asked to stop. */
static enum exit_code compute(struct train *train, double sums[2], struct error *error)
{
    enum err rc = gpt_forward(train->gpt, train->tokens, train->targets, &sums[0], error);
    if (rc != ERR_OK) return model_exit(train, rc);
    sums[1] = *train->setup->stop != 0 ? 1 : 0;
    if ((rc = comm_begin(train->comm, sums, 2, error)) != ERR_OK) return gang_exit(rc);
    rc = gpt_backward(train->gpt, gradients_ready, train->comm, error);
    if (rc != ERR_OK) return model_exit(train, rc);
    return gang_exit(comm_finish(train->comm, error));
}

static enum exit_code update(struct train *train, const double sums[2], struct error *error)
{
    double loss = sums[0] / train->comm->size, norm = 0;
    if (!isfinite(loss)) return nonfinite(train, "loss", loss, error);
    int64_t step = (int64_t)train->state.step + 1;
    double rate = optim_schedule_lr(&train->schedule, step);
    enum err rc = optim_step(train->optim, rate, 1.0 / train->comm->size, &norm, error);
    if (rc == ERR_REFUSED) return nonfinite(train, "gradient's norm", norm, error);
    if (rc != ERR_OK) return model_exit(train, rc);
    train->loss = loss;
    train->has_loss = true;
    train->grad_norm = norm;
    train->learning_rate = rate;
    return EXIT_DONE;
}

static enum exit_code step(struct train *train, struct error *error)
{
    double sums[2];
    int64_t started_ns = now_ns(), waited_ns = train->comm->wait_ns;
    if (data_next(train->data, &train->rows, &train->state.cursor, train->tokens,
                  train->targets, error) != ERR_OK)
        return EXIT_DATA;
    int64_t read_ns = now_ns();
    enum exit_code code = compute(train, sums, error);
    if (code == EXIT_DONE) code = update(train, sums, error);
    if (code != EXIT_DONE) return code;
    int64_t gang_ns = train->comm->wait_ns - waited_ns;
    train->wait_ns += read_ns - started_ns + gang_ns;
    train->busy_ns += now_ns() - read_ns - gang_ns;
    train->stop = sums[1] > 0;
    train->state.step++;
    train->state.tokens +=
        (uint64_t)train->rows.batch_rows * (uint64_t)gpt_config_of(train->gpt)->context;
    return EXIT_DONE;
}

static bool is_due(uint64_t step, int64_t every)
{
    return every > 0 && step % (uint64_t)every == 0;
}

static enum exit_code loop(struct train *train, struct error *error)
{
    const struct options *options = train->setup->options;
    uint64_t last = (uint64_t)options->steps;
    enum exit_code code = pass_gates(train, error);
    while (code == EXIT_DONE && !train->stop && train->state.step < last) {
        if ((code = step(train, error)) != EXIT_DONE) break;
        bool evaluates = is_due(train->state.step, options->eval_every);
        if (train->state.step == last) evaluates = true;
        if (evaluates && !train->stop) code = evaluate(train, error);
        if (code == EXIT_DONE) code = pass_gates(train, error);
        if (code != EXIT_DONE) break;
        if (train->has_val_loss && train->val_loss_step == train->state.step)
            report_progress(train, true);
        report_progress_if_due(train);
        if (is_due(train->state.step, options->checkpoint_every))
            code = checkpoint(train, "", error);
    }
    if (code == EXIT_DONE) code = checkpoint(train, "", error);
    bool told = train->reported_surely && train->reported_step == train->state.step;
    if (code == EXIT_DONE && !told) report_progress(train, true);
    return code;
}

/* ---- start ---- */

static enum exit_code open_data(struct train *train, struct error *error)
{
    const struct options *options = train->setup->options;
    struct data_options data = { .path = options->data,
                                 .format = (enum data_format)options->data_format,
                                 .context = (int)options->context,
                                 .vocab_count = (int)options->vocab };
    enum err rc = data_open(&data, &train->data, error);
    if (rc == ERR_NO_MEMORY) return EXIT_INTERNAL;
    return rc == ERR_OK ? EXIT_DONE : EXIT_DATA;
}

static enum exit_code open_cpu_gang(struct train *train, struct error *error)
{
    const struct job *job = train->setup->job;
    struct comm_options options = { .rank = job->rank,
                                    .size = job->size,
                                    .fd = job->comm_fd,
                                    .segment_bytes = job->comm_bytes,
                                    .timeout_ns = train->setup->gang_timeout_ns };
    if (job->size > 1 && job->comm_fd < 0) {
        error_set(error, ERR_INPUT,
                  "this trains on the CPU (%.200s), but its agent offers the gang of GPUs "
                  "alone; give all members one backend",
                  train->setup->backend->reason);
        return EXIT_BACKEND;
    }
    return gang_exit(comm_open(&options, &train->comm, error));
}

/* From failure on: the GPU must be let go of by then. */
static int64_t leave_ns(const struct train *train)
{
    return min_i64(train->setup->gang_timeout_ns, LEAVE_NS_MAX);
}

static void before_abort(void *context)
{
    const struct train *train = context;
    watchdog_arm(leave_ns(train));
}

/* Makes the gang's id, or is told. */
static enum err find_id(const struct train *train, int64_t timeout_ns,
                        uint8_t id[MODULE_ID_BYTES], struct error *error)
{
    const struct job *job = train->setup->job;
    struct gang_id_wait wait = { .fd = job->comm_id_fd,
                                 .run = job->run,
                                 .attempt = job->attempt,
                                 .timeout_ns = timeout_ns,
                                 .stop = train->setup->stop };
    if (job->rank == 0) return train->setup->backend->module->make_id(id, error);
    return gang_id_await(&wait, id, MODULE_ID_BYTES, error);
}

/* Member 0 claims its GPU before anybody else can, since nobody else knows the id yet. */
static enum err meet(struct train *train, int64_t timeout_ns, uint8_t id[MODULE_ID_BYTES],
                     struct error *error)
{
    const struct job *job = train->setup->job;
    const char *gpu = train->setup->backend->device.pci_bus_id;
    struct comm_frame frame = { job->run, job->attempt, id, MODULE_ID_BYTES };
    enum err rc = find_id(train, timeout_ns, id, error);
    if (rc != ERR_OK || job->size == 1) return rc;
    rc = gang_claim_gpu(id, MODULE_ID_BYTES, gpu, &train->claim_fd, error);
    if (rc == ERR_OK && job->rank == 0) events_comm_id(train->setup->events, &frame);
    return rc;
}

/* A gang of one meets over NCCL too, so that one way through the code is proven by all. */
static enum exit_code open_gpu_gang(struct train *train, struct error *error)
{
    const struct job *job = train->setup->job;
    const struct backend *backend = train->setup->backend;
    int64_t meet_ns = min_i64(train->setup->gang_timeout_ns, MEET_NS_MAX);
    uint8_t id[MODULE_ID_BYTES];
    char name[64];
    struct writer writer = writer_of(name, sizeof(name));
    writer_format(&writer, "penstock-%" PRIu32 "/%" PRIu32, job->run, job->attempt);
    struct module_gang gang = {
        .rank = job->rank,
        .size = job->size,
        .name = name,
        .id = id,
        .reduce = (enum kernels_type)train->setup->options->reduce,
        .init_timeout_ns = meet_ns,
        .timeout_ns = train->setup->gang_timeout_ns,
        .aborting = before_abort,
        .waiting = report_wait,
        .context = train,
    };
    if (job->size > 1 && (job->comm_id_fd < 0 || !job->has_run)) {
        error_set(error, ERR_INPUT,
                  "this trains on a GPU, but its agent offers the gang of CPUs alone; give all "
                  "members one backend");
        return EXIT_BACKEND;
    }
    enum err rc = meet(train, meet_ns, id, error);
    if (rc == ERR_REFUSED) return EXIT_USAGE;
    if (rc == ERR_OK) rc = backend->module->gang_open(&gang, &train->comm, error);
    return gang_exit(rc);
}

static enum exit_code open_gang(struct train *train, struct error *error)
{
    enum exit_code code =
        on_gpu(train) ? open_gpu_gang(train, error) : open_cpu_gang(train, error);
    if (code == EXIT_DONE)
        comm_use(train->comm, gpt_kernels(train->gpt), gpt_device(train->gpt),
                 gpt_grads(train->gpt));
    return code;
}

static enum exit_code open_model(struct train *train, struct error *error)
{
    const struct options *o = train->setup->options;
    struct gpt_options gpt = { .config = { .layers = (int)o->layers,
                                           .width = (int)o->width,
                                           .heads = (int)o->heads,
                                           .context = (int)o->context,
                                           .vocab_count = (int)o->vocab },
                               .batch_rows = train->rows.count,
                               .threads = train->setup->job->threads,
                               .type = (enum kernels_type)o->dtype,
                               .timeout_ns = train->setup->gang_timeout_ns,
                               .kernels = train->setup->backend->kernels };
    struct optim_config optim = { .beta1 = o->beta1,
                                  .beta2 = o->beta2,
                                  .epsilon = 1e-8,
                                  .weight_decay = o->weight_decay,
                                  .clip_norm = o->clip };
    train->schedule = (struct optim_schedule){ .lr_max = o->lr,
                                               .min_ratio = o->lr_min_ratio,
                                               .warmup_steps = o->warmup,
                                               .total_steps = o->steps };
    enum err rc = optim_schedule_check(&train->schedule, error);
    if (rc == ERR_OK) rc = gpt_create(&gpt, &train->gpt, error);
    if (rc == ERR_OK) rc = optim_create(&optim, train->gpt, &train->optim, error);
    if (rc != ERR_OK) return model_exit(train, rc);
    return EXIT_DONE;
}

static enum exit_code plan_memory(struct train *train, struct error *error)
{
    size_t row = (size_t)train->setup->options->context * sizeof(int32_t);
    int tensor_count = gpt_tensor_count(train->gpt);
    train->tokens = malloc((size_t)train->rows.count * row);
    train->targets = malloc((size_t)train->rows.count * row);
    train->crc_chunk = malloc(CRC_CHUNK_FLOATS * sizeof(float));
    train->tensors = calloc((size_t)tensor_count, sizeof(*train->tensors));
    if (train->tokens == NULL || train->targets == NULL || train->crc_chunk == NULL ||
        train->tensors == NULL) {
        error_set(error, ERR_NO_MEMORY, "no memory for a batch; use a smaller model or batch");
        return EXIT_INTERNAL;
    }
    for (int i = 0; i < tensor_count; i++)
        train->tensors[i] = gpt_tensor_at(train->gpt, i);
    train->arrays = (struct ckpt_arrays){
        .config = gpt_config_of(train->gpt),
        .tensors = train->tensors,
        .tensor_count = tensor_count,
        .kernels = gpt_kernels(train->gpt),
        .device = gpt_device(train->gpt),
        .arrays = { gpt_params(train->gpt), optim_moment1(train->optim),
                    optim_moment2(train->optim) },
    };
    train->note_count = options_notes(train->setup->options, train->notes);
    return EXIT_DONE;
}

/* What may differ from the training that wrote the checkpoint, and what then follows. */
static void adopt_options(struct train *train)
{
    uint64_t seed = (uint64_t)train->setup->options->seed;
    uint64_t data_tokens = data_token_count(train->data);
    uint64_t members = (uint64_t)train->comm->size;
    if (train->state.seed != seed) {
        log_line(LOG_LEVEL_WARN, "event=reseed step=%" PRIu64 " from=%" PRIu64 " to=%" PRIu64,
                 train->state.step, train->state.seed, seed);
        train->state.cursor.rng = rng_of(seed);
    }
    if (train->state.data_tokens != data_tokens)
        log_line(LOG_LEVEL_WARN,
                 "event=data_changed step=%" PRIu64 " from_tokens=%" PRIu64
                 " to_tokens=%" PRIu64,
                 train->state.step, train->state.data_tokens, data_tokens);
    if (train->state.members != members)
        log_line(LOG_LEVEL_INFO, "event=gang_changed from=%" PRIu64 " to=%" PRIu64,
                 train->state.members, members);
    train->state.seed = seed;
    train->state.data_tokens = data_tokens;
    train->state.members = members;
}

static enum exit_code resume(struct train *train, struct error *error)
{
    const struct job *job = train->setup->job;
    enum err rc = ckpt_load(job->resume, &train->arrays, &train->state, error);
    if (rc != ERR_OK) return rc == ERR_NO_MEMORY ? EXIT_INTERNAL : EXIT_CHECKPOINT;
    if (job->has_resume_step && job->resume_step != train->state.step) {
        error_set(error, ERR_INPUT,
                  "checkpoint %s holds step %" PRIu64 ", but PENSTOCK_RESUME_STEP is %" PRIu64
                  "; name the right one",
                  job->resume, train->state.step, job->resume_step);
        return EXIT_CHECKPOINT;
    }
    gpt_params_changed(train->gpt);
    optim_set_step_count(train->optim, (int64_t)train->state.step);
    set_checkpoint_path(train, job->resume);
    adopt_options(train);
    return EXIT_DONE;
}

static enum exit_code start_fresh(struct train *train, struct error *error)
{
    uint64_t seed = (uint64_t)train->setup->options->seed;
    enum err rc = gpt_init(train->gpt, seed, error);
    if (rc != ERR_OK) return model_exit(train, rc);
    train->state = (struct ckpt_state){ .seed = seed,
                                        .members = (uint64_t)train->comm->size,
                                        .data_tokens = data_token_count(train->data),
                                        .cursor = data_cursor_of(seed) };
    return EXIT_DONE;
}

static enum exit_code open_shelf(struct train *train, struct error *error)
{
    const struct job *job = train->setup->job;
    const char *names[GATES_PER_RUN_MAX];
    if (!leads(train)) return EXIT_DONE;
    for (int i = 0; i < job->gate_count; i++)
        names[i] = job->gates[i].name;
    struct shelf_options options = { .run_dir = job->dir,
                                     .keep = (int)train->setup->options->keep,
                                     .start_step = train->state.step,
                                     .gates = names,
                                     .gate_count = job->gate_count };
    if (shelf_open(&options, &train->shelf, error) != ERR_OK) return EXIT_STORE;
    /* An agent owns its run's directory; a person may have named the wrong one. */
    if (job->standalone && job->resume[0] == '\0' && shelf_count(train->shelf) > 0) {
        error_set(error, ERR_REFUSED,
                  "%s holds checkpoints of another training; go on from one with --resume, or "
                  "give another --dir",
                  job->dir);
        return EXIT_USAGE;
    }
    return EXIT_DONE;
}

/* A digest of everything that all members must be told alike, as a number that has a negative.
 */
static int64_t options_digest(const struct train *train)
{
    const struct options *o = train->setup->options;
    const struct job *job = train->setup->job;
    const int64_t numbers[] = { o->eval_every,
                                o->eval_batches,
                                o->checkpoint_every,
                                o->seed,
                                (int64_t)data_token_count(train->data),
                                job->gate_count };
    uint64_t digest = 0;
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++)
        digest = hash_mix(digest, (uint64_t)numbers[i]);
    for (size_t i = 0; i < train->note_count; i++)
        digest =
            hash_mix(digest, crc32c(0, train->notes[i].value, strlen(train->notes[i].value)));
    for (int i = 0; i < job->gate_count; i++) {
        digest = hash_mix(digest, job->gates[i].at);
        digest = hash_mix(digest, job->gates[i].by_tokens);
    }
    return (int64_t)(digest >> 1);
}

/* All members begin with the same options, step and parameters; also learns of a stop. */
static enum exit_code agree_on_start(struct train *train, struct error *error)
{
    bool finite;
    int64_t step = (int64_t)train->state.step, crc = params_crc(train, &finite);
    int64_t digest = options_digest(train);
    int64_t values[] = { step, -step, crc, -crc, digest, -digest, *train->setup->stop != 0 };
    enum err rc = comm_agree(train->comm, values, ARRAY_COUNT(values), error);
    if (rc != ERR_OK) return gang_exit(rc);
    train->stop = values[6] > 0;
    if (values[4] != -values[5]) {
        error_set(error, ERR_INPUT,
                  "the members of the gang have different options or data; give all the same");
        return EXIT_USAGE;
    }
    if (values[0] != -values[1] || values[2] != -values[3]) {
        error_set(
            error, ERR_INPUT,
            "the members of the gang start from different checkpoints; give all the same");
        return EXIT_CHECKPOINT;
    }
    return EXIT_DONE;
}

static void report_ready(const struct train *train)
{
    char device[KERNELS_DETAIL_BYTES], detail[512];
    const struct kernels *kernels = gpt_kernels(train->gpt);
    struct writer writer = writer_of(detail, sizeof(detail));
    kernels->describe(gpt_device(train->gpt), device);
    writer_format(&writer, "%s; %s; %" PRIu64 " windows an epoch", device,
                  train->setup->backend->reason, data_window_count(train->data));
    struct events_ready ready = {
        .step = train->state.step,
        .flops_per_token = (double)gpt_flops_per_token(gpt_config_of(train->gpt)),
        .parameters = (uint64_t)gpt_param_count(train->gpt),
        .backend = kernels->name,
        .detail = detail,
    };
    log_line(LOG_LEVEL_INFO, "event=ready step=%" PRIu64 " member=%d gang=%d backend=%s %s",
             train->state.step, train->comm->rank, train->comm->size, kernels->name, detail);
    events_ready(train->setup->events, &ready);
}

static enum exit_code start(struct train *train, struct error *error)
{
    const struct train_setup *setup = train->setup;
    int rows = (int)(setup->options->batch / setup->job->size);
    train->rows = (struct data_rows){ .batch_rows = (int)setup->options->batch,
                                      .first = setup->job->rank * rows,
                                      .count = rows };
    enum exit_code code = open_data(train, error);
    if (code == EXIT_DONE) code = open_model(train, error);
    if (code == EXIT_DONE) code = open_gang(train, error);
    if (code == EXIT_DONE) code = plan_memory(train, error);
    if (code == EXIT_DONE)
        code = setup->job->resume[0] != '\0' ? resume(train, error) : start_fresh(train, error);
    if (code == EXIT_DONE) code = open_shelf(train, error);
    if (code == EXIT_DONE) code = agree_on_start(train, error);
    if (code != EXIT_DONE) return code;
    report_ready(train);
    train->is_ready = true;
    return EXIT_DONE;
}

enum exit_code train_run(const struct train_setup *setup, struct error *error)
{
    struct train *train = calloc(1, sizeof(*train));
    if (train == NULL) {
        error_set(error, ERR_NO_MEMORY, "no memory to train");
        return EXIT_INTERNAL;
    }
    train->setup = setup;
    train->claim_fd = -1;
    enum exit_code code = start(train, error);
    if (code == EXIT_DONE) code = loop(train, error);
    if (code != EXIT_DONE) {
        if (on_gpu(train)) watchdog_arm(leave_ns(train));
        comm_abort(train->comm);
    }
    comm_close(train->comm); /* it may still work on the model's gradients */
    shelf_close(train->shelf);
    free(train->tensors);
    free(train->crc_chunk);
    free(train->targets);
    free(train->tokens);
    optim_destroy(train->optim);
    gpt_destroy(train->gpt);
    if (train->claim_fd >= 0) close(train->claim_fd);
    data_close(train->data);
    free(train);
    return code;
}
