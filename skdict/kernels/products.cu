// Products of sparse codes (CSR) with dense matrices. Every sum has one order.

#define BITMAP 32768  // rows that are put in order at a time
#define SHORT 64      // columns up to so many entries are ordered by comparison

// out[row] = sum of codes times atoms. A block per row.
extern "C" __global__ void decode(const long long *indptr, const int *indices, const REAL *values,
                                  const REAL *D, REAL *out, int d) {
    const size_t row = blockIdx.x;
    const long long begin = indptr[row], end = indptr[row + 1];
    for (int c = threadIdx.x; c < d; c += blockDim.x) {
        REAL sum = 0;
#pragma unroll 4
        for (long long p = begin; p < end; ++p) sum += values[p] * D[(size_t)indices[p] * d + c];
        out[row * d + c] = sum;
    }
}

// out[p] = product of an atom and a row of G, for each entry. A block per row, a warp per entry.
extern "C" __global__ void codes_gradient(const long long *indptr, const int *indices,
                                          const REAL *D, const REAL *G, REAL *out, int d) {
    const size_t row = blockIdx.x;
    const REAL *g = G + row * d;
    for (long long p = indptr[row] + threadIdx.x / 32; p < indptr[row + 1]; p += blockDim.x / 32) {
        const REAL *atom = D + (size_t)indices[p] * d;
        REAL sum = 0;
#pragma unroll 4
        for (int c = threadIdx.x % 32; c < d; c += 32) sum += g[c] * atom[c];
        sum = warp_sum(sum);
        if (threadIdx.x % 32 == 0) out[p] = sum;
    }
}

extern "C" __global__ void to_dense(const long long *indptr, const int *indices, const REAL *values,
                                    REAL *out, int m) {
    const size_t row = blockIdx.x;
    for (long long p = indptr[row] + threadIdx.x; p < indptr[row + 1]; p += blockDim.x) {
        out[row * m + indices[p]] = values[p];
    }
}

// Column order: count, sum up, put each entry somewhere in its column, then order the columns.

extern "C" __global__ void count_columns(const int *indices, long long *starts, long long n) {
    const long long p = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (p < n) atomicAdd((unsigned long long *)&starts[indices[p] + 1], 1ull);
}

// Counts become where columns start, in place; next[j] = starts[j]. One block.
extern "C" __global__ void __launch_bounds__(1024) sum_up(long long *starts, long long *next, int m) {
    const int part = (m + blockDim.x - 1) / blockDim.x;
    const int begin = min(int(threadIdx.x) * part, m), end = min(begin + part, m);
    int sum = 0, total;
    for (int j = begin; j < end; ++j) sum += int(starts[j + 1]);
    long long before = block_scan(sum, &total);
    for (int j = begin; j < end; ++j) {
        next[j] = before;
        before += starts[j + 1];
        starts[j + 1] = before;
    }
}

extern "C" __global__ void place_entries(const long long *indptr, const int *indices,
                                         long long *next, int *entries, int *rows) {
    const size_t row = blockIdx.x;
    for (long long p = indptr[row] + threadIdx.x; p < indptr[row + 1]; p += blockDim.x) {
        const unsigned long long place = atomicAdd((unsigned long long *)&next[indices[p]], 1ull);
        entries[place] = int(p);
        rows[place] = int(row);
    }
}

// The entries of each column, placed in whatever order, by their rows. A block per column.
extern "C" __global__ void __launch_bounds__(256) order_columns(
    const long long *starts, const int *placed, const int *placed_rows, int *entries, int *rows,
    int n_rows) {
    __shared__ unsigned present[BITMAP / 32];
    __shared__ int before[BITMAP / 32];
    const long long begin = starts[blockIdx.x];
    const int count = int(starts[blockIdx.x + 1] - begin);
    placed += begin, placed_rows += begin, entries += begin, rows += begin;
    if (count <= SHORT) {
        for (int p = threadIdx.x; p < count; p += blockDim.x) {
            int place = 0;
            for (int other = 0; other < count; ++other) place += placed[other] < placed[p];
            entries[place] = placed[p];
            rows[place] = placed_rows[p];
        }
        return;
    }
    const int words = BITMAP / 32, part = words / blockDim.x, word = threadIdx.x * part;
    int done = 0;
    for (int first = 0; first < n_rows; first += BITMAP) {
        for (int w = threadIdx.x; w < words; w += blockDim.x) present[w] = 0;
        __syncthreads();
        for (int p = threadIdx.x; p < count; p += blockDim.x) {
            const int row = placed_rows[p] - first;
            if (row >= 0 && row < BITMAP) atomicOr(&present[row / 32], 1u << row % 32);
        }
        __syncthreads();
        int sum = 0, total;
        for (int w = word; w < word + part; ++w) sum += __popc(present[w]);
        int so_far = block_scan(sum, &total);
        for (int w = word; w < word + part; ++w) {
            before[w] = so_far;
            so_far += __popc(present[w]);
        }
        __syncthreads();
        for (int p = threadIdx.x; p < count; p += blockDim.x) {
            const int row = placed_rows[p] - first;
            if (row < 0 || row >= BITMAP) continue;
            const unsigned below = present[row / 32] & ((1u << row % 32) - 1);
            const int place = done + before[row / 32] + __popc(below);
            entries[place] = placed[p];
            rows[place] = placed_rows[p];
        }
        done += total;
        __syncthreads();
    }
}

// out[j] += sum of codes times rows of G. A block per column.
extern "C" __global__ void add_outer(const long long *starts, const int *entries, const int *rows,
                                     const REAL *values, const REAL *G, REAL *out, int d) {
    const size_t j = blockIdx.x;
    const long long begin = starts[j], end = starts[j + 1];
    if (begin == end) return;
    for (int c = threadIdx.x; c < d; c += blockDim.x) {
        REAL sum = 0;
#pragma unroll 4
        for (long long p = begin; p < end; ++p) {
            sum += values[entries[p]] * G[(size_t)rows[p] * d + c];
        }
        out[j * d + c] += sum;
    }
}

// Sums of columns in double precision. A warp per column.
extern "C" __global__ void sum_columns(const long long *starts, const int *entries,
                                       const REAL *values, REAL *out, int m) {
    const int j = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (j >= m) return;
    double sum = 0;
    for (long long p = starts[j] + threadIdx.x % 32; p < starts[j + 1]; p += 32) {
        sum += values[entries[p]];
    }
    sum = warp_sum_double(sum);
    if (threadIdx.x % 32 == 0) out[j] = REAL(sum);
}
