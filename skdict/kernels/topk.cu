// The k largest of a row, a block of threads per row. Both ways end with the entries in the order
// of their columns, among equal ones those of the lowest; topk_cuda.py chooses.

#define THREADS 256
#define GROUPS 4         // of columns that a thread looks at
#define CANDIDATES 1024  // that are compared with each other

// Radix select: the k-th largest of n keys. *rest: how many of those equal to it belong to the k.
template <class KeyAt>
__device__ Key kth_largest(KeyAt key_at, int n, int k, int *histogram, int *found, int *rest) {
    Key prefix = 0, known = 0;
    for (int shift = 8 * sizeof(Key) - 8; shift >= 0; shift -= 8) {
        for (int i = threadIdx.x; i < 256; i += blockDim.x) histogram[i] = 0;
        __syncthreads();
        for (int i = threadIdx.x; i < n; i += blockDim.x) {
            const Key key = key_at(i);
            if ((key & known) == prefix) atomicAdd(&histogram[key >> shift & 255], 1);
        }
        __syncthreads();
        if (threadIdx.x < 32) {  // each lane eight digits, the largest first
            const int lane = threadIdx.x;
            int sum = 0;
            for (int i = 0; i < 8; ++i) sum += histogram[255 - 8 * lane - i];
            int until = sum;
            for (int lanes = 1; lanes < 32; lanes *= 2) {
                const int other = __shfl_up_sync(FULL, until, lanes);
                if (lane >= lanes) until += other;
            }
            if (until >= k && until - sum < k) {
                int before = until - sum, digit = 255 - 8 * lane;
                while (before + histogram[digit] < k) before += histogram[digit--];
                found[0] = digit;
                found[1] = before;
            }
        }
        __syncthreads();
        prefix |= Key(found[0]) << shift;
        known |= Key(255) << shift;
        k -= found[1];
        __syncthreads();
    }
    *rest = k;
    return prefix;
}

// The maximum of each of many groups of columns is computed first: k groups have one that is at
// least the k-th largest of these, and hardly more entries of the row reach it than k. So the row
// is read twice, without atomics but for those few. Returns false where they are too many.
__device__ bool among_few(const REAL *u, const REAL *bias, int m, int k, int *indices, REAL *values,
                          int *histogram, int *found) {
    __shared__ Key keys[CANDIDATES];
    __shared__ int columns[CANDIDATES];
    __shared__ unsigned char chosen[CANDIDATES];
    __shared__ int count;
    Key largest[GROUPS] = {};
    for (int first = threadIdx.x; first < m; first += GROUPS * THREADS) {
#pragma unroll
        for (int g = 0; g < GROUPS; ++g) {
            const int c = first + g * THREADS;
            if (c < m) largest[g] = max(largest[g], key_of(u[c] + bias[c]));
        }
    }
#pragma unroll
    for (int g = 0; g < GROUPS; ++g) keys[g * THREADS + threadIdx.x] = largest[g];
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
    int rest;
    const Key least = kth_largest([&](int i) { return keys[i]; }, GROUPS * THREADS, k, histogram,
                                  found, &rest);
    for (int c = threadIdx.x; c < m; c += THREADS) {
        const Key key = key_of(u[c] + bias[c]);
        if (key < least) continue;
        const int place = atomicAdd(&count, 1);
        if (place < CANDIDATES) {
            keys[place] = key;
            columns[place] = c;
        }
    }
    __syncthreads();
    const int n = count;
    if (n > CANDIDATES) return false;
    for (int i = threadIdx.x; i < n; i += THREADS) {  // in whatever order they came
        int rank = 0;
        for (int j = 0; j < n; ++j) {
            rank += keys[j] > keys[i] || (keys[j] == keys[i] && columns[j] < columns[i]);
        }
        chosen[i] = rank < k;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += THREADS) {
        if (!chosen[i]) continue;
        int place = 0;
        for (int j = 0; j < n; ++j) place += chosen[j] && columns[j] < columns[i];
        indices[place] = columns[i];
        values[place] = u[columns[i]] + bias[columns[i]];
    }
    return true;
}

// For any k: each warp has a part of the columns, counts what it has of the k, and writes it.
__device__ void among_all(const REAL *u, const REAL *bias, int m, int k, int *indices, REAL *values,
                          int *histogram, int *found) {
    __shared__ int larger[THREADS / 32], equal[THREADS / 32];
    int rest;
    const Key least = kth_largest([&](int i) { return key_of(u[i] + bias[i]); }, m, k, histogram,
                                  found, &rest);
    const int warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int part = (m + 32 * warps - 1) / (32 * warps) * 32;
    const int begin = warp * part, end = min(begin + part, m);
    int n_larger = 0, n_equal = 0;
    for (int first = begin; first < end; first += 32) {
        const int c = first + lane;
        const Key key = c < end ? key_of(u[c] + bias[c]) : 0;
        n_larger += __popc(__ballot_sync(FULL, c < end && key > least));
        n_equal += __popc(__ballot_sync(FULL, c < end && key == least));
    }
    if (lane == 0) {
        larger[warp] = n_larger;
        equal[warp] = n_equal;
    }
    __syncthreads();
    int place = 0;
    for (int w = 0; w < warp; ++w) {
        const int ties = min(equal[w], rest);
        place += larger[w] + ties;
        rest -= ties;
    }
    const unsigned before = (1u << lane) - 1;
    for (int first = begin; first < end; first += 32) {
        const int c = first + lane;
        const REAL value = c < end ? u[c] + bias[c] : REAL(0);
        const Key key = key_of(value);
        const unsigned ties = __ballot_sync(FULL, c < end && key == least);
        const bool tie = ties >> lane & 1 && __popc(ties & before) < rest;
        const bool mine = tie || (c < end && key > least);
        const unsigned all = __ballot_sync(FULL, mine);
        if (mine) {
            indices[place + __popc(all & before)] = c;
            values[place + __popc(all & before)] = value;
        }
        place += __popc(all);
        rest -= min(__popc(ties), rest);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) topk_rows(
    const REAL *U, const REAL *bias, int *indices, REAL *values, int m, int k, int few) {
    __shared__ int histogram[256], found[2];
    const size_t row = blockIdx.x;
    const REAL *u = U + row * m;
    indices += row * k;
    values += row * k;
    if (few && among_few(u, bias, m, k, indices, values, histogram, found)) return;
    __syncthreads();
    among_all(u, bias, m, k, indices, values, histogram, found);
}
