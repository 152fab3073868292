"""Methods of the SAM family that remember nothing: settings, formulas and sources.

``w`` are the weights, ``g`` the gradient there, ``epsilon`` the perturbation, ``g_p``
the gradient at ``w + epsilon``, ``d`` what the base optimizer receives; norms run over
all parameters. Those with a memory are in ``sam_jax.optimizers.memory_methods``.
"""

import dataclasses
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.optimizers import tree_math
from sam_jax.optimizers.base import Method, Step, perturbed_params
from sam_jax.optimizers.radius import check_setting
from sam_jax.types import Key, Params


@dataclasses.dataclass(frozen=True)
class SAM(Method):
    """Sharpness-aware minimization: ``epsilon = rho g / |g|``, ``d = g_p``.

    References:
        Foret et al., "Sharpness-Aware Minimization for Efficiently Improving
        Generalization", 2021, https://arxiv.org/abs/2010.01412, algorithm 1.
    """


@dataclasses.dataclass(frozen=True)
class USAM(Method):
    """SAM without the normalisation: ``epsilon = rho g``, ``d = g_p``.

    References:
        Andriushchenko and Flammarion, "Towards Understanding Sharpness-Aware
        Minimization", 2022, https://arxiv.org/abs/2206.06232.
    """

    def perturb(
        self,
        grads: Params,
        params: Params,
        rho: ArrayLike,
        memory: Any = (),
        key: Key | None = None,
    ) -> Params:
        """Returns ``rho g``."""
        return tree_math.scale(rho, tree_math.widen(grads))


@dataclasses.dataclass(frozen=True)
class ASAM(Method):
    """Adaptive SAM: ``epsilon = rho T^2 g / |T g|`` with ``T = |w| + eta``.

    Attributes:
        eta: Added to ``|w|``, so that weights at 0 move as well.
        scale_biases: Whether biases are scaled like the other weights. Off in the
            authors' code, which takes ``T = 1`` there. A bias is a leaf named
            ``bias`` or ``b``; leaves without a name count as weights.

    References:
        Kwon et al., "ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant
        Learning of Deep Neural Networks", 2021, https://arxiv.org/abs/2102.11600,
        equation 6 and algorithm 1.
    """

    eta: ArrayLike = 0.01
    scale_biases: bool = False

    def __post_init__(self):
        check_setting(eta=self.eta)

    def perturb(
        self,
        grads: Params,
        params: Params,
        rho: ArrayLike,
        memory: Any = (),
        key: Key | None = None,
    ) -> Params:
        """Returns ``rho T^2 g / |T g|``."""
        wide = tree_math.widen(params)
        scales = jax.tree_util.tree_map_with_path(self._scale, wide)
        scaled_grads = jax.tree.map(jnp.multiply, scales, tree_math.widen(grads))
        unscaled = tree_math.with_norm(rho, scaled_grads)
        return jax.tree.map(jnp.multiply, scales, unscaled)

    def _scale(self, path: Any, w: Float[Array, "..."]) -> Float[Array, "..."]:
        """``T`` of one leaf."""
        names = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
        # The leaf of an nnx state is called "value", the parameter before it "bias".
        name = names[-2] if names[-1] == "value" and len(names) > 1 else names[-1]
        if name in ("bias", "b") and not self.scale_biases:
            return jnp.ones_like(w)
        return jnp.abs(w) + jnp.asarray(self.eta, w.dtype)


@dataclasses.dataclass(frozen=True)
class GSAM(Method):
    """Surrogate gap minimization: SAM's perturbation, a part of the descent removed.

    ``d = g_p - alpha (g - (g . u) u)`` with ``u = g_p / |g_p|``; or, decomposing the
    perturbed gradient, ``d = g + alpha (g_p - (g_p . u) u)`` with ``u = g / |g|``.

    Attributes:
        alpha: Weight of the orthogonal part; published: 0.4 to 0.7.
        decompose: The gradient that is decomposed: ``"clean"`` (the paper) or
            ``"perturbed"`` (the alternative in the authors' code).

    References:
        Zhuang et al., "Surrogate Gap Minimization Improves Sharpness-Aware Training",
        2022, https://arxiv.org/abs/2203.08065, algorithm 1.
    """

    alpha: ArrayLike = 0.4
    decompose: str = "clean"

    def __post_init__(self):
        check_setting(alpha=self.alpha)
        _checks.literal(Literal["clean", "perturbed"], decompose=self.decompose)

    def direction(
        self, grads: Params, perturbed_grads: Params, memory: Any = ()
    ) -> tuple[Params, Any]:
        """Returns ``d`` of the class docstring."""
        clean, perturbed = tree_math.widen(grads), tree_math.widen(perturbed_grads)
        if self.decompose == "clean":
            removed = tree_math.orthogonal(clean, perturbed)
            d = tree_math.add(perturbed, jnp.negative(self.alpha), removed)
        else:
            added = tree_math.orthogonal(perturbed, clean)
            d = tree_math.add(clean, self.alpha, added)
        return tree_math.cast_like(d, grads), memory


@dataclasses.dataclass(frozen=True)
class GNP(Method):
    """Gradient norm penalty: SAM's perturbation, ``d = (1 - alpha) g + alpha g_p``.

    Attributes:
        alpha: Weight of the perturbed gradient, in [0, 1]; 1 is SAM.

    References:
        Zhao et al., "Penalizing Gradient Norm for Efficiently Improving
        Generalization in Deep Learning", 2022, https://arxiv.org/abs/2202.03599,
        algorithm 1.
    """

    alpha: ArrayLike = 0.8

    def __post_init__(self):
        check_setting(_checks.in_unit_interval, alpha=self.alpha)

    def direction(
        self, grads: Params, perturbed_grads: Params, memory: Any = ()
    ) -> tuple[Params, Any]:
        """Returns ``(1 - alpha) g + alpha g_p``."""
        clean = tree_math.scale(1 - self.alpha, tree_math.widen(grads))
        d = tree_math.add(clean, self.alpha, tree_math.widen(perturbed_grads))
        return tree_math.cast_like(d, grads), memory


@dataclasses.dataclass(frozen=True)
class MSAM(Method):
    """m-SAM: the batch in equal groups, each perturbed by itself; ``d`` is their mean.

    ``update`` needs ``group_grad_fn``.

    Attributes:
        num_groups: Number of equal groups that split the batch; 1 is SAM.

    References:
        Foret et al., "Sharpness-Aware Minimization for Efficiently Improving
        Generalization", 2021, https://arxiv.org/abs/2010.01412, section 4.1.
    """

    gradient_argument: ClassVar[str] = "group_grad_fn"

    num_groups: int = 8

    def __post_init__(self):
        _checks.at_least(1, num_groups=self.num_groups)

    def replace_gradient(self, step: Step) -> tuple[Params, Any]:
        """Returns the mean over groups of the gradient at its perturbed weights."""

        def add_group(total: Params, group: Array) -> tuple[Params, None]:
            clean = step.grad_fn(step.params, group, self.num_groups)
            epsilon = self.perturb(clean, step.params, step.rho)
            moved = perturbed_params(step.params, epsilon)
            perturbed = step.grad_fn(moved, group, self.num_groups)
            return tree_math.add(total, 1.0, tree_math.widen(perturbed)), None

        groups = jnp.arange(self.num_groups, dtype=jnp.int32)
        zeros = jax.tree.map(jnp.zeros_like, tree_math.widen(step.params))
        total, _ = jax.lax.scan(add_group, zeros, groups)
        mean = jax.tree.map(lambda t: t / self.num_groups, total)
        return self.direction(step.grads, mean, step.memory)


@dataclasses.dataclass(frozen=True)
class RandomSAM(Method):
    """A control: a random step of SAM's length, ``epsilon = rho z / |z|``, ``d = g_p``.

    ``z`` is standard normal. With ``per_filter`` each filter of ``z`` (all axes but
    the last; a whole vector where there is one axis) is first given the norm of the
    same filter of the weights; the length over all parameters stays ``rho``. Under
    ``vmap`` over models, pass ``key``.

    Attributes:
        per_filter: Whether the noise follows the filter norms of the weights.
        seed: Of the noise, where ``update`` is not handed a ``key``.

    References:
        Li et al., "Visualizing the Loss Landscape of Neural Nets", 2018,
        https://arxiv.org/abs/1712.09913, section 4 (filter normalisation).
    """

    per_filter: bool = False
    seed: ArrayLike = 0

    def perturb(
        self,
        grads: Params,
        params: Params,
        rho: ArrayLike,
        memory: Any = (),
        key: Key | None = None,
    ) -> Params:
        """Returns ``rho z / |z|``.

        Raises:
            ArgumentError: If there is no key.
        """
        if key is None:
            raise ArgumentError("key", "must be a random key for RandomSAM, got None.")
        leaves, structure = jax.tree.flatten(tree_math.widen(params))
        keys = jax.random.split(key, len(leaves))
        noise = [
            jax.random.normal(leaf_key, w.shape, w.dtype)
            for leaf_key, w in zip(keys, leaves, strict=True)
        ]
        if self.per_filter:
            noise = list(map(_filter_normalised, noise, leaves))
        return tree_math.with_norm(rho, jax.tree.unflatten(structure, noise))

    def replace_gradient(self, step: Step) -> tuple[Params, Any]:
        """Returns SAM's step with new noise, from the key or the seed, and the step."""
        key = jax.random.key(self.seed) if step.key is None else step.key
        key = jax.random.fold_in(key, step.number)
        return super().replace_gradient(step._replace(key=key))


def _filter_normalised(
    z: Float[Array, "*shape"], w: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``z`` with the norm of each filter of ``w``."""
    # All but the last; the only one of a vector, none of a scalar.
    axes = tuple(range(max(z.ndim - 1, min(z.ndim, 1))))

    def norm(x: Array) -> Array:
        return jnp.sqrt(jnp.sum(jnp.square(x), axes, keepdims=True))

    return z * (norm(w) * tree_math.reciprocal(norm(z)))
