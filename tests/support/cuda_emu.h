/*
 * cuda_emu.h - runs CUDA kernels on the CPU, for tests: a .cu file compiled as C++17 with this
 * header included before all else is an ordinary object; only the toolkit's headers are needed.
 *
 *     g++ -std=c++17 -x c++ -include tests/support/cuda_emu.h -isystem TOOLKIT/include k.cu
 *
 * Each thread of a block is a fiber that runs until it waits at a barrier or returns; blocks run
 * one after another. LAUNCH performs the whole launch before it returns, unless the program
 * defines emu::launch_hook.
 *
 * What it finds, with a line that names block and thread, and an abort: barriers and warp calls
 * that not all threads reach, masks that lack the caller, differ, or name threads that have
 * returned, shuffles from lanes that take no part, launches out of the limits of a GPU. Dynamic
 * shared memory is all ones (a NaN) when a block starts, and ends at the byte. An asynchronous
 * copy fills its target with ones when it starts and arrives when its thread waits for it, so
 * that neither may be forgotten. With
 *   -fsanitize=address,undefined   out of bounds and misaligned accesses are found as well;
 *   -fsanitize=thread              each fiber is a thread to the sanitizer and only barriers order
 *                                  them: a missing barrier is reported as the race that it is.
 *
 * Environment: EMU_ORDER is the order of the threads between two barriers (0 ascending, 1
 * descending, with the blocks descending too, n > 1 shuffled by that seed); EMU_THREADS is the
 * number of threads of this machine that blocks are dealt to in turn (default 1): under the thread
 * sanitizer, two make races between neighbouring blocks visible.
 *
 * What it cannot find: errors against the memory model other than missing barriers, stale values
 * in static shared memory (it holds what the last block left), alignment without a sanitizer,
 * the accuracy of fast mathematics (they are the precise functions here), speed.
 */
#ifndef TESTS_SUPPORT_CUDA_EMU_H
#define TESTS_SUPPORT_CUDA_EMU_H

#define CUDA_EMU 1

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include <sys/mman.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__has_feature)
#define EMU_HAS_FEATURE(name) __has_feature(name)
#else
#define EMU_HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || EMU_HAS_FEATURE(address_sanitizer)
#define EMU_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define EMU_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__) || EMU_HAS_FEATURE(thread_sanitizer)
#define EMU_TSAN 1
#include <sanitizer/tsan_interface.h>
/* The harness itself is no part of what is looked at. */
#define EMU_UNSEEN __attribute__((no_sanitize("thread"), noinline))
extern "C" __attribute__((weak)) const char *__tsan_default_suppressions()
{
    return "race_top:emu::\nrace_top:std::vector\n";
}
#else
#define EMU_TSAN 0
#define EMU_UNSEEN
#endif

/* ---- words of the language ---- */

#undef __shared__
#undef __global__
#undef __device__
#undef __constant__
#undef __launch_bounds__
/* In a function: static for each thread of this machine, which runs one block at a time. */
#define __shared__ thread_local
#define __global__
#define __device__
#define __constant__
#define __launch_bounds__(...)

inline thread_local uint3 threadIdx, blockIdx, blockDim, gridDim;
constexpr int warpSize = 32;

#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                 \
    emu::launch(kernel, grid, block, shared_bytes, stream, __VA_ARGS__)
#define DYNAMIC_SHARED(type, name) type *name = reinterpret_cast<type *>(emu::now->shared)

namespace emu
{

constexpr unsigned THREADS_MAX = 1024;
constexpr size_t SHARED_BYTES_MAX = 227 * 1024;  /* of one block, on sm_90 */
constexpr size_t SHARED_BYTES_PLAIN = 48 * 1024; /* without cudaFuncSetAttribute */
constexpr size_t STACK_BYTES = EMU_ASAN || EMU_TSAN ? 256 * 1024 : 64 * 1024;
constexpr size_t GUARD_BYTES = 4096; /* below each stack, not accessible */
constexpr size_t LANE_BYTES = 64;    /* what a lane can give in one exchange */
constexpr unsigned FULL_MASK = 0xffffffffu;

/* Where a program defines it, it gets every launch as a function that performs it, and may call
 * it now, later or never. */
__attribute__((weak)) void launch_hook(cudaStream_t stream, std::function<void()> perform);

/* Where a program defines it: the dynamic shared memory that the kernel was allowed by
 * cudaFuncSetAttribute, 0 for none. Launches that want more than that and more than
 * SHARED_BYTES_PLAIN are refused, as on a GPU. */
__attribute__((weak)) size_t shared_bytes_allowed(const void *kernel);

/* ---- fibers: a stack and the place to go on ---- */

#if defined(__x86_64__)
struct context {
    void *stack_pointer = nullptr;
};

extern "C" void emu_switch(void **save, void *load);
/* Pushes what a function must preserve, and exchanges the stack pointers. */
asm(R"(
.text
.weak emu_switch
.type emu_switch,@function
emu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emu_switch,.-emu_switch
)");

/* The first switch pops six registers and returns into `start`, with the stack as after a call:
 * 8 bytes off a multiple of 16. */
EMU_UNSEEN inline void context_init(context &c, char *stack, size_t bytes, void (*start)())
{
    void **top = reinterpret_cast<void **>(stack + bytes) - 2;
    top[0] = reinterpret_cast<void *>(start);
    top[1] = nullptr;
    top -= 6;
    for (int i = 0; i < 6; i++)
        top[i] = nullptr;
    c.stack_pointer = top;
}

EMU_UNSEEN inline void context_switch(context &from, context &to)
{
    emu_switch(&from.stack_pointer, to.stack_pointer);
}
#else
struct context {
    ucontext_t ucontext;
};

EMU_UNSEEN inline void context_init(context &c, char *stack, size_t bytes, void (*start)())
{
    getcontext(&c.ucontext);
    c.ucontext.uc_stack.ss_sp = stack;
    c.ucontext.uc_stack.ss_size = bytes;
    c.ucontext.uc_link = nullptr;
    makecontext(&c.ucontext, start, 0);
}

EMU_UNSEEN inline void context_switch(context &from, context &to)
{
    swapcontext(&from.ucontext, &to.ucontext);
}
#endif

enum fiber_state : uint8_t {
    FIBER_NEW,
    FIBER_READY,
    FIBER_AT_BLOCK,
    FIBER_AT_WARP,
    FIBER_DONE
};

/* Under way to shared memory; from is NULL for zeros. */
struct async_copy {
    void *to;
    const void *from;
    size_t bytes;
    unsigned group;
};

struct fiber {
    context place;
    char *stack = nullptr; /* above its guard */
    uint3 thread_index{};
    fiber_state state = FIBER_NEW;
    unsigned exchanges = 0, block_barriers = 0, warp_barriers = 0; /* that it has begun */
    unsigned mask = 0; /* of the warp call it waits in */
    std::vector<async_copy> copies;
    unsigned copy_group = 0;    /* the one that is open */
    void *fake_stack = nullptr; /* the address sanitizer's */
    void *tsan_fiber = nullptr;
};

/* What lanes give each other. Two slots in turn: a lane can be one exchange ahead of another, not
 * two. A call with a partial mask uses the third, and ends with a barrier of its own. */
struct warp {
    alignas(16) unsigned char slot[3][32][LANE_BYTES];
    unsigned arrived = 0, live = 0;
    char edges[3] = {};
};

/* What one thread of this machine needs to run a block; kept between launches. */
struct worker {
    std::vector<fiber> fibers;
    std::vector<warp> warps;
    std::vector<unsigned> order;
    context home;
    fiber *current = nullptr;
    unsigned current_index = 0;
    unsigned thread_count = 0, live_count = 0, at_block_count = 0;
    unsigned char *shared = nullptr;
    const std::function<void()> *body = nullptr;
    char start_edge = 0, end_edge = 0, block_edges[2] = {};
    void *home_fake_stack = nullptr, *home_tsan_fiber = nullptr;
    const void *home_bottom = nullptr;
    size_t home_bytes = 0;

    ~worker()
    {
        for (fiber &f : fibers) {
            if (f.stack != nullptr) munmap(f.stack - GUARD_BYTES, GUARD_BYTES + STACK_BYTES);
#if EMU_TSAN
            if (f.tsan_fiber != nullptr) __tsan_destroy_fiber(f.tsan_fiber);
#endif
        }
    }
};

inline thread_local worker *now = nullptr; /* a pointer: no check of its creation at each use */

[[noreturn]] inline void die_at(uint3 thread, const char *what)
{
    (void)fprintf(stderr,
                  "cuda_emu: %s (block %u,%u,%u of %u,%u,%u; thread %u,%u,%u of %u,%u,%u)\n",
                  what, blockIdx.x, blockIdx.y, blockIdx.z, gridDim.x, gridDim.y, gridDim.z,
                  thread.x, thread.y, thread.z, blockDim.x, blockDim.y, blockDim.z);
    abort();
}

[[noreturn]] inline void die(const char *what)
{
    die_at(threadIdx, what);
}

/* To the thread sanitizer, a release happens before every acquire at the same address that
 * comes later. */
EMU_UNSEEN inline void edge_release(void *at)
{
#if EMU_TSAN
    __tsan_release(at);
#endif
    (void)at;
}

EMU_UNSEEN inline void edge_acquire(void *at)
{
#if EMU_TSAN
    __tsan_acquire(at);
#endif
    (void)at;
}

EMU_UNSEEN inline void go_home(fiber *f, bool for_good)
{
#if EMU_TSAN
    __tsan_switch_to_fiber(now->home_tsan_fiber, 1);
#endif
#if EMU_ASAN
    __sanitizer_start_switch_fiber(for_good ? nullptr : &f->fake_stack, now->home_bottom,
                                   now->home_bytes);
#endif
    (void)for_good;
    context_switch(f->place, now->home);
#if EMU_ASAN
    __sanitizer_finish_switch_fiber(f->fake_stack, nullptr, nullptr);
#endif
}

EMU_UNSEEN inline void fiber_main()
{
#if EMU_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &now->home_bottom, &now->home_bytes);
#endif
    edge_acquire(&now->start_edge);
    (*now->body)();
    fiber *f = now->current;
    if (!f->copies.empty()) die("a thread returned with copies under way");
    edge_release(&now->end_edge);
    f->state = FIBER_DONE;
    now->live_count--;
    now->warps[now->current_index / 32].live &= ~(1u << (now->current_index % 32));
    go_home(f, true);
    abort();
}

EMU_UNSEEN inline char *stack_new()
{
    void *memory = mmap(nullptr, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, GUARD_BYTES, PROT_NONE) != 0)
        die("no memory for a stack");
    return static_cast<char *>(memory) + GUARD_BYTES;
}

/* Lets the fiber run until it waits or ends. */
EMU_UNSEEN inline void fiber_resume(unsigned index)
{
    fiber &f = now->fibers[index];
    if (f.state == FIBER_NEW) {
        if (f.stack == nullptr) f.stack = stack_new();
#if EMU_ASAN
        /* The last fiber to use it never returned from its functions. */
        ASAN_UNPOISON_MEMORY_REGION(f.stack, STACK_BYTES);
#endif
        context_init(f.place, f.stack, STACK_BYTES, fiber_main);
    }
    f.state = FIBER_READY;
    now->current = &f;
    now->current_index = index;
    threadIdx = f.thread_index;
#if EMU_ASAN
    __sanitizer_start_switch_fiber(&now->home_fake_stack, f.stack, STACK_BYTES);
#endif
#if EMU_TSAN
    if (f.tsan_fiber == nullptr) f.tsan_fiber = __tsan_create_fiber(0);
    __tsan_switch_to_fiber(f.tsan_fiber, 1);
#endif
    context_switch(now->home, f.place);
#if EMU_ASAN
    __sanitizer_finish_switch_fiber(now->home_fake_stack, nullptr, nullptr);
#endif
}

/* ---- barriers and exchanges ---- */

EMU_UNSEEN inline void block_barrier()
{
    fiber *f = now->current;
    char *edge = &now->block_edges[f->block_barriers++ & 1];
    edge_release(edge);
    f->state = FIBER_AT_BLOCK;
    now->at_block_count++;
    go_home(f, false);
    edge_acquire(edge);
}

/* The lanes of `mask` that the block has: its last warp may be short. */
EMU_UNSEEN inline unsigned mask_within_block(unsigned mask, unsigned warp_index)
{
    unsigned lanes = now->thread_count - warp_index * 32;
    return lanes >= 32 ? mask : mask & ((1u << lanes) - 1);
}

EMU_UNSEEN inline void warp_barrier(unsigned mask)
{
    fiber *f = now->current;
    unsigned warp_index = now->current_index / 32, lane = now->current_index % 32;
    warp &w = now->warps[warp_index];
    mask = mask_within_block(mask, warp_index);
    if ((mask >> lane & 1) == 0) die("a warp call whose mask lacks the calling lane");
    if ((mask & ~w.live) != 0) die("a warp call whose mask names a thread that has returned");
    char *edge = &w.edges[mask == w.live ? f->warp_barriers++ & 1 : 2];
    edge_release(edge);
    f->mask = mask;
    w.arrived |= 1u << lane;
    if ((w.arrived & mask) != mask) {
        f->state = FIBER_AT_WARP;
        go_home(f, false);
        edge_acquire(edge);
        return;
    }
    for (unsigned l = 0; l < 32; l++) {
        if ((mask >> l & 1) == 0) continue;
        fiber &other = now->fibers[warp_index * 32 + l];
        if (other.mask != mask) die("lanes of one warp call gave different masks");
        other.state = FIBER_READY;
    }
    w.arrived &= ~mask;
    edge_acquire(edge);
}

/* Every lane of the mask gives a value; calls `read` with the values of all lanes, of which only
 * those of the mask mean something, and waits where a partial mask asks for it. */
template <class T, class F>
EMU_UNSEEN inline void exchange(unsigned mask, const T &value, F read)
{
    static_assert(sizeof(T) <= LANE_BYTES, "more than a lane can give");
    unsigned warp_index = now->current_index / 32, lane = now->current_index % 32;
    warp &w = now->warps[warp_index];
    bool all = mask_within_block(mask, warp_index) == mask_within_block(FULL_MASK, warp_index);
    unsigned slot = all ? now->current->exchanges++ & 1 : 2;
    memcpy(w.slot[slot][lane], &value, sizeof(value));
    warp_barrier(mask);
    read(w.slot[slot]);
    if (!all) warp_barrier(mask);
}

/* The value of the lane that `pick` chooses, which must take part. */
template <class T, class F> EMU_UNSEEN inline T shuffle(unsigned mask, T value, F pick)
{
    int lane = static_cast<int>(now->current_index % 32), source = pick(lane);
    bool takes_part = source >= 0 && source < 32 && (mask >> source & 1) != 0 &&
                      (now->warps[now->current_index / 32].live >> source & 1) != 0;
    if (source != lane && !takes_part) die("a shuffle from a lane that takes no part");
    T result = value;
    exchange(mask, value, [&](const unsigned char(*slot)[LANE_BYTES]) {
        memcpy(&result, slot[source], sizeof(result));
    });
    return result;
}

/* One bit of every lane of the mask. */
EMU_UNSEEN inline unsigned ballot(unsigned mask, bool bit)
{
    unsigned result = 0;
    mask = mask_within_block(mask, now->current_index / 32);
    exchange(mask, bit, [&](const unsigned char(*slot)[LANE_BYTES]) {
        for (unsigned l = 0; l < 32; l++) {
            if ((mask >> l & 1) != 0 && slot[l][0] != 0) result |= 1u << l;
        }
    });
    return result;
}

/* The lanes of the mask that gave the same value. */
template <class T> EMU_UNSEEN inline unsigned match(unsigned mask, T value)
{
    unsigned result = 0;
    mask = mask_within_block(mask, now->current_index / 32);
    exchange(mask, value, [&](const unsigned char(*slot)[LANE_BYTES]) {
        for (unsigned l = 0; l < 32; l++) {
            if ((mask >> l & 1) != 0 && memcmp(slot[l], &value, sizeof(value)) == 0)
                result |= 1u << l;
        }
    });
    return result;
}

/* ---- tensor cores and asynchronous copies ---- */

/* For instructions that whole warps alone may perform. */
template <class T, class F> EMU_UNSEEN inline void whole_warp(const T &value, F read)
{
    if (mask_within_block(FULL_MASK, now->current_index / 32) != FULL_MASK)
        die("an instruction for whole warps, in a warp that is not");
    exchange(FULL_MASK, value, read);
}

EMU_UNSEEN inline float half_of_register(uint32_t bits, int half)
{
    const uint32_t float_bits = half == 0 ? bits << 16 : bits & 0xffff0000u;
    float x;
    memcpy(&x, &float_bits, sizeof(x));
    return x;
}

/* What one lane holds of both operands of mma.m16n8k16. */
struct mma_part {
    uint32_t a[4], b[2];
};

/* The products are exact; they are added in the order of k. */
EMU_UNSEEN inline void mma_bf16(float (&sum)[4], const mma_part &part)
{
    const int lane = static_cast<int>(now->current_index % 32);
    whole_warp(part, [&](const unsigned char(*slot)[LANE_BYTES]) {
        mma_part parts[32];
        for (int l = 0; l < 32; l++)
            memcpy(&parts[l], slot[l], sizeof(parts[l]));
        for (int e = 0; e < 4; e++) {
            const int row = lane / 4 + e / 2 * 8, column = lane % 4 * 2 + e % 2;
            for (int k = 0; k < 16; k++) {
                const int quad = k % 8 / 2;
                const uint32_t a = parts[row % 8 * 4 + quad].a[k / 8 * 2 + row / 8];
                const uint32_t b = parts[column * 4 + quad].b[k / 8];
                sum[e] += half_of_register(a, k % 2) * half_of_register(b, k % 2);
            }
        }
    });
}

/* The addresses of the rows that ldmatrix reads for this lane: of four matrices, one row each,
 * or for the transposed matrices two. */
EMU_UNSEEN inline void matrix_rows(const uint16_t *row, bool transposed,
                                   const uint16_t *(&rows)[4][2])
{
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) die("ldmatrix: a row not on 16 bytes");
    const int lane = static_cast<int>(now->current_index % 32);
    whole_warp(row, [&](const unsigned char(*slot)[LANE_BYTES]) {
        for (int matrix = 0; matrix < 4; matrix++) {
            for (int i = 0; i < 2; i++) {
                const int at = transposed ? lane % 4 * 2 + i : lane / 4;
                memcpy(&rows[matrix][i], slot[matrix * 8 + at], sizeof(row));
            }
        }
    });
}

EMU_UNSEEN inline void copy_begin(void *to, const void *from, size_t bytes, bool valid)
{
    if (reinterpret_cast<uintptr_t>(to) % bytes != 0 ||
        reinterpret_cast<uintptr_t>(from) % bytes != 0)
        die("an asynchronous copy that is not aligned to its size");
    fiber *f = now->current;
    f->copies.push_back(async_copy{ to, valid ? from : nullptr, bytes, f->copy_group });
}

/* Takes the oldest copy of a group that is to be complete when `pending` groups are not. */
EMU_UNSEEN inline bool copy_take(unsigned pending, async_copy &copy)
{
    fiber *f = now->current;
    if (f->copies.empty() || f->copies.front().group + pending >= f->copy_group) return false;
    copy = f->copies.front();
    f->copies.erase(f->copies.begin());
    return true;
}

/* ---- blocks and launches ---- */

EMU_UNSEEN inline void block_begin(unsigned seed, size_t shared_bytes)
{
    worker &w = *now;
    unsigned count = blockDim.x * blockDim.y * blockDim.z;
    w.thread_count = w.live_count = count;
    w.at_block_count = 0;
    if (w.fibers.size() < count) w.fibers.resize(count);
    w.warps.assign((count + 31) / 32, warp{});
    w.order.resize(count);
    for (unsigned i = 0; i < count; i++) {
        fiber &f = w.fibers[i];
        f.state = FIBER_NEW;
        f.exchanges = f.block_barriers = f.warp_barriers = 0;
        f.copies.clear();
        f.copy_group = 0;
        f.thread_index =
            uint3{ i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y) };
        w.order[i] = i;
        w.warps[i / 32].live |= 1u << (i % 32);
    }
    if (seed == 1) std::reverse(w.order.begin(), w.order.end());
    if (seed > 1) std::shuffle(w.order.begin(), w.order.end(), std::mt19937(seed + blockIdx.x));
    if (shared_bytes > 0) memset(w.shared, 0xff, shared_bytes);
}

[[noreturn]] inline void die_of_deadlock()
{
    for (const fiber &f : now->fibers) {
        if (f.state == FIBER_AT_WARP)
            die_at(f.thread_index, "deadlock: this thread waits for its warp");
    }
    for (const fiber &f : now->fibers) {
        if (f.state == FIBER_AT_BLOCK)
            die_at(f.thread_index, "deadlock: this thread waits for its block");
    }
    abort();
}

EMU_UNSEEN inline void block_run()
{
    worker &w = *now;
    edge_release(&w.start_edge);
    while (w.live_count > 0) {
        bool ran = false;
        for (unsigned i : w.order) {
            if (w.fibers[i].state > FIBER_READY) continue;
            fiber_resume(i);
            ran = true;
        }
        if (w.live_count > 0 && w.at_block_count == w.live_count) {
            w.at_block_count = 0;
            ran = true;
            for (unsigned i = 0; i < w.thread_count; i++) {
                if (w.fibers[i].state == FIBER_AT_BLOCK) w.fibers[i].state = FIBER_READY;
            }
        }
        if (!ran) die_of_deadlock();
    }
    edge_acquire(&w.end_edge);
}

inline unsigned long number_of(const char *variable, unsigned long otherwise)
{
    const char *text = getenv(variable);
    return text == nullptr ? otherwise : strtoul(text, nullptr, 10);
}

struct shape {
    dim3 grid, block;
    size_t shared_bytes;
};

/* Runs every `stride`th block from `first` on, on this thread of the machine. */
inline void blocks_run(const shape &s, const std::function<void()> &body, size_t first,
                       size_t stride)
{
    static thread_local worker own;
    now = &own;
    now->body = &body;
#if EMU_TSAN
    now->home_tsan_fiber = __tsan_get_current_fiber();
#endif
    unsigned seed = static_cast<unsigned>(number_of("EMU_ORDER", 0));
    void *shared = nullptr;
    if (s.shared_bytes > 0 && posix_memalign(&shared, 1024, s.shared_bytes) != 0)
        die("no memory for shared memory");
    now->shared = static_cast<unsigned char *>(shared);
    gridDim = s.grid;
    blockDim = s.block;
    size_t total = static_cast<size_t>(s.grid.x) * s.grid.y * s.grid.z;
    for (size_t n = first; n < total; n += stride) {
        size_t b = seed == 1 ? total - 1 - n : n;
        size_t plane = b / s.grid.x;
        blockIdx =
            uint3{ static_cast<unsigned>(b % s.grid.x), static_cast<unsigned>(plane % s.grid.y),
                   static_cast<unsigned>(plane / s.grid.y) };
        block_begin(seed, s.shared_bytes);
        block_run();
    }
    free(shared);
}

inline void shape_check(const shape &s, const void *kernel)
{
    gridDim = s.grid;
    blockDim = s.block;
    blockIdx = threadIdx = uint3{ 0, 0, 0 };
    size_t threads = static_cast<size_t>(s.block.x) * s.block.y * s.block.z;
    if (threads == 0 || threads > THREADS_MAX || s.block.z > 64) die("launch: no such block");
    if (s.grid.x == 0 || s.grid.y == 0 || s.grid.z == 0) die("launch: an empty grid");
    if (s.grid.x > 0x7fffffffu || s.grid.y > 65535 || s.grid.z > 65535)
        die("launch: no such grid");
    if (s.shared_bytes > SHARED_BYTES_MAX) die("launch: too much shared memory");
    if (shared_bytes_allowed != nullptr && s.shared_bytes > SHARED_BYTES_PLAIN &&
        s.shared_bytes > shared_bytes_allowed(kernel))
        die("launch: more shared memory than cudaFuncSetAttribute allowed");
}

inline void perform(const shape &s, const std::function<void()> &body)
{
    size_t threads = std::max(1ul, number_of("EMU_THREADS", 1));
    std::vector<std::thread> others;
    for (size_t i = 1; i < threads; i++)
        others.emplace_back([&, i] { blocks_run(s, body, i, threads); });
    blocks_run(s, body, 0, threads);
    for (std::thread &other : others)
        other.join();
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, Arguments... arguments)
{
    const shape s = { grid, block, shared_bytes };
    shape_check(s, reinterpret_cast<const void *>(kernel));
    std::function<void()> body = [=] { kernel(arguments...); };
    if (launch_hook != nullptr)
        launch_hook(stream, [=] { perform(s, body); });
    else
        perform(s, body);
}

} // namespace emu

/* ---- what kernels call ---- */

inline void __syncthreads()
{
    emu::block_barrier();
}

inline void __syncwarp(unsigned mask = emu::FULL_MASK)
{
    emu::warp_barrier(mask);
}

template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32)
{
    return emu::shuffle(mask, value,
                        [=](int l) { return l / width * width + (source & (width - 1)); });
}

template <class T> T __shfl_xor_sync(unsigned mask, T value, int flip, int width = 32)
{
    return emu::shuffle(mask, value, [=](int l) {
        int source = l ^ flip;
        return source / width > l / width ? l : source;
    });
}

template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32)
{
    return emu::shuffle(mask, value, [=](int l) {
        int d = static_cast<int>(by);
        return l % width + d < width ? l + d : l;
    });
}

template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32)
{
    return emu::shuffle(mask, value, [=](int l) {
        int d = static_cast<int>(by);
        return l % width - d >= 0 ? l - d : l;
    });
}

inline unsigned __ballot_sync(unsigned mask, int predicate)
{
    return emu::ballot(mask, predicate != 0);
}

inline int __any_sync(unsigned mask, int predicate)
{
    return emu::ballot(mask, predicate != 0) != 0;
}

inline int __all_sync(unsigned mask, int predicate)
{
    return emu::ballot(mask, predicate == 0) == 0;
}

template <class T> unsigned __match_any_sync(unsigned mask, T value)
{
    return emu::match(mask, value);
}

/* The value before; to the thread sanitizer an atomic access without order. */
template <class T> T atomicAdd(T *at, T value)
{
    T old, sum;
    __atomic_load(at, &old, __ATOMIC_RELAXED);
    do
        sum = old + value;
    while (
        !__atomic_compare_exchange(at, &old, &sum, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old;
}

inline void __threadfence()
{
    std::atomic_thread_fence(std::memory_order_seq_cst);
}

template <class T> constexpr T min(T a, T b)
{
    return b < a ? b : a;
}

template <class T> constexpr T max(T a, T b)
{
    return a < b ? b : a;
}

inline float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}

inline float __expf(float x)
{
    return expf(x);
}

inline float __logf(float x)
{
    return logf(x);
}

inline float __fdividef(float a, float b)
{
    return a / b;
}

inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}

inline int __ffs(int x)
{
    return __builtin_ffs(x);
}

inline int __clz(int x)
{
    return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x));
}

inline unsigned __float_as_uint(float x)
{
    unsigned bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

inline float __uint_as_float(unsigned bits)
{
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

template <class T> T __ldg(const T *from)
{
    return *from;
}

template <class T> T __ldcs(const T *from)
{
    return *from;
}

template <class T> T __ldcg(const T *from)
{
    return *from;
}

template <class T> void __stcs(T *to, T value)
{
    *to = value;
}

template <class T> void __stcg(T *to, T value)
{
    *to = value;
}

/* ---- kernels/cuda/mma.cuh on the CPU ---- */

/* What touches the kernel's memory stands outside of the namespace: it is part of what the
 * sanitizers look at. */

using shared_address = uintptr_t;

inline shared_address shared_address_of(const void *shared)
{
    return reinterpret_cast<uintptr_t>(shared);
}

inline void mma_bf16(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    emu::mma_bf16(sum, emu::mma_part{ { a[0], a[1], a[2], a[3] }, { b0, b1 } });
}

inline void ldmatrix(uint32_t (&to)[4], shared_address row)
{
    const uint16_t *rows[4][2];
    emu::matrix_rows(reinterpret_cast<const uint16_t *>(row), false, rows);
    const unsigned column = emu::now->current_index % 4 * 2;
    for (int matrix = 0; matrix < 4; matrix++) {
        const uint32_t low = rows[matrix][0][column], high = rows[matrix][0][column + 1];
        to[matrix] = low | high << 16;
    }
}

inline void ldmatrix_transposed(uint32_t (&to)[4], shared_address row)
{
    const uint16_t *rows[4][2];
    emu::matrix_rows(reinterpret_cast<const uint16_t *>(row), true, rows);
    const unsigned column = emu::now->current_index % 32 / 4;
    for (int matrix = 0; matrix < 4; matrix++) {
        const uint32_t low = rows[matrix][0][column], high = rows[matrix][1][column];
        to[matrix] = low | high << 16;
    }
}

inline void copy_async(void *shared, const void *from, size_t bytes, bool valid)
{
    emu::copy_begin(shared, from, bytes, valid);
    uint32_t *words = static_cast<uint32_t *>(shared);
    for (size_t i = 0; i < bytes / 4; i++)
        words[i] = 0xffffffffu;
}

inline void copy_async_16(void *shared, const void *from, bool valid)
{
    copy_async(shared, from, 16, valid);
}

inline void copy_async_4(void *shared, const void *from, bool valid)
{
    copy_async(shared, from, 4, valid);
}

inline void copy_async_commit()
{
    emu::now->current->copy_group++;
}

template <int PENDING> void copy_async_wait()
{
    emu::async_copy copy;
    while (emu::copy_take(PENDING, copy)) {
        uint32_t *words = static_cast<uint32_t *>(copy.to);
        const uint32_t *from = static_cast<const uint32_t *>(copy.from);
        for (size_t i = 0; i < copy.bytes / 4; i++)
            words[i] = from == nullptr ? 0 : from[i];
    }
}

inline float exp2_fast(float x)
{
    return exp2f(x);
}

#endif
