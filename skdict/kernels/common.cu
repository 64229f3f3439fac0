// Prepended to every file of kernels. REAL is float or double. Blocks have a multiple of 32 threads.

#define FULL 0xffffffffu

#ifndef CUDA_ON_CPU
#define DYNAMIC_SHARED(type, name)                                \
    extern __shared__ __align__(16) unsigned char name##_bytes[]; \
    type *name = reinterpret_cast<type *>(name##_bytes)
#endif

// Sums of a warp and of a block, for all threads, in an order that does not change.
__device__ REAL warp_sum(REAL value) {
    for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(FULL, value, lanes);
    return value;
}

__device__ double warp_sum_double(double value) {
    for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(FULL, value, lanes);
    return value;
}

__device__ REAL block_sum(REAL value) {
    __shared__ REAL parts[32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    value = warp_sum(value);
    __syncthreads();  // parts may still be read from the last call
    if (lane == 0) parts[warp] = value;
    __syncthreads();
    return warp_sum(lane < blockDim.x / 32 ? parts[lane] : REAL(0));
}

__device__ double block_sum_double(double value) {
    __shared__ double parts[32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    value = warp_sum_double(value);
    __syncthreads();
    if (lane == 0) parts[warp] = value;
    __syncthreads();
    return warp_sum_double(lane < blockDim.x / 32 ? parts[lane] : 0.0);
}

// Sum of the values of all threads before this one; that of all in *total.
__device__ int block_scan(int value, int *total) {
    __shared__ int parts[32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int sum = value;
    for (int lanes = 1; lanes < 32; lanes *= 2) {
        const int other = __shfl_up_sync(FULL, sum, lanes);
        if (lane >= lanes) sum += other;
    }
    __syncthreads();
    if (lane == 31) parts[warp] = sum;
    __syncthreads();
    int before = 0, all = 0;
    for (int w = 0; w < int(blockDim.x / 32); ++w) {
        if (w < warp) before += parts[w];
        all += parts[w];
    }
    *total = all;
    return before + sum - value;
}

// Unsigned integers in the order of the numbers; zeros of both signs are one, NaN is the least.
__device__ unsigned key_of(float value) {
    if (value != value) return 0;
    const unsigned bits = __float_as_uint(value == 0 ? 0.0f : value);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__device__ unsigned long long key_of(double value) {
    if (value != value) return 0;
    const unsigned long long bits = __double_as_longlong(value == 0 ? 0.0 : value);
    return bits >> 63 ? ~bits : bits | 0x8000000000000000ull;
}

typedef decltype(key_of(REAL(0))) Key;
