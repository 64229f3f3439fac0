// The linear algebra of a training step with sparse codes (sparse_step_cuda.py); adam.cu is
// prepended to this file.

#define CHUNK 512  // entries of a column that a block sums

// Residual of a row, its square, and its products with the atoms of the row. A block per row.
extern "C" __global__ void __launch_bounds__(256) reconstruct(
    const long long *indptr, const int *indices, const REAL *values, const REAL *D, const REAL *X,
    REAL *residual, REAL *inner, double *squares, int d) {
    const size_t row = blockIdx.x;
    const long long begin = indptr[row], end = indptr[row + 1];
    REAL *r = residual + row * d;
    REAL square = 0;
    for (int c = threadIdx.x; c < d; c += blockDim.x) {
        REAL sum = -X[row * d + c];
#pragma unroll 4
        for (long long p = begin; p < end; ++p) sum += values[p] * D[(size_t)indices[p] * d + c];
        r[c] = sum;
        square += sum * sum;
    }
    const double total = block_sum_double(square);  // whose barrier lets all see the residual
    if (threadIdx.x == 0) squares[row] = total;
    for (long long p = begin + threadIdx.x / 32; p < end; p += blockDim.x / 32) {
        const REAL *atom = D + (size_t)indices[p] * d;
        REAL sum = 0;
#pragma unroll 4
        for (int c = threadIdx.x % 32; c < d; c += 32) sum += r[c] * atom[c];
        sum = warp_sum(sum);
        if (threadIdx.x % 32 == 0) inner[p] = sum;
    }
}

// Long columns, those of latents that fire often, are cut in chunks, each summed by a block of its
// own. begins[j]: chunks of the columns before j; columns that are not long have none. One block.
extern "C" __global__ void __launch_bounds__(1024) begin_chunks(
    const long long *starts, int *begins, int m) {
    const int part = (m + blockDim.x - 1) / blockDim.x;
    const int first = min(int(threadIdx.x) * part, m), last = min(first + part, m);
    int sum = 0, total;
    for (int j = first; j < last; ++j) {
        const int count = int(starts[j + 1] - starts[j]);
        sum += count > CHUNK ? (count + CHUNK - 1) / CHUNK : 0;
    }
    int before = block_scan(sum, &total);
    for (int j = first; j < last; ++j) {
        const int count = int(starts[j + 1] - starts[j]);
        begins[j] = before;
        before += count > CHUNK ? (count + CHUNK - 1) / CHUNK : 0;
    }
    if (threadIdx.x == 0) begins[m] = total;
}

// Up to CHUNK entries of a column, ready for all threads.
struct Entries {
    int row[CHUNK];
    REAL z[CHUNK], u[CHUNK];
};

__device__ void load(Entries &held, long long first, int n, const int *entries, const int *rows,
                     const REAL *values, const REAL *d_U, REAL scale) {
    for (int p = threadIdx.x; p < n; p += blockDim.x) {
        const int entry = entries[first + p];
        held.row[p] = rows[first + p];
        held.z[p] = scale * values[entry];
        held.u[p] = d_U[entry];
    }
    __syncthreads();
}

// The sums of residuals and samples at feature c.
__device__ void gather(const Entries &held, int n, const REAL *residual, const REAL *centred, int d,
                       int c, REAL *of_D, REAL *of_W) {
#pragma unroll 4
    for (int p = 0; p < n; ++p) {
        const size_t place = (size_t)held.row[p] * d + c;
        *of_D += held.z[p] * residual[place];
        *of_W += held.u[p] * centred[place];
    }
}

// sums[chunk]: of residuals, then of samples. A block per chunk that there might be.
extern "C" __global__ void __launch_bounds__(256) sum_chunks(
    const long long *starts, const int *entries, const int *rows, const int *begins,
    const REAL *values, const REAL *d_U, const REAL *residual, const REAL *centred, REAL *sums,
    REAL scale, int m, int d) {
    __shared__ Entries held;
    const int chunk = blockIdx.x;
    if (chunk >= begins[m]) return;
    int j = 0, end = m;  // the last column that begins at this chunk or before
    while (end - j > 1) {
        const int middle = (j + end) / 2;
        if (begins[middle] <= chunk) {
            j = middle;
        } else {
            end = middle;
        }
    }
    const long long first = starts[j] + (long long)(chunk - begins[j]) * CHUNK;
    const int n = int(min((long long)CHUNK, starts[j + 1] - first));
    load(held, first, n, entries, rows, values, d_U, scale);
    REAL *out = sums + 2 * (size_t)chunk * d;
    for (int c = threadIdx.x; c < d; c += blockDim.x) {
        REAL of_D = 0, of_W = 0;
        gather(held, n, residual, centred, d, c, &of_D, &of_W);
        out[c] = of_D;
        out[d + c] = of_W;
    }
}

// Both weight gradients of a latent, never stored, and Adam with them: on the sphere for the atom.
// A block per latent; its entries come in the order of their rows, those of long columns as sums.
extern "C" __global__ void __launch_bounds__(256) update_latents(
    const long long *starts, const int *entries, const int *rows, const int *begins,
    const REAL *values, const REAL *d_U, const REAL *inner, const REAL *residual,
    const REAL *centred, const REAL *sums, const int *slots, const REAL *extra_D,
    const REAL *extra_W, REAL *D, REAL *mean_D, REAL *square_D, REAL *W, REAL *mean_W,
    REAL *square_W, const REAL *keep, long long *fired, REAL scale, REAL rate_W, REAL rate,
    REAL beta1, REAL rest1, REAL beta2, REAL rest2, REAL epsilon, REAL least, int d) {
    __shared__ Entries held;
    const int j = blockIdx.x, slot = slots ? slots[j] : -1;
    const size_t own = (size_t)j * d, extra = (size_t)max(slot, 0) * d;
    const long long begin = starts[j], end = starts[j + 1];
    const int n_chunks = begins ? begins[j + 1] - begins[j] : 0;
    const REAL *chunks = n_chunks ? sums + 2 * (size_t)begins[j] * d : sums;
    const int n = n_chunks ? 0 : int(end - begin);

    // The product of atom and gradient: of residuals and atoms it is known already.
    REAL radial = 0;
    int n_fired = 0;
    for (long long p = begin + threadIdx.x; p < end; p += blockDim.x) {
        const REAL code = values[entries[p]];
        radial += scale * code * inner[entries[p]];
        n_fired += code != 0;
    }
    if (slot >= 0) {
        for (int c = threadIdx.x; c < d; c += blockDim.x) radial += extra_D[extra + c] * D[own + c];
    }
    radial = block_sum(radial);
    int all;
    block_scan(n_fired, &all);
    if (threadIdx.x == 0) fired[j] = all;
    load(held, begin, n, entries, rows, values, d_U, scale);

    REAL norm2 = 0;
    for (int c = threadIdx.x; c < d; c += blockDim.x) {
        REAL of_D = 0, of_W = 0;
        gather(held, n, residual, centred, d, c, &of_D, &of_W);
        for (int chunk = 0; chunk < n_chunks; ++chunk) {
            of_D += chunks[2 * (size_t)chunk * d + c];
            of_W += chunks[(2 * (size_t)chunk + 1) * d + c];
        }
        if (slot >= 0) {
            of_D += extra_D[extra + c];
            of_W += extra_W[extra + c];
        }
        const size_t i = own + c;
        const REAL atom = moved(D[i], of_D - radial * D[i], mean_D + i, square_D + i, rate, beta1,
                                rest1, beta2, rest2, epsilon, least);
        D[i] = atom;
        norm2 += atom * atom;
        W[i] = moved(keep[j] * W[i], of_W, mean_W + i, square_W + i, rate_W, beta1, rest1, beta2,
                     rest2, epsilon, least);
    }
    norm2 = block_sum(norm2);
    const REAL inverse = norm2 > 0 ? 1 / sqrt(norm2) : REAL(1);
    for (int c = threadIdx.x; c < d; c += blockDim.x) D[own + c] *= inverse;
}
