"""Operations of the algorithms, for one sample or one step.

Letters: d features, m components, k codes of a sample that products meet, or steps of a pursuit. A
product is a multiplication and an addition, a sum of n numbers n operations; a comparison, a
quotient, a root and an exponential are one each, signs and copies nothing.
"""

ADAM = 12  # of a parameter: 7 for the two moments, 5 for the step
EIGEN = 9  # times d³: all eigenvectors of a symmetric matrix (Golub & Van Loan, section 8.3)


# ---------------------------------------------------------------------- a sample


def pre_activations(d, m, hidden=None):
    """``(x - b) Wᵀ + e``; with a hidden layer, its ReLU included."""
    if hidden is None:
        return d + 2 * d * m + m
    return d + 2 * d * hidden + 2 * hidden + 2 * hidden * m + m


def decode(d, k):
    """``z D + b``."""
    return 2 * d * k + d


def correlations(d, m):
    """``(x - b) Dᵀ``."""
    return d + 2 * d * m


def least_squares(d, k):
    """On k atoms, by Gram-Schmidt one after the other, and substitution.

    Atom t takes 4 d (t - 1) for what lies in the span of those before it, 3 d + 1 for its norm and
    4 d to move its share out of the residual; substitution takes k².
    """
    return 2 * d * k * (k - 1) + (7 * d + 1) * k + k * k


def select(d, m, k):
    """k times: correlations with the residual, and the largest of them."""
    return k * (2 * d * m + m)


def matching_pursuit(d, m, k):
    """And k times: a code, and the residual."""
    return select(d, m, k) + k * (2 * d + 1)


def orthogonal_pursuit(d, m, k):
    return select(d, m, k) + least_squares(d, k)


def least_squares_pursuit(d, m, k):
    """And k times: squared distances of atoms to the span, and quotients of squares by them."""
    return orthogonal_pursuit(d, m, k) + k * (2 * d * m + 4 * m)


def gradient_pursuit(d, m, k):
    """And with t atoms: their change as a sample, the best step, new codes, a new residual."""
    return select(d, m, k) + (d + 2) * k * (k + 1) + k * (4 * d + 1)


def coordinate_descent(d, m, n, prox):
    """n sweeps over all atoms: a correlation with the residual, a code, a new residual."""
    return n * m * (4 * d + 3 + prox)


def fista(d, m, n, prox):
    """n times: a residual, a gradient, a step, a threshold, momentum."""
    return n * (4 * d * m + d + (5 + prox) * m + 8)


# ---------------------------------------------------------------------- training: a sample


def backward(d, k, hidden=None, penalised=False):
    """From codes to the gradients of all parameters, but for that of b through the encoder."""
    decoder = 2 * d + 2 * d * k + d + 2 * d * k  # R / n, its products with D and z, its sum
    return decoder + (1 + penalised) * k + _encoder_backward(d, k, hidden)


def gated_backward(d, k, hidden=None):
    """With the second reconstruction, from the gate, through a decoder that is held."""
    second = decode(d, k) + 2 * d + 2 * d * k + 2 * k  # R / n, its product with D, penalty, mask
    magnitude = 5 * k  # sum of the gate's, gradient of the scale (2), both gradients to U (2)
    return backward(d, k, hidden) + second + magnitude + (hidden is None) * k  # sum of U's


def _encoder_backward(d, k, hidden):
    if hidden is None:
        return 2 * d * k + k
    return 4 * hidden * k + k + 2 * hidden + 2 * d * hidden


def gradient_of_atoms(d, k):
    """With the codes held: reconstruction, residual / n, its product with z, its sum."""
    return decode(d, k) + 3 * d + 2 * d * k


def statistics(d, k):
    """Sums of zᵀ z and zᵀ x."""
    return 2 * k * k + 2 * d * k


def rank_one(d, k, approximate):
    """Of K-SVD: the residual; for each code its atom added back, the direction, both anew."""
    direction = 2 * d if approximate else 2 * d * d
    return 2 * d * k + d + k * (6 * d + direction)


# ---------------------------------------------------------------------- training: a step


def adam(n_parameters, d, m):
    """And the atoms: tangent of the gradient, norm after the step."""
    return ADAM * n_parameters + 7 * d * m + m


def bias_through_encoder(d, rows):
    return 2 * d * rows + d


def incoherence(d, m, limited):
    """Two products: of the d² or, with a limit, the m² inner products, and with the atoms."""
    return 4 * d * m * (m if limited else d)


def online_descent(d, m):
    """Statistics fade and grow; every atom by its row of them, and its norm."""
    return 2 * m * m + 2 * d * m + m * (2 * d * m + 6 * d + 1)


def optimal_directions(d, m):
    """Elimination for all atoms, and their norms."""
    return 2 * m**3 / 3 + 2 * m * m * d + 3 * d * m + m


def atoms_of_ksvd(d, m, approximate):
    return m * (3 * d + 1) if approximate else m * EIGEN * d**3
