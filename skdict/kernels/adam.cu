// Adam in place, in one pass over memory. beta and 1 - beta are both given: in float32 0.999 leaves
// 5e-5 of an error in the difference. Moments below `least` become zero, as on the CPU.

__device__ REAL flushed(REAL moment, REAL least) { return fabs(moment) < least ? REAL(0) : moment; }

// The new value of a parameter.
__device__ REAL moved(REAL param, REAL g, REAL *mean, REAL *square, REAL rate, REAL beta1,
                      REAL rest1, REAL beta2, REAL rest2, REAL epsilon, REAL least) {
    *mean = flushed(beta1 * *mean + rest1 * g, least);
    *square = flushed(beta2 * *square + rest2 * g * g, least);
    return param - rate * *mean / (sqrt(*square) + epsilon);
}

extern "C" __global__ void adam(REAL *param, const REAL *grad, REAL *mean, REAL *square, REAL rate,
                                REAL beta1, REAL rest1, REAL beta2, REAL rest2, REAL epsilon,
                                REAL least, long long n) {
    const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < n) {
        param[i] = moved(param[i], grad[i], mean + i, square + i, rate, beta1, rest1, beta2, rest2,
                         epsilon, least);
    }
}

// Rows of unit norm: the gradient is projected on the tangent, the row divided by its norm. A block
// per row.
extern "C" __global__ void adam_unit_rows(REAL *param, const REAL *grad, REAL *mean, REAL *square,
                                          REAL rate, REAL beta1, REAL rest1, REAL beta2, REAL rest2,
                                          REAL epsilon, REAL least, int d) {
    const size_t row = (size_t)blockIdx.x * d;
    REAL sum = 0;
    for (int c = threadIdx.x; c < d; c += blockDim.x) sum += grad[row + c] * param[row + c];
    const REAL radial = block_sum(sum);
    sum = 0;
    for (int c = threadIdx.x; c < d; c += blockDim.x) {
        const size_t i = row + c;
        const REAL value = moved(param[i], grad[i] - radial * param[i], mean + i, square + i, rate,
                                 beta1, rest1, beta2, rest2, epsilon, least);
        param[i] = value;
        sum += value * value;
    }
    const REAL norm2 = block_sum(sum);
    const REAL inverse = norm2 > 0 ? 1 / sqrt(norm2) : REAL(1);
    for (int c = threadIdx.x; c < d; c += blockDim.x) param[row + c] *= inverse;
}
