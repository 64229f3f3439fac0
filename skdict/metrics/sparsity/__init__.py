"""The sixteen sparsity measures of Hurley and Rickard (2009); larger is sparser."""

from skdict.metrics.sparsity.counts import n_near_zeros, n_zeros
from skdict.metrics.sparsity.entropies import (
    entropy_gaussian,
    entropy_shannon,
    entropy_shannon_modified,
)
from skdict.metrics.sparsity.scale_bound import (
    neg_l1,
    neg_log,
    neg_lp,
    neg_lp_minus,
    neg_tanh,
)
from skdict.metrics.sparsity.scale_free import (
    gini,
    hoyer,
    kappa_4,
    l2_l1,
    pq_mean,
    u_theta,
)

# In the order of the paper's table, with the pq-mean where the journal added it.
MEASURES = {
    measure.__name__: measure
    for measure in (
        n_zeros,
        n_near_zeros,
        neg_l1,
        neg_lp,
        l2_l1,
        neg_tanh,
        neg_log,
        kappa_4,
        u_theta,
        neg_lp_minus,
        entropy_gaussian,
        entropy_shannon,
        entropy_shannon_modified,
        hoyer,
        pq_mean,
        gini,
    )
}
