// Around dense products of factors that are rounded.

// The upper halves of float32, rounded to the nearest, ties to even; NaN stays NaN.
extern "C" __global__ void round_to_bfloat16(const float *A, unsigned short *out, long long n) {
    const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= n) return;
    const unsigned bits = __float_as_uint(A[i]);
    const unsigned rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
    out[i] = (unsigned short)(A[i] != A[i] ? bits >> 16 | 0x40 : rounded);
}

// Entries of U = A Bᵀ with U + bias > 0 become products of the factors as they are. A block per
// row; a warp looks at 32 columns and then computes together those that count.
extern "C" __global__ void refine_positive(REAL *U, const REAL *bias, const REAL *A, const REAL *B,
                                           int m, int d) {
    const size_t row = blockIdx.x;
    const int lane = threadIdx.x % 32;
    const REAL *a = A + row * d;
    for (int first = threadIdx.x / 32 * 32; first < m; first += blockDim.x) {
        const int j = first + lane;
        unsigned left = __ballot_sync(FULL, j < m && U[row * m + (j < m ? j : 0)] + bias[j < m ? j : 0] > 0);
        while (left) {
            const int column = first + __ffs(left) - 1;
            left &= left - 1;
            REAL sum = 0;
#pragma unroll 4
            for (int c = lane; c < d; c += 32) sum += a[c] * B[(size_t)column * d + c];
            sum = warp_sum(sum);
            if (lane == 0) U[row * m + column] = sum;
        }
    }
}
