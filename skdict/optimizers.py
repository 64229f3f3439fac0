"""Adam and the schedule of its rate: explicit state, `init` and `update`."""

from skdict.backend import namespace
from skdict.kernels.adam import adam, adam_unit_rows


class Adam:
    """Adam (Kingma & Ba, arXiv 1412.6980) that keeps the rows named by `unit_rows` on the sphere.

    State: ``{"step": int, "mean": dict, "square": dict}``, the moments shaped like the parameters.
    """

    def __init__(self, beta1=0.9, beta2=0.999, epsilon=1e-8, unit_rows=("components",)):
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.unit_rows = unit_rows

    def init(self, params):
        def zeros():
            return {name: namespace(array).zeros_like(array) for name, array in params.items()}

        return {"step": 0, "mean": zeros(), "square": zeros()}

    def update(self, params, grads, state, learning_rate, factors, shrink=None):
        """One step, in place in `params` and `state`; `factors` multiply the rate, by name.

        Parameters named in `shrink` are first multiplied by what stands there: decoupled weight
        decay, Loshchilov & Hutter, arXiv 1711.05101.
        """
        for name, factor in (shrink or {}).items():
            params[name] *= factor
        rate, epsilon = self.advance(state, learning_rate)
        for name, param in params.items():
            step = adam_unit_rows if name in self.unit_rows else adam
            mean, square = state["mean"][name], state["square"][name]
            own = rate * factors.get(name, 1.0)
            step(param, grads[name], mean, square, own, self.beta1, self.beta2, epsilon)

    def advance(self, state, learning_rate):
        """Count a step; rate and epsilon for it, with the bias corrections 1 - beta^t folded in.

        rate m̂ / (√v̂ + ε) = (rate √c₂ / c₁) m / (√v + ε √c₂), with c = 1 - beta^t.
        """
        state["step"] += 1
        correction1 = 1 - self.beta1 ** state["step"]
        correction2 = (1 - self.beta2 ** state["step"]) ** 0.5
        return learning_rate * correction2 / correction1, self.epsilon * correction2


def rate_factor(step, warmup, decay_start, total):
    """Factor of the learning rate at `step`: a linear rise, one, a linear fall to zero.

    `total` is the number of steps; the fall begins at `decay_start`.
    """
    rise = min(1.0, (step + 1) / max(warmup, 1))
    if step < decay_start or decay_start >= total:
        return rise
    return rise * (total - step) / (total - decay_start)
