"""Greedy pursuit against scikit-learn, scipy and direct least squares, and its laws."""

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import orthogonal_mp
from strategies import pursuit_problems, streams, unit_dictionary

from skdict.backend import to_numpy
from skdict.kernels import pursuit_cpu, pursuit_reference
from skdict.kernels.pursuit import pursuit
from skdict.kernels.threads import use_threads

FEWER = settings(max_examples=25)
ORTHOGONAL = ["omp", "ols"]
ALGORITHMS = [(name, p) for name in ("mp", "gradient", *ORTHOGONAL) for p in (False, True)]
algorithms = st.sampled_from(ALGORITHMS)


def code(implementation, X, D, k, *, tol=None, algorithm="omp", positive=False, gram=True):
    """Dense codes, after a check of the CSR arrays."""
    X, D = implementation.asarray(X), implementation.asarray(D)
    G = D @ D.T if gram else None
    arrays = implementation.load("pursuit").pursuit(X, D, k, tol, algorithm, positive, G)
    indptr, indices, values = (to_numpy(array) for array in arrays)
    Z = sp.csr_array((values, indices, indptr), shape=(X.shape[0], D.shape[0]))
    assert Z.has_canonical_format and (values != 0).all()
    assert indptr.dtype == np.int64 and indices.dtype == np.int32
    assert values.dtype == to_numpy(X).dtype
    return Z.toarray()


def norms(A):
    return np.linalg.norm(A, axis=1)


def greedy(x, D, k, algorithm, positive):
    """The definition in float64; None where non-negative least squares would drop an atom."""
    z, residual, support = np.zeros(len(D)), x, []
    for _ in range(k):
        c = D @ residual
        score = c if positive else abs(c)
        if algorithm in ORTHOGONAL:
            open_ = ~np.isin(np.arange(len(D)), support) & (score > 1e-10 * np.linalg.norm(x))
            score = np.where(open_, score, 0)
        if algorithm == "ols":  # what least squares with one atom more would gain
            for j in np.flatnonzero(open_):
                chosen = D[[*support, j]].T
                rest = x - chosen @ np.linalg.lstsq(chosen, x)[0]
                score[j] = residual @ residual - rest @ rest
        j = int(np.argmax(score))
        if score[j] < 1e-10 * np.linalg.norm(x):
            break
        if algorithm == "mp":
            z[j] += c[j]
        elif algorithm == "gradient":
            support.append(j)
            change = np.where(np.isin(np.arange(len(D)), support), c, 0)
            if positive:
                change[(z <= 0) & (change < 0)] = 0
            change *= change @ c / np.sum((change @ D) ** 2)
            if positive and (z + change < 0).any():
                change = np.maximum(change, -z)
                share = change @ c / np.sum((change @ D) ** 2)
                if share <= 0:
                    break
                change *= min(share, 1.0)
            z = z + change
        else:
            support.append(j)
            z[support] = np.linalg.lstsq(D[support].T, x)[0]
            if positive and (z[support] <= 1e-9).any():
                return None
        residual = x - z @ D
    return z


@FEWER
@given(problem=pursuit_problems(), how=algorithms, gram=st.booleans())
def test_equals_the_definition(implementation, problem, how, gram):
    # would catch: a selection by the wrong score, stale correlations, codes of another support
    X, D, k = problem
    algorithm, positive = how
    assume(algorithm != "ols" or k < X.shape[1])  # in the last direction all atoms are equal
    expected = [greedy(x, D, k, algorithm, positive) for x in X]
    assume(all(z is not None for z in expected))
    Z = code(implementation, X, D, k, algorithm=algorithm, positive=positive, gram=gram)
    assert_allclose(Z, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("gram", [False, True])
@pytest.mark.parametrize("how", ALGORITHMS)
def test_hundreds_of_small_problems_by_brute_force(how, gram):
    # would catch: a rare path, such as an atom that leaves a support and comes back
    algorithm, positive = how
    rng = np.random.default_rng(20)
    n_checked = 0
    for _ in range(300):
        d, m = rng.integers(3, 9), rng.integers(2, 17)
        x, D = rng.standard_normal((1, d)), unit_dictionary(rng, m, d)
        k = int(rng.integers(1, min(m, d)))
        expected = greedy(x[0], D, k, algorithm, positive)
        if expected is None:
            continue
        (indptr, indices, values) = pursuit_cpu.pursuit(
            x, D, k, None, algorithm, positive, D @ D.T if gram else None
        )
        assert indptr[-1] == np.count_nonzero(expected)
        assert_array_equal(indices, np.flatnonzero(expected))
        assert_allclose(values, expected[indices], rtol=1e-6, atol=1e-9)
        n_checked += 1
    assert n_checked > 200


@pytest.mark.parametrize("gram", [False, True])
@pytest.mark.parametrize("algorithm", ORTHOGONAL)
def test_positive_pursuit_to_the_end_is_non_negative_least_squares(dtype, algorithm, gram):
    # would catch: infeasible codes of a last solution, an atom more than there are dimensions
    excess = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        d, m = rng.integers(3, 11), rng.integers(5, 41)
        X, D = rng.standard_normal((20, d)).astype(dtype), unit_dictionary(rng, m, d, dtype)
        G = D @ D.T if gram else None
        indptr, indices, values = pursuit(X, D, None, 0.0, algorithm, True, G)
        assert values.min(initial=0) >= 0
        left = norms(X - sp.csr_array((values, indices, indptr), shape=(20, m)) @ D)
        best = [scipy.optimize.nnls(D.T.astype(float), x)[1] for x in X.astype(float)]
        excess += list((left - best) / norms(X))
    assert np.mean(np.array(excess) < {"float32": 2e-3, "float64": 1e-6}[dtype]) > 0.99
    assert max(excess) < 0.02


@pytest.mark.parametrize("gram", [False, True])
def test_steps_of_positive_gradient_pursuit_that_are_cut_off(implementation, gram):
    # would catch: a step that was the best before it was cut off, and leaves more than there was
    rng = np.random.default_rng(7)
    X, D = rng.standard_normal((20, 11)), unit_dictionary(rng, 19, 11)
    before = norms(X)
    for k in (*range(1, 12), 50, 51, 52, 200, 201):
        Z = code(implementation, X, D, k, algorithm="gradient", positive=True, gram=gram)
        assert Z.min() >= 0
        after = norms(X - Z @ D)
        assert (after <= before + 1e-12).all()
        before = after


@pytest.mark.parametrize("gram", [False, True])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("algorithm", ["mp", "gradient"])
def test_an_end_without_k(algorithm, positive, gram):
    # would catch: a tolerance that small steps reach never, or after hours
    D = np.array([[1.0, 0.0], [1.0, 1e-5]])
    D /= norms(D)[:, None]
    X = np.array([[0.0, 1.0], [1.0, 1.0]])
    indptr, _, values = pursuit(X, D, None, 1e-3, algorithm, positive, D @ D.T if gram else None)
    assert np.isfinite(values).all() and indptr[-1] > 0


@FEWER
@given(problem=pursuit_problems())
def test_omp_equals_scikit_learn(implementation, problem):
    # would catch: a misunderstanding that our own definition above shares
    X, D, k = problem
    assume(k < D.shape[1])
    expected = orthogonal_mp(D.T, X.T, n_nonzero_coefs=k).reshape(len(D), -1).T
    assert_allclose(code(implementation, X, D, k), expected, rtol=1e-6, atol=1e-8)


@FEWER
@given(problem=pursuit_problems(), fraction=st.floats(0.05, 0.9))
def test_residual_tol_equals_scikit_learn(implementation, problem, fraction):
    # would catch: a squared tolerance, one relative to the sample, or one step too many
    X, D, _ = problem
    assume(len(D) >= X.shape[1])
    tol = fraction * float(norms(X).min())
    expected = orthogonal_mp(D.T, X.T, tol=tol**2).reshape(len(D), -1).T
    Z = code(implementation, X, D, len(D), tol=tol)
    assert_allclose(Z, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("how", ALGORITHMS)
def test_tolerance_may_be_a_numpy_scalar(implementation, how):
    # would catch: a reference that only takes Python floats, as users do not
    rng = np.random.default_rng(1)
    X, D = rng.standard_normal((5, 6)), unit_dictionary(rng, 11, 6)
    options = {"algorithm": how[0], "positive": how[1]}
    given_ = code(implementation, X, D, 6, tol=np.float64(0.5), **options)
    assert_array_equal(given_, code(implementation, X, D, 6, tol=0.5, **options))


@FEWER
@given(problem=pursuit_problems(), how=algorithms, fraction=st.floats(0.05, 1.2))
def test_residual_tol_stops_at_the_first_step_below(implementation, problem, how, fraction):
    # would catch: a running estimate of the residual that stops too early or too late
    X, D, _ = problem
    algorithm, positive = how
    tol, most = fraction * float(norms(X).min()), 9
    Z = code(implementation, X, D, most, tol=tol, algorithm=algorithm, positive=positive)
    steps = [
        code(implementation, X, D, k, algorithm=algorithm, positive=positive)
        for k in range(most + 1)
    ]
    for i, x in enumerate(X):
        sizes = [np.linalg.norm(x - step[i] @ D) for step in steps]
        assume(not np.isclose(sizes, tol, rtol=1e-9).any())
        if (
            algorithm in ORTHOGONAL and positive
        ):  # k bounds its atoms: without one dropped that is its steps
            chosen = np.array([step[i] != 0 for step in steps])
            assume((chosen[:-1] <= chosen[1:]).all())
        first = next((k for k in range(most + 1) if sizes[k] <= tol), most)
        assert_allclose(Z[i], steps[first][i], rtol=1e-7, atol=1e-10)


@FEWER
@given(problem=pursuit_problems(overcomplete=False))
def test_positive_omp_ends_in_non_negative_least_squares(implementation, problem):
    # would catch: atoms that never come back once dropped, a wrong step length when one leaves
    X, D, _ = problem
    Z = code(implementation, X, D, len(D), positive=True)
    assert_allclose(Z, [scipy.optimize.nnls(D.T, x)[0] for x in X], rtol=1e-6, atol=1e-8)


@FEWER
@given(problem=pursuit_problems(), gram=st.booleans())
def test_positive_omp_is_optimal_on_its_support(implementation, problem, gram):
    # would catch: negative codes, codes that were not refitted after an atom left
    X, D, k = problem
    Z = code(implementation, X, D, k, positive=True, gram=gram)
    correlations = (X - Z @ D) @ D.T
    assert (Z >= 0).all()
    assert_allclose(correlations[Z > 0], 0, atol=1e-8)
    assert (np.count_nonzero(Z, axis=1) <= k).all()


@FEWER
@given(problem=pursuit_problems(), how=algorithms)
def test_residual_decreases_with_k(implementation, problem, how):
    # would catch: a step in the wrong direction
    X, D, k = problem
    algorithm, positive = how
    before = norms(X)
    for steps in range(1, k + 1):
        Z = code(implementation, X, D, steps, algorithm=algorithm, positive=positive)
        after = norms(X - Z @ D)
        assert (after <= before + 1e-12).all()
        assert (np.count_nonzero(Z, axis=1) <= steps).all()
        before = after


@FEWER
@given(problem=pursuit_problems(), gram=st.booleans())
def test_omp_residual_is_orthogonal_to_chosen_atoms(implementation, problem, gram):
    # would catch: a substitution that loses accuracy or mixes up the order of atoms
    X, D, k = problem
    Z = code(implementation, X, D, k, gram=gram)
    correlations = (X - Z @ D) @ D.T
    assert_allclose(correlations[Z != 0], 0, atol=1e-8)
    assert (np.count_nonzero(Z, axis=1) == k).all()


@FEWER
@given(rng=streams, d=st.integers(1, 8))
def test_omp_is_exact_on_a_basis(implementation, rng, d):
    # would catch: the last step left out
    X, D = rng.standard_normal((4, d)), unit_dictionary(rng, d, d)
    assume(np.linalg.cond(D) < 1e3)
    assert_allclose(code(implementation, X, D, d) @ D, X, atol=1e-9)


@FEWER
@given(rng=streams, d=st.integers(1, 8), k=st.integers(1, 8), positive=st.booleans())
def test_mp_equals_omp_on_an_orthonormal_dictionary(implementation, rng, d, k, positive):
    # would catch: a correlation that is not subtracted
    X, D = rng.standard_normal((4, d)), np.linalg.qr(rng.standard_normal((d, d)))[0]
    k = min(k, d)
    mp = code(implementation, X, D, k, algorithm="mp", positive=positive)
    omp = code(implementation, X, D, k, algorithm="omp", positive=positive)
    assert_allclose(mp, omp, atol=1e-12)


@FEWER
@given(problem=pursuit_problems(), how=algorithms)
def test_gram_changes_nothing(implementation, problem, how):
    # would catch: two computations of one row of the Gram matrix that differ
    X, D, k = problem
    algorithm, positive = how
    assume(algorithm != "ols" or k < X.shape[1])  # in the last direction all atoms are equal
    with_, without = (
        code(implementation, X, D, k, algorithm=algorithm, positive=positive, gram=gram)
        for gram in (True, False)
    )
    assert_allclose(with_, without, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("how", ALGORITHMS)
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_scale_of_the_data(implementation, dtype, how, scale):
    # would catch: an absolute tolerance, squares that overflow or vanish in float32
    rng = np.random.default_rng(0)
    X, D = rng.standard_normal((5, 6)), unit_dictionary(rng, 11, 6)
    algorithm, positive = how
    options = {"algorithm": algorithm, "positive": positive}
    expected = code(implementation, X, D, 3, **options)
    scaled = code(implementation, (scale * X).astype(dtype), D.astype(dtype), 3, **options)
    assert_allclose(
        scaled.astype(float) / scale, expected, rtol=1e-4, atol=1e-5 if dtype == "float32" else 1e-9
    )


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_scale_of_the_data_with_a_tolerance(implementation, dtype, scale):
    # would catch: a squared tolerance that overflows or vanishes in float32
    rng = np.random.default_rng(1)
    X, D = rng.standard_normal((5, 6)), unit_dictionary(rng, 11, 6)
    expected = code(implementation, X, D, 6, tol=0.5)
    scaled = code(
        implementation, (scale * X).astype(dtype), D.astype(dtype), 6, tol=float(0.5 * scale)
    )
    assert_array_equal(scaled != 0, expected != 0)


@pytest.mark.parametrize("how", ALGORITHMS)
def test_float32_agrees_with_float64(implementation, how):
    # would catch: constants of float64 in a float32 kernel
    rng = np.random.default_rng(2)
    X, D = rng.standard_normal((40, 12)), unit_dictionary(rng, 30, 12)
    algorithm, positive = how
    single, double = (
        code(implementation, X.astype(t), D.astype(t), 5, algorithm=algorithm, positive=positive)
        for t in ("float32", "float64")
    )
    assert_allclose(single, double, atol=1e-4)


@pytest.mark.parametrize("how", ALGORITHMS)
def test_zero_rows_and_zero_atoms(implementation, dtype, how):
    # would catch: a division by the norm of a sample or an atom, a zero atom selected
    rng = np.random.default_rng(3)
    X, D = rng.standard_normal((6, 5)), unit_dictionary(rng, 9, 5)
    X[[1, 4]], D[[0, 7]] = 0, 0
    X, D = X.astype(dtype), D.astype(dtype)
    Z = code(implementation, X, D, 5, algorithm=how[0], positive=how[1])
    assert np.isfinite(Z).all()
    assert not Z[[1, 4]].any() and not Z[:, [0, 7]].any()
    assert Z[[0, 2, 3, 5]].any(axis=1).all()


@pytest.mark.parametrize("how", ALGORITHMS)
def test_nothing_to_select(implementation, how):
    # would catch: an endless loop where no correlation is left, or none is positive
    D = np.array([[1.0, 0.0], [0.6, 0.8]])
    X = np.array([[-1.0, -1.0], [0.0, 0.0]])
    Z = code(implementation, X, D, 2, algorithm=how[0], positive=how[1])
    assert Z[0].any() == (not how[1])
    assert not Z[1].any()
    assert not code(implementation, X, np.zeros((3, 2)), 3, algorithm=how[0], positive=how[1]).any()


@pytest.mark.parametrize("how", ALGORITHMS)
def test_multiples_of_one_atom(implementation, dtype, how):
    # would catch: rounding error that is coded as if it were signal
    D = unit_dictionary(np.random.default_rng(4), 12, 8, dtype)
    factors = np.array([[2.0], [0.3], [1e5]], dtype)
    Z = code(implementation, factors * D[[3, 0, 11]], D, 6, algorithm=how[0], positive=how[1])
    expected = np.zeros_like(Z)
    expected[[0, 1, 2], [3, 0, 11]] = factors[:, 0]
    assert_allclose(Z, expected, rtol=1e-4 if dtype == "float32" else 1e-12, atol=1e-300)


@FEWER
@given(rng=streams, d=st.integers(3, 7), rank=st.integers(1, 3), positive=st.booleans())
def test_omp_stops_where_the_span_is_exhausted(implementation, rng, d, rank, positive):
    # would catch: dependent atoms that are selected and blow up the codes
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0][:rank]
    D = unit_dictionary(rng, 9, rank) @ basis
    X = rng.standard_normal((4, d))
    Z = code(implementation, X, D, 9, positive=positive)
    assert (np.count_nonzero(Z, axis=1) <= rank).all()
    residual = X - Z @ D
    if not positive:
        assert_allclose(residual @ D.T, 0, atol=1e-6)
    assert (norms(residual) <= norms(X) + 1e-12).all()


@FEWER
@given(problem=pursuit_problems(), positive=st.booleans())
def test_duplicated_atoms_are_taken_once(implementation, problem, positive):
    # would catch: a singular system solved, or a round wasted on the second copy
    X, D, k = problem
    once = code(implementation, X, D, k, positive=positive)
    twice = code(implementation, X, np.vstack([D, D]), k, positive=positive)
    halves = twice[:, : len(D)], twice[:, len(D) :]
    assert not ((halves[0] != 0) & (halves[1] != 0)).any()
    assert_allclose(halves[0] + halves[1], once, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("positive", [False, True])
def test_a_dependent_atom_is_passed_over(implementation, positive):
    # would catch: huge codes of an atom that the others span to rounding, or an atom that is
    # passed over in one sample and missing in the next
    D = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0.6, 0.8, 1e-7, 0], [0, 0, 0, 1]])
    D /= norms(D)[:, None]
    X = np.array([[3.0, 1.0, 1.0, 1e-9], 3 * D[2], [3.0, 1.0, 1.0, 1e-9]])
    Z = code(implementation, X, D, 3, positive=positive)
    first = np.array([3.0, 1.0, 0.0, 1e-9])  # the dependent atom would be the third
    assert_allclose(Z, [first, [0, 0, 3, 0], first], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("how", ALGORITHMS)
@pytest.mark.parametrize("mean", [0.0, 0.8])
def test_larger_problems(how, mean):
    # would catch: what needs many atoms, such as several that would leave in one refit
    rng = np.random.default_rng(10)
    D = rng.standard_normal((60, 30)) + mean
    D /= norms(D)[:, None]
    X = rng.standard_normal((60, 30)) + mean / 2
    results = []
    for kernels in (pursuit_cpu, pursuit_reference):
        # Rounding decides between equals, which more steps of the others would lead to.
        k = 30 if how[0] == "omp" else 12
        indptr, indices, values = kernels.pursuit(X, D, k, None, *how, D @ D.T)
        results.append(sp.csr_array((values, indices, indptr), shape=(60, 60)).toarray())
    assert_allclose(results[0], results[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("positive", [False, True])
def test_nearly_equal_atoms_end(implementation, dtype, positive):
    # would catch: atoms that enter and leave for ever by rounding; codes that blow up unnoticed
    rng = np.random.default_rng(5)
    base = unit_dictionary(rng, 3, 8)
    D = np.repeat(base, 6, axis=0) + 1e-4 * rng.standard_normal((18, 8))
    D = (D / norms(D)[:, None]).astype(dtype)
    X = (np.abs(rng.standard_normal((50, 18))) @ D).astype(dtype)
    Z = code(implementation, X, D, 12, positive=positive)
    assert np.isfinite(Z).all()
    assert (norms(X - Z @ D) <= norms(X) * (1e-2 if dtype == "float32" else 1e-6)).all()


@pytest.mark.parametrize("how", ALGORITHMS)
def test_more_steps_than_atoms(implementation, how):
    # would catch: memory for k entries where only m can be selected
    rng = np.random.default_rng(6)
    X, D = rng.standard_normal((3, 5)), unit_dictionary(rng, 2, 5)
    Z = code(implementation, X, D, 400, algorithm=how[0], positive=how[1])
    best = np.linalg.lstsq(D.T, X.T)[0].T
    if not how[1]:
        assert_allclose(Z, best, atol=1e-6)
    else:
        assert_allclose(Z, [scipy.optimize.nnls(D.T, x)[0] for x in X], atol=1e-6)


@pytest.mark.parametrize("how", ALGORITHMS)
@pytest.mark.parametrize("gram", [False, True])
def test_result_does_not_depend_on_threads(dtype, how, gram, many_cores):
    # would catch: scratch memory shared by threads, state carried from one sample to the next
    rng = np.random.default_rng(7)
    X = rng.standard_normal((300, 16)).astype(dtype)
    D = unit_dictionary(rng, 40, 16, dtype)
    results = []
    for n_jobs in (1, 2):
        with use_threads(n_jobs):
            results.append(pursuit(X, D, 6, None, *how, D @ D.T if gram else None))
    for one, two in zip(*results):
        assert_array_equal(one, two)


@pytest.mark.parametrize("how", ALGORITHMS)
def test_samples_do_not_see_each_other(implementation, how):
    # would catch: a mask or a table that is not reset for the next sample
    rng = np.random.default_rng(8)
    X, D = rng.standard_normal((7, 6)), unit_dictionary(rng, 13, 6)
    options = {"algorithm": how[0], "positive": how[1]}
    together = code(implementation, X, D, 4, **options)
    alone = [code(implementation, X[[i]], D, 4, **options)[0] for i in range(len(X))]
    assert_allclose(together, alone, atol=1e-12)


@pytest.mark.parametrize("how", ALGORITHMS)
def test_arguments_are_left_alone(implementation, how):
    # would catch: correlations or the Gram matrix updated in place
    rng = np.random.default_rng(9)
    X, D = rng.standard_normal((4, 6)), unit_dictionary(rng, 9, 6)
    arrays = [implementation.asarray(array.copy()) for array in (X, D, D @ D.T)]
    implementation.load("pursuit").pursuit(*arrays[:2], 4, None, *how, arrays[2])
    for array, before in zip(arrays, (X, D, D @ D.T)):
        assert_array_equal(to_numpy(array), before)


def test_omp_of_image_patches_equals_scikit_learn(data_folder):
    # would catch: an error that needs more than a handful of atoms
    with np.load(data_folder / "natural_whitened.npz") as stored:
        image = stored["images"][0].astype(float)
    patches = np.lib.stride_tricks.sliding_window_view(image, (8, 8))[::50, ::50]
    X = patches.reshape(-1, 64)
    D = unit_dictionary(np.random.default_rng(0), 128, 64)
    arrays = pursuit(X, D, 10, None, "omp", False, D @ D.T)
    Z = sp.csr_array((arrays[2], arrays[1], arrays[0]), shape=(len(X), 128)).toarray()
    expected = orthogonal_mp(D.T, X.T, n_nonzero_coefs=10).T
    assert_allclose(Z, expected, atol=1e-8 * np.abs(expected).max())
