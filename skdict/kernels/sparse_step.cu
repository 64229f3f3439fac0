// The linear algebra of a training step with sparse codes (sparse_step_cuda.py); adam.cu is
// prepended to this file.

#define CHUNK 512  // entries of a column that are held ready

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

// Both weight gradients of a latent, never stored, and Adam with them: on the sphere for the atom.
// A block per latent; its entries come in the order of their rows.
extern "C" __global__ void __launch_bounds__(256) update_latents(
    const long long *starts, const int *entries, const int *rows, const REAL *values,
    const REAL *d_U, const REAL *inner, const REAL *residual, const REAL *centred, const int *slots,
    const REAL *extra_D, const REAL *extra_W, REAL *D, REAL *mean_D, REAL *square_D, REAL *W,
    REAL *mean_W, REAL *square_W, const REAL *keep, long long *fired, REAL scale, REAL rate_W,
    REAL rate, REAL beta1, REAL rest1, REAL beta2, REAL rest2, REAL epsilon, REAL least, int d) {
    __shared__ int row_of[CHUNK];
    __shared__ REAL z[CHUNK], u[CHUNK];
    const int j = blockIdx.x, slot = slots ? slots[j] : -1;
    const size_t own = (size_t)j * d, extra = (size_t)max(slot, 0) * d;
    const long long begin = starts[j], end = starts[j + 1];

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

    REAL norm2 = 0;
    for (int tile = 0; tile < d; tile += blockDim.x) {
        const int c = tile + threadIdx.x;
        REAL of_D = 0, of_W = 0;
        for (long long first = begin; first < end; first += CHUNK) {
            const int n = int(min((long long)CHUNK, end - first));
            if (tile == 0 || end - begin > CHUNK) {  // else all are there
                __syncthreads();
                for (int p = threadIdx.x; p < n; p += blockDim.x) {
                    const int entry = entries[first + p];
                    row_of[p] = rows[first + p];
                    z[p] = scale * values[entry];
                    u[p] = d_U[entry];
                }
                __syncthreads();
            }
            if (c >= d) continue;
#pragma unroll 4
            for (int p = 0; p < n; ++p) {
                const size_t place = (size_t)row_of[p] * d + c;
                of_D += z[p] * residual[place];
                of_W += u[p] * centred[place];
            }
        }
        if (c >= d) continue;
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
