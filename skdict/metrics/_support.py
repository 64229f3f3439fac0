"""Agreement of the supports of codes, once their atoms have partners."""

from scipy.sparse import csr_array, issparse

from skdict.backend import namespace, to_numpy
from skdict.metrics._blocks import BLOCK_ENTRIES
from skdict.metrics._checks import as_matrix, canonical, check_finite, undefined


def as_codes(function, codes, true_codes, n_components, n_true_components):
    """Check codes against each other and the numbers of atoms; sparse ones become canonical."""
    checked = []
    for name, Z, atoms, n_atoms in (
        ("codes", codes, "components", n_components),
        ("true_codes", true_codes, "true_components", n_true_components),
    ):
        Z = canonical(function, Z, name).tocsr() if issparse(Z) else as_matrix(function, name, Z)
        if Z.shape[1] != n_atoms:
            raise ValueError(
                f"{function}: {name} has {Z.shape[1]} columns but {atoms} has {n_atoms} atoms. "
                "Pass codes with one column for each atom."
            )
        checked.append(Z)
    if checked[0].shape[0] != checked[1].shape[0]:
        raise ValueError(
            f"{function}: codes has {checked[0].shape[0]} samples but true_codes has "
            f"{checked[1].shape[0]}. Pass the codes of the same samples."
        )
    return checked


def support_scores(function, codes, true_codes, rows, columns):
    """Precision, recall and F1 over all entries, by name, of codes from `as_codes`.

    ``codes[:, rows[p]]`` and ``true_codes[:, columns[p]]`` belong to pair p.
    """
    n_samples = codes.shape[0]
    n_rows = max(1, BLOCK_ENTRIES // max(codes.shape[1], true_codes.shape[1]))
    if issparse(codes) and issparse(true_codes):
        n_rows = n_samples
    hits = n_fired = n_true_fired = 0
    for start in range(0, n_samples, n_rows):
        block = slice(start, min(start + n_rows, n_samples))
        fired = _support(function, "codes", codes[block, :])
        true_fired = _support(function, "true_codes", true_codes[block, :])
        hits += fired[:, rows].multiply(true_fired[:, columns]).nnz
        n_fired += fired.nnz
        n_true_fired += true_fired.nnz
    total = n_fired + n_true_fired
    return {
        "support_precision": _ratio(function, "support_precision", hits, n_fired, "codes has"),
        "support_recall": _ratio(function, "support_recall", hits, n_true_fired, "true_codes has"),
        "support_f1": _ratio(function, "support_f1", 2 * hits, total, "codes and true_codes have"),
    }


def _support(function, name, Z):
    """CSR matrix with True for each non-zero and nothing else."""
    if issparse(Z):
        return csr_array(Z != 0)
    xp = namespace(Z)
    check_finite(xp, function, name, Z)
    return csr_array(to_numpy(Z if xp.isdtype(Z.dtype, "bool") else Z != 0))


def _ratio(function, name, numerator, denominator, who):
    if denominator == 0:
        why = f"{who} no non-zero entry. Pass more samples, or leave codes out"
        return undefined(f"{function}: {name}", why, stacklevel=5)
    return numerator / denominator
