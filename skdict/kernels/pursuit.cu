// One step of matching pursuit, a block of threads per sample; pursuit_cuda.py multiplies residuals
// by atoms between steps.
//
// Row b of C, R, Q and active belongs to a block, and rows[b] is where the rest of its sample lies:
// support, codes and so on. Only the choice of an atom relies on C, whose precision may be low;
// codes and residuals are computed from the atoms.
//
// Orthogonal pursuit needs the part q_t of atom t that is orthogonal to the atoms before it. It
// keeps its coordinates T[t] in these, q_t = sum over p <= t of T[t, p] d_p with T[t, t] = 1, and
// not q_t: atoms are shared by all samples and stay in the cache, whereas slots x d numbers of each
// sample would come from memory. With T there is no system to solve either: the codes are
// z = sum over t of gamma_t T[t], with gamma_t = <x, q_t> / |q_t|².

struct Best {
    REAL score;
    int place;
};

__device__ Best better(Best one, Best two) {
    return two.score > one.score || (two.score == one.score && two.place < one.place) ? two : one;
}

__device__ Best warp_best(Best best) {
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        const REAL score = __shfl_xor_sync(FULL, best.score, lanes);
        const int place = __shfl_xor_sync(FULL, best.place, lanes);
        best = better(best, Best{score, place});
    }
    return best;
}

// The largest score of the block and the lowest of its places, for all threads.
__device__ Best block_best(Best best) {
    __shared__ Best parts[32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    best = warp_best(best);
    __syncthreads();  // parts may still be read from the last call
    if (lane == 0) parts[warp] = best;
    __syncthreads();
    return warp_best(parts[lane < blockDim.x / 32 ? lane : 0]);
}

// The atom with the largest correlation. NaN is never larger.
__device__ Best largest(const REAL *c, int m, const unsigned *closed, bool positive) {
    Best best = {-1, m};
#pragma unroll 4
    for (int i = threadIdx.x; i < m; i += blockDim.x) {
        const REAL score = positive ? c[i] : fabs(c[i]);
        const bool open = !closed || !(closed[i / 32] >> i % 32 & 1);
        if (open && score > best.score) best = Best{score, i};
    }
    return block_best(best);
}

__device__ REAL block_dot(const REAL *a, const REAL *b, int d) {
    REAL sum = 0;
#pragma unroll 8
    for (int i = threadIdx.x; i < d; i += blockDim.x) sum += a[i] * b[i];
    return block_sum(sum);
}

__device__ REAL warp_dot(const REAL *a, const REAL *b, int d) {
    REAL sum = 0;
#pragma unroll 8
    for (int i = threadIdx.x % 32; i < d; i += 32) sum += a[i] * b[i];
    return warp_sum(sum);
}

// r -= factor u; the new square of r.
__device__ REAL subtract(REAL *r, REAL factor, const REAL *u, int d) {
    REAL sum = 0;
#pragma unroll 4
    for (int i = threadIdx.x; i < d; i += blockDim.x) {
        const REAL value = r[i] - factor * u[i];
        r[i] = value;
        sum += value * value;
    }
    return block_sum(sum);
}

// Is the square of the residual above the tolerance, which is -1 for none?
__device__ bool is_left(REAL square, REAL tol) { return sqrt(square) > tol; }

extern "C" __global__ void __launch_bounds__(256) matching_step(
    const REAL *D, const REAL *C, REAL *R, const int *rows, int *active, int *supports, REAL *codes,
    int *held, const REAL *least, const REAL *tol, int m, int d, int slots, int positive) {
    const int b = blockIdx.x, row = rows[b];
    if (!active[b]) return;
    int *support = supports + (size_t)row * slots;
    REAL *z = codes + (size_t)row * slots, *r = R + (size_t)b * d;
    const int count = held[row];
    const Best best = largest(C + (size_t)b * m, m, nullptr, positive);
    bool goes_on = best.score > least[row];
    REAL c = 0;
    if (goes_on) {
        c = block_dot(r, D + (size_t)best.place * d, d);
        goes_on = (positive ? c : fabs(c)) > least[row];
    }
    if (!goes_on) {
        if (threadIdx.x == 0) active[b] = 0;
        return;
    }
    int found = 0;
    for (int p = threadIdx.x; p < count; p += blockDim.x) {
        if (support[p] == best.place) {
            z[p] += c;
            found = 1;
        }
    }
    found = __syncthreads_or(found);
    const REAL square = subtract(r, c, D + (size_t)best.place * d, d);
    if (threadIdx.x == 0) {
        active[b] = is_left(square, tol[row]);
        if (!found) {
            support[count] = best.place;
            z[count] = c;
            held[row] = count + 1;
        }
    }
}

// What orthogonal pursuit holds of one sample. w, y and solution have a place for each slot.
struct Sample {
    const REAL *D, *gram, *x;
    int m, d;
    int *support;
    REAL *z, *gamma, *pivots, *w, *y, *solution, *T, *q;
    unsigned *closed;  // a bit for each atom: held, dependent on those held, or barred
};

__device__ const REAL *atom_of(const Sample &s, int p) {
    return s.D + (size_t)s.support[p] * s.d;
}

__device__ REAL *coordinates(const Sample &s, int t) { return s.T + (size_t)t * (t + 1) / 2; }

// w, the correlations of a vector with the first t atoms, becomes its coordinates in them.
__device__ void project(const Sample &s, int t) {
    for (int l = threadIdx.x / 32; l < t; l += blockDim.x / 32) {
        const REAL share = warp_dot(coordinates(s, l), s.w, l + 1) / s.pivots[l];
        if (threadIdx.x % 32 == 0) s.y[l] = share;
    }
    __syncthreads();
    for (int p = threadIdx.x; p < t; p += blockDim.x) {
        REAL sum = 0;
#pragma unroll 4
        for (int l = p; l < t; ++l) sum += s.y[l] * coordinates(s, l)[p];
        s.w[p] = sum;
    }
    __syncthreads();
}

// q, the part of atom j that is orthogonal to the first t, and its coordinates T[t]; its square.
// A second pass, of q instead of the atom, where cancellation left rounding error in the first.
__device__ REAL orthogonalise(const Sample &s, int t, int j) {
    const REAL *v = s.D + (size_t)j * s.d;
    REAL *own = coordinates(s, t), square = 0;
    for (int p = threadIdx.x; p <= t; p += blockDim.x) own[p] = p == t;
    for (int pass = 0; pass < 2; ++pass) {
        for (int l = threadIdx.x / 32; l < t; l += blockDim.x / 32) {
            const bool known = pass == 0 && s.gram;
            const REAL c = known ? s.gram[(size_t)j * s.m + s.support[l]]
                                 : warp_dot(atom_of(s, l), v, s.d);
            if (threadIdx.x % 32 == 0) s.w[l] = c;
        }
        __syncthreads();
        project(s, t);
        REAL size = 0;
        for (int p = 0; p < t; ++p) size += s.w[p] * s.w[p];
        REAL sum = 0;
        for (int i = threadIdx.x; i < s.d; i += blockDim.x) {
            REAL rest = v[i];
#pragma unroll 4
            for (int p = 0; p < t; ++p) rest -= s.w[p] * atom_of(s, p)[i];
            s.q[i] = rest;
            sum += rest * rest;
        }
        for (int p = threadIdx.x; p < t; p += blockDim.x) own[p] -= s.w[p];
        square = block_sum(sum);
        if (t == 0 || (square > REAL(0.5) && size < 4)) break;
        v = s.q;
    }
    return square;
}

// Non-negative least squares on the first `count` atoms, the last of which is new: the inner loop
// of Lawson and Hanson (1974), from feasible codes z and the solution without constraints. How many
// stay; those that left are behind them in the support.
__device__ int refit(const Sample &s, int count) {
    while (true) {
        Best first = {-2, count};  // the step is at most 1
        for (int p = threadIdx.x; p < count; p += blockDim.x) {
            if (s.solution[p] > 0) continue;
            const REAL step = s.z[p] > 0 ? s.z[p] / (s.z[p] - s.solution[p]) : 0;
            first = better(first, Best{-step, p});
        }
        first = block_best(first);
        const bool feasible = first.score < -1;
        const REAL step = feasible ? 1 : -first.score;
        for (int p = threadIdx.x; p < count; p += blockDim.x) {
            const REAL moved = s.z[p] + step * (s.solution[p] - s.z[p]);
            s.z[p] = feasible ? s.solution[p] : max(moved, REAL(0));
        }
        __syncthreads();
        if (feasible) return count;
        --count;
        if (threadIdx.x == 0) {
            const int leaving = s.support[first.place];
            for (int p = first.place; p < count; ++p) {
                s.support[p] = s.support[p + 1];
                s.z[p] = s.z[p + 1];
            }
            s.support[count] = leaving;
            s.z[count] = 0;
        }
        __syncthreads();
        for (int p = first.place; p < count; ++p) {
            const REAL square = orthogonalise(s, p, s.support[p]);
            const REAL share = block_dot(s.x, s.q, s.d) / square;
            if (threadIdx.x == 0) {
                s.pivots[p] = square;
                s.gamma[p] = share;
            }
            __syncthreads();
        }
        for (int p = threadIdx.x; p < count; p += blockDim.x) {
            REAL sum = 0;
            for (int l = p; l < count; ++l) sum += s.gamma[l] * coordinates(s, l)[p];
            s.solution[p] = sum;
        }
        __syncthreads();
    }
}

// r = x minus the first `count` atoms times their codes; its square.
__device__ REAL residual(const Sample &s, REAL *r, int count) {
    REAL sum = 0;
    for (int i = threadIdx.x; i < s.d; i += blockDim.x) {
        REAL value = s.x[i];
#pragma unroll 4
        for (int p = 0; p < count; ++p) value -= s.z[p] * atom_of(s, p)[i];
        r[i] = value;
        sum += value * value;
    }
    return block_sum(sum);
}

extern "C" __global__ void __launch_bounds__(256) orthogonal_step(
    const REAL *D, const REAL *gram, const REAL *X, const REAL *C, REAL *R, REAL *Q,
    const int *rows, int *active, int *supports, REAL *codes, int *held, REAL *squares,
    const REAL *least, const REAL *tol, REAL *numbers, REAL *triangles, unsigned *closed,
    REAL dependent, int m, int d, int slots, int has_gram, int positive) {
    const int b = blockIdx.x, row = rows[b];
    if (!active[b]) return;
    REAL *r = R + (size_t)b * d, *own = numbers + (size_t)row * 5 * slots;
    const Sample s = {
        D, has_gram ? gram : nullptr, X + (size_t)row * d, m, d, supports + (size_t)row * slots,
        codes + (size_t)row * slots, own, own + slots, own + 2 * (size_t)slots,
        own + 3 * (size_t)slots, own + 4 * (size_t)slots,
        triangles + row * ((size_t)slots * (slots + 1) / 2), Q + (size_t)b * d,
        closed + (size_t)row * ((m + 31) / 32)};
    const int t = held[row];
    const REAL before = squares[row];
    bool goes_on = true;
    int j = -1;
    REAL square = 0, c = 0;
    while (goes_on && square <= dependent) {  // such an atom is passed over
        const Best best = largest(C + (size_t)b * m, m, s.closed, positive);
        goes_on = best.score > least[row];
        if (!goes_on) break;
        j = best.place;
        if (threadIdx.x == 0) s.closed[j / 32] |= 1u << j % 32;
        square = orthogonalise(s, t, j);
    }
    if (goes_on) {
        c = block_dot(r, s.q, d);
        goes_on = (positive ? c : fabs(c)) > least[row];
    }
    if (!goes_on) {
        if (threadIdx.x == 0) active[b] = 0;
        return;
    }
    const REAL share = c / square;
    int below = 0;
    for (int p = threadIdx.x; p <= t; p += blockDim.x) {
        if (p == t) s.z[p] = 0;
        s.solution[p] = s.z[p] + share * coordinates(s, t)[p];
        below |= s.solution[p] <= 0;
    }
    if (threadIdx.x == 0) {
        s.support[t] = j;
        s.pivots[t] = square;
        s.gamma[t] = share;
    }
    if (!(positive && __syncthreads_or(below))) {
        for (int p = threadIdx.x; p <= t; p += blockDim.x) s.z[p] = s.solution[p];
        const REAL after = subtract(r, share, s.q, d);
        if (threadIdx.x == 0) {
            squares[row] = after;
            held[row] = t + 1;
            active[b] = t + 1 < slots && is_left(after, tol[row]);
        }
        return;
    }
    const int count = refit(s, t + 1);
    const REAL after = residual(s, r, count);
    if (threadIdx.x == 0) {
        squares[row] = after;
        held[row] = count;
        active[b] = count < slots && is_left(after, tol[row]);
        // Atoms that left may come back, but for the new one. Where rounding is all that changes,
        // none may: so every pursuit ends.
        for (int p = count; p <= t; ++p) {
            const int i = s.support[p];
            if (i != j && after < before) s.closed[i / 32] &= ~(1u << i % 32);
        }
    }
}

// CSR of the codes that are not zero, in order of the atoms.
extern "C" __global__ void gather_codes(
    const int *supports, const REAL *codes, const int *held, const long long *indptr, int *indices,
    REAL *values, int slots) {
    const int row = blockIdx.x, count = held[row];
    const int *support = supports + (size_t)row * slots;
    const REAL *z = codes + (size_t)row * slots;
    for (int p = threadIdx.x; p < count; p += blockDim.x) {
        if (z[p] == 0) continue;
        long long place = indptr[row];
        for (int other = 0; other < count; ++other) {
            place += z[other] != 0 && support[other] < support[p];
        }
        indices[place] = support[p];
        values[place] = z[p];
    }
}
