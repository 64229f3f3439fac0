// Runs CUDA kernels on the host, so that their results can be tested where there is no GPU.
//
// Included before the unmodified text of a .cu file, which g++ then compiles as C++20. Blocks run
// one after another. Within a block every CUDA thread is a coroutine with a stack of its own: it
// runs until it meets a barrier, a shuffle or a vote, and goes on once all threads that take part
// have arrived. Thus what a kernel does between two barriers is done by one thread after another,
// in an order that can be reversed (`order`): a result that changes with it depends on a race.
// With -fsanitize=thread every coroutine is a thread for the sanitizer, and only barriers order
// memory accesses, so a missing one is reported even where the result happens to be right.
//
// What real hardware would leave undefined stops the process with a message: a barrier that some
// threads never reach, a warp operation in which not all 32 lanes take part, block sizes that are
// not a multiple of 32, too much shared memory. Shared memory is filled with ones (NaN, -1) before
// each block. Not emulated: the memory model's weaknesses, speed, and contraction to fused
// multiply-adds.

#pragma once

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#define CUDA_ON_CPU 1
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
// One section, so that it can be filled before each block. No templates or inline functions with
// shared variables: their sections would be of another kind.
#define __shared__ static __attribute__((section("cuda_shared")))
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(emulation::dynamic_shared)

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define UNSEEN __attribute__((no_sanitize("thread"), noinline))
#else
#define UNSEEN
#endif

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

extern char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));

namespace emulation {

constexpr unsigned warp_size = 32, max_threads = 1024;
constexpr size_t stack_size = 1 << 18, max_shared = 48 << 10, max_dynamic_shared = 227 << 10;

// Where threads wait for each other. The last to arrive opens it and leaves the tally of all.
struct Barrier {
    unsigned expected = 0, arrived = 0, phase = 0, tally = 0, result = 0;
};

struct Warp {
    Barrier barrier;
    unsigned long long lanes[2][warp_size];  // for odd and even operations, so one wait suffices
};

struct Thread {
    ucontext_t context;
    jmp_buf place;  // where it goes on: swapcontext would ask the system about signals each time
    bool begun;
    uint3 index;
    unsigned lane, waits_in;  // the phase that has to end
    Barrier* waits_for;
    Warp* warp;
    const char* operation;
    bool done;
    void* fiber;
};

inline Thread threads[max_threads];
inline Warp warps[max_threads / warp_size];
inline Barrier block_barrier;
inline Thread* current = nullptr;
inline ucontext_t scheduler;
inline jmp_buf scheduler_place;
inline void* scheduler_fiber = nullptr;
inline dim3 grid, block;
inline uint3 block_index;
inline int order = 0;  // 0: threads and blocks in increasing order, 1: in decreasing order
alignas(128) inline unsigned char dynamic_shared[max_dynamic_shared];
inline void (*body)(void*) = nullptr;
inline void* body_arguments = nullptr;

[[noreturn]] inline void fail(const char* message, const char* detail = "") {
    std::fprintf(stderr, "cuda_on_cpu: %s%s\n", message, detail);
    std::fflush(stderr);
    std::abort();
}

// From a CUDA thread to the scheduler, until that resumes it.
UNSEEN inline void yield() {
    Thread* self = current;
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(scheduler_fiber, __tsan_switch_to_fiber_no_sync);
    swapcontext(&self->context, &scheduler);
#else
    if (!_setjmp(self->place)) _longjmp(scheduler_place, 1);
#endif
}

UNSEEN inline unsigned wait_at(Barrier& barrier, unsigned mine, const char* operation) {
#if defined(__SANITIZE_THREAD__)
    __tsan_release(&barrier);
#endif
    barrier.tally += mine;
    if (++barrier.arrived == barrier.expected) {
        barrier.result = barrier.tally;
        barrier.arrived = barrier.tally = 0;
        ++barrier.phase;
    } else {
        Thread* self = current;
        self->waits_for = &barrier;
        self->waits_in = barrier.phase;
        self->operation = operation;
        yield();
    }
#if defined(__SANITIZE_THREAD__)
    __tsan_acquire(&barrier);
#endif
    return barrier.result;
}

UNSEEN inline void run_thread() {
    while (true) {  // one block after another, on the same stack
        body(body_arguments);
        current->done = true;
        yield();
    }
}

UNSEEN inline void start_block(unsigned n_threads, size_t n_shared) {
    static unsigned char* stacks = nullptr;
    if (!stacks) {
        void* memory = mmap(nullptr, max_threads * stack_size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) fail("no memory for stacks");
        stacks = static_cast<unsigned char*>(memory);
    }
    if (__start_cuda_shared) {
        std::memset(__start_cuda_shared, 0xff, __stop_cuda_shared - __start_cuda_shared);
    }
    std::memset(dynamic_shared, 0xff, n_shared);
    block_barrier = Barrier{n_threads};
    for (unsigned t = 0; t < n_threads; ++t) {
        Thread& thread = threads[t];
        thread.index = {t % block.x, t / block.x % block.y, t / (block.x * block.y)};
        thread.lane = t % warp_size;
        thread.warp = &warps[t / warp_size];
        thread.warp->barrier = Barrier{warp_size};
        thread.waits_for = nullptr;
        thread.done = false;
#if !defined(__SANITIZE_THREAD__)
        if (thread.begun) continue;
#endif
        thread.begun = false;
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = stacks + t * stack_size;
        thread.context.uc_stack.ss_size = stack_size;
        thread.context.uc_link = nullptr;
        makecontext(&thread.context, run_thread, 0);
    }
}

UNSEEN inline void resume(Thread& thread) {
    current = &thread;
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(thread.fiber, __tsan_switch_to_fiber_no_sync);
    swapcontext(&scheduler, &thread.context);
#else
    if (_setjmp(scheduler_place)) return;
    if (thread.begun) _longjmp(thread.place, 1);
    thread.begun = true;
    setcontext(&thread.context);
#endif
}

UNSEEN inline void run_block(unsigned n_threads) {
#if defined(__SANITIZE_THREAD__)
    scheduler_fiber = __tsan_get_current_fiber();
    for (unsigned t = 0; t < n_threads; ++t) {
        threads[t].fiber = __tsan_create_fiber(0);
        __tsan_switch_to_fiber(threads[t].fiber, 0);  // what happened before the launch is seen
        __tsan_switch_to_fiber(scheduler_fiber, __tsan_switch_to_fiber_no_sync);
    }
#endif
    for (unsigned running = n_threads; running;) {
        bool progress = false;
        for (unsigned i = 0; i < n_threads; ++i) {
            Thread& thread = threads[order ? n_threads - 1 - i : i];
            const Barrier* barrier = thread.waits_for;
            if (thread.done || (barrier && barrier->phase == thread.waits_in)) continue;
            thread.waits_for = nullptr;
            resume(thread);
            progress = true;
            running -= thread.done;
        }
        if (!progress) {
            for (unsigned t = 0; t < n_threads; ++t) {
                if (!threads[t].done) fail("some threads never reach ", threads[t].operation);
            }
        }
    }
#if defined(__SANITIZE_THREAD__)
    for (unsigned t = 0; t < n_threads; ++t) {
        __tsan_switch_to_fiber(threads[t].fiber, __tsan_switch_to_fiber_no_sync);
        __tsan_switch_to_fiber(scheduler_fiber, 0);  // what comes after sees all threads
        __tsan_destroy_fiber(threads[t].fiber);
    }
#endif
}

inline void run_grid(size_t n_shared) {
    const unsigned n_threads = block.x * block.y * block.z;
    const size_t n_static = __start_cuda_shared ? __stop_cuda_shared - __start_cuda_shared : 0;
    if (!n_threads || n_threads > max_threads || n_threads % warp_size) {
        fail("the size of a block must be a multiple of 32 up to 1024");
    }
    if (!grid.x || !grid.y || !grid.z || grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535) {
        fail("a side of the grid is empty or too large");
    }
    if (n_static > max_shared || n_shared > max_dynamic_shared) fail("too much shared memory");
    const size_t n_blocks = size_t(grid.x) * grid.y * grid.z;
    for (size_t i = 0; i < n_blocks; ++i) {
        const size_t b = order ? n_blocks - 1 - i : i;
        block_index = {unsigned(b % grid.x), unsigned(b / grid.x % grid.y),
                       unsigned(b / (size_t(grid.x) * grid.y))};
        start_block(n_threads, n_shared);
        run_block(n_threads);
    }
}

// Calls a kernel as cuLaunchKernel does, with pointers to its arguments.
template <class... A>
void launch(void (*kernel)(A...), const unsigned* of_grid, const unsigned* of_block,
            size_t n_shared, int in_order, void** arguments) {
    struct Call {
        void (*kernel)(A...);
        std::tuple<std::remove_const_t<A>...> values;
    };
    Call call = [&]<size_t... I>(std::index_sequence<I...>) {
        return Call{kernel, {*static_cast<std::remove_const_t<A>*>(arguments[I])...}};
    }(std::index_sequence_for<A...>{});
    grid = {of_grid[0], of_grid[1], of_grid[2]};
    block = {of_block[0], of_block[1], of_block[2]};
    order = in_order;
    body = [](void* memory) {
        Call& call = *static_cast<Call*>(memory);
        std::apply(call.kernel, call.values);
    };
    body_arguments = &call;
    run_grid(n_shared);
}

// Describes the parameters of a kernel: kind and size, "*" before that of what pointers point to.
template <class T>
void describe(char*& text) {
    using U = std::remove_cv_t<T>;
    if constexpr (std::is_pointer_v<U>) {
        *text++ = '*';
        describe<std::remove_pointer_t<U>>(text);
    } else if constexpr (std::is_void_v<U> || std::is_class_v<U>) {
        *text++ = 'V', *text++ = '0';
    } else {
        *text++ = std::is_same_v<U, bool>      ? 'b'
                  : std::is_floating_point_v<U> ? 'f'
                  : std::is_signed_v<U>         ? 'i'
                                                : 'u';
        *text++ = char('0' + sizeof(U));
    }
}

template <class... A>
void signature(void (*)(A...), char* text) {
    ((describe<A>(text), *text++ = ' '), ...);
    *text = 0;
}

UNSEEN inline void need_all(unsigned mask) {
    if (mask != 0xffffffffu) fail("only warp operations of all 32 lanes are emulated");
}

// The value of each lane, as seen by all of them.
template <class T>
UNSEEN T from_lane(T value, unsigned lane, const char* operation) {
    static_assert(sizeof(T) <= 8);
    Warp& warp = *current->warp;
    unsigned long long(&lanes)[warp_size] = warp.lanes[warp.barrier.phase % 2];
    __builtin_memcpy(&lanes[current->lane], &value, sizeof(T));
    wait_at(warp.barrier, 0, operation);
    __builtin_memcpy(&value, &lanes[lane], sizeof(T));
    return value;
}

inline unsigned vote(bool mine, const char* operation) {
    return wait_at(current->warp->barrier, mine ? 1u << current->lane : 0, operation);
}

template <class T, class F>
T exchange(T* address, F change) {
    std::atomic_ref<T> target(*address);
    T old = target.load(std::memory_order_relaxed);
    while (!target.compare_exchange_weak(old, change(old), std::memory_order_relaxed)) {
    }
    return old;
}

}  // namespace emulation

#define threadIdx (emulation::current->index)
#define blockIdx (emulation::block_index)
#define blockDim (emulation::block)
#define gridDim (emulation::grid)
#define warpSize 32

// ---- barriers and votes

inline void __syncthreads() { emulation::wait_at(emulation::block_barrier, 0, "__syncthreads"); }
inline int __syncthreads_count(int p) {
    return int(emulation::wait_at(emulation::block_barrier, p != 0, "__syncthreads_count"));
}
inline int __syncthreads_or(int p) { return __syncthreads_count(p) != 0; }
inline int __syncthreads_and(int p) { return __syncthreads_count(p == 0) == 0; }

inline void __syncwarp(unsigned mask = 0xffffffffu) {
    emulation::need_all(mask);
    emulation::wait_at(emulation::current->warp->barrier, 0, "__syncwarp");
}
inline unsigned __ballot_sync(unsigned mask, int p) {
    emulation::need_all(mask);
    return emulation::vote(p != 0, "__ballot_sync");
}
inline int __any_sync(unsigned mask, int p) { return __ballot_sync(mask, p) != 0; }
inline int __all_sync(unsigned mask, int p) { return __ballot_sync(mask, p) == 0xffffffffu; }

// ---- shuffles

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    emulation::need_all(mask);
    const unsigned lane = emulation::current->lane;
    return emulation::from_lane(value, (lane & ~(width - 1)) + (source & (width - 1)), "__shfl_sync");
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    emulation::need_all(mask);
    const unsigned lane = emulation::current->lane;
    const bool inside = (lane & (width - 1)) + delta < unsigned(width);
    return emulation::from_lane(value, inside ? lane + delta : lane, "__shfl_down_sync");
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    emulation::need_all(mask);
    const unsigned lane = emulation::current->lane;
    const bool inside = (lane & (width - 1)) >= delta;
    return emulation::from_lane(value, inside ? lane - delta : lane, "__shfl_up_sync");
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
    emulation::need_all(mask);
    const unsigned lane = emulation::current->lane, other = lane ^ unsigned(lanes);
    const bool inside = (other & ~(width - 1)) <= (lane & ~(width - 1));
    return emulation::from_lane(value, inside ? other : lane, "__shfl_xor_sync");
}

// ---- atomics, which order nothing else, as on the device

template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
    return emulation::exchange(address, [=](T old) { return T(old + value); });
}
template <class T>
T atomicSub(T* address, std::type_identity_t<T> value) {
    return emulation::exchange(address, [=](T old) { return T(old - value); });
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value) {
    return emulation::exchange(address, [=](T old) { return old < value ? value : old; });
}
template <class T>
T atomicMin(T* address, std::type_identity_t<T> value) {
    return emulation::exchange(address, [=](T old) { return value < old ? value : old; });
}
template <class T>
T atomicOr(T* address, std::type_identity_t<T> value) {
    return emulation::exchange(address, [=](T old) { return T(old | value); });
}
template <class T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
    return emulation::exchange(address, [=](T old) { return T(old & value); });
}
template <class T>
T atomicExch(T* address, std::type_identity_t<T> value) {
    return emulation::exchange(address, [=](T) { return value; });
}
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
    return emulation::exchange(address, [=](T old) { return old == compare ? value : old; });
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// ---- bits and arithmetic

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(unsigned(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
inline int __ffs(int x) { return x ? std::countr_zero(unsigned(x)) + 1 : 0; }
inline int __ffsll(long long x) {
    return x ? std::countr_zero(static_cast<unsigned long long>(x)) + 1 : 0;
}
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }
template <class T>
T __ldg(const T* address) {
    return *address;
}

using std::abs;
using std::fabs;
using std::fma;
using std::fmax;
using std::fmin;
using std::isfinite;
using std::isinf;
using std::isnan;
using std::sqrt;
template <class S, class T>
constexpr std::common_type_t<S, T> max(S a, T b) {
    using U = std::common_type_t<S, T>;
    if constexpr (std::is_floating_point_v<U>) {
        return std::fmax(U(a), U(b));
    } else {
        return U(a) < U(b) ? U(b) : U(a);
    }
}
template <class S, class T>
constexpr std::common_type_t<S, T> min(S a, T b) {
    using U = std::common_type_t<S, T>;
    if constexpr (std::is_floating_point_v<U>) {
        return std::fmin(U(a), U(b));
    } else {
        return U(b) < U(a) ? U(b) : U(a);
    }
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dmul_rn(double x, double y) { return x * y; }
