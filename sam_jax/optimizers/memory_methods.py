"""Methods of the SAM family that remember something between steps.

The letters are those of ``sam_jax.optimizers.methods``. A step whose gradients are not
finite leaves a memory as it was, so that a base that skips such steps
(``optax.apply_if_finite``) finds none of it in the steps after.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from sam_jax import _checks
from sam_jax.optimizers import tree_math
from sam_jax.optimizers.base import Method, Step, perturbed_params
from sam_jax.optimizers.radius import check_setting
from sam_jax.types import Key, Params


class OrthogonalPart(NamedTuple):
    """LookSAM's memory.

    Attributes:
        part: ``g_v``, times a power of two where its squares would leave the range of
            floats.
        norms: Norm of ``part``, one number or one per tensor; 0 where ``g_v`` is no
            more than the rounding of ``g_p``.
    """

    part: Params
    norms: Float[Array, "vectors"]


class RunningMean(NamedTuple):
    """Friendly-SAM's memory: the running mean, and whether a step has been taken."""

    mean: Params
    started: Bool[Array, ""]


class _Weights(NamedTuple):
    """``a`` and ``b`` of ``d = a g + b part``, for each vector that is decomposed."""

    clean: Float[Array, "vectors"]
    part: Float[Array, "vectors"]


@dataclasses.dataclass(frozen=True)
class LookSAM(Method):
    """SAM on every ``period``-th step; its orthogonal part is reused in between.

    A SAM step keeps ``g_v = g_p - (g_p . u) u`` with ``u = g / |g|``; the other steps
    take ``d = g + alpha (|g| / |g_v|) g_v`` and need no second gradient. Where ``g_v``
    is no longer than rounding makes it (``g_p`` along ``g``, as for a scalar with
    ``per_tensor``) it has no direction, and ``d = g``. Under ``vmap`` over models, pass
    ``step``.

    Attributes:
        period: Steps from one SAM step to the next (k); 1 is SAM.
        alpha: Weight of the reused part.
        per_tensor: Whether projections and norms run over each tensor alone, as in
            public codes, instead of over all parameters, as in the paper.

    References:
        Liu et al., "Towards Efficient and Scalable Sharpness-Aware Minimization",
        2022, https://arxiv.org/abs/2203.02714, algorithm 1.
    """

    period: int = 5
    alpha: ArrayLike = 0.7
    per_tensor: bool = False

    def __post_init__(self):
        _checks.at_least(1, period=self.period)
        check_setting(alpha=self.alpha)

    def init_memory(self, params: Params) -> OrthogonalPart:
        """Returns ``g_v = 0``."""
        zeros = jax.tree.map(jnp.zeros_like, tree_math.widen(params))
        lengths = [tree_math.length(vector) for vector in self._vectors(zeros)]
        return OrthogonalPart(zeros, _stack([length.scaled for length in lengths]))

    def direction(
        self, grads: Params, perturbed_grads: Params | None, memory: Any = ()
    ) -> tuple[Params, OrthogonalPart]:
        """Returns ``d`` and the memory; without ``perturbed_grads`` that of a reuse."""
        if perturbed_grads is None:
            weights = self._reuse_weights(grads, memory)
        else:
            weights, memory = self._sam_weights(grads, perturbed_grads, memory)
        return self._weighted_sum(weights, grads, memory), memory

    def replace_gradient(self, step: Step) -> tuple[Params, OrthogonalPart]:
        """Returns ``d``, calling ``grad_fn`` on every ``period``-th step only."""
        grads, memory = step.grads, step.memory

        def sam_step() -> tuple[_Weights, OrthogonalPart]:
            epsilon = self.perturb(grads, step.params, step.rho)
            perturbed_grads = step.grad_fn(perturbed_params(step.params, epsilon))
            return self._sam_weights(grads, perturbed_grads, memory)

        def reuse_step() -> tuple[_Weights, OrthogonalPart]:
            return self._reuse_weights(grads, memory), memory

        # The branch yields scalars, not the direction: the memory stays in place and
        # the sum merges with the base optimizer's arithmetic.
        weights, memory = jax.lax.cond(
            step.number % self.period == 0, sam_step, reuse_step
        )
        return self._weighted_sum(weights, grads, memory), memory

    def _reuse_weights(self, grads: Params, memory: OrthogonalPart) -> _Weights:
        """``d = g + alpha |g| g_v / |g_v|``."""
        vectors = self._vectors(tree_math.widen(grads))
        norms = _stack([tree_math.norm(g) for g in vectors])
        alpha = jnp.asarray(self.alpha, norms.dtype)
        along_part = alpha * norms * tree_math.reciprocal(memory.norms)
        return _Weights(jnp.ones_like(norms), along_part)

    def _sam_weights(
        self, grads: Params, perturbed_grads: Params, memory: OrthogonalPart
    ) -> tuple[_Weights, OrthogonalPart]:
        """``d = g_p = a g + g_v``, and the memory of ``g_v``."""
        vectors = zip(
            self._vectors(grads),
            self._vectors(perturbed_grads),
            self._vectors(memory.part),
            memory.norms,
            strict=True,
        )
        rows = [_decomposed(*vector) for vector in vectors]
        a, b, parts, norms = zip(*rows, strict=True) if rows else ((), (), (), ())
        memory = OrthogonalPart(self._tree(list(parts), memory.part), _stack(norms))
        return _Weights(_stack(a), _stack(b)), memory

    def _weighted_sum(
        self, weights: _Weights, grads: Params, memory: OrthogonalPart
    ) -> Params:
        """``a g + b part``, in the dtypes of ``grads``."""
        clean = self._vectors(tree_math.widen(grads))
        d = [
            tree_math.add(tree_math.scale(a, g), b, part)
            for g, part, a, b in zip(
                clean, self._vectors(memory.part), *weights, strict=True
            )
        ]
        return tree_math.cast_like(self._tree(d, grads), grads)

    def _vectors(self, tree: Params) -> list[Params]:
        """The vectors that are decomposed: each tensor alone, or the whole tree."""
        return jax.tree.leaves(tree) if self.per_tensor else [tree]

    def _tree(self, vectors: list[Params], like: Params) -> Params:
        """The tree that ``_vectors`` took apart."""
        if self.per_tensor:
            return jax.tree.unflatten(jax.tree.structure(like), vectors)
        return vectors[0]


@dataclasses.dataclass(frozen=True)
class FriendlySAM(Method):
    """SAM along the gradient minus its running mean: ``epsilon || g - sigma m``.

    ``m_t = decay m_{t-1} + (1 - decay) g_t``. In the authors' code ``m_0 = g_0``, the
    first step is along ``g_0`` and the others subtract ``m_{t-1}``; in the paper
    ``m_{-1} = 0`` and each step subtracts ``m_t``. ``d = g_p`` in both. Defaults are
    those of CIFAR-100 with ResNet-18.

    Attributes:
        sigma: Share of the running mean that is removed; 0 is SAM.
        decay: Of the running mean, in [0, 1]; ``lambda`` in the paper.
        form: ``"authors"`` (the code) or ``"paper"``.

    References:
        Li et al., "Friendly Sharpness-Aware Minimization", 2024,
        https://arxiv.org/abs/2403.12350, algorithm 1.
    """

    sigma: ArrayLike = 1.0
    decay: ArrayLike = 0.6
    form: str = "authors"

    def __post_init__(self):
        check_setting(sigma=self.sigma)
        check_setting(_checks.in_unit_interval, decay=self.decay)
        _checks.literal(Literal["authors", "paper"], form=self.form)

    def init_memory(self, params: Params) -> RunningMean:
        """Returns a mean of 0 that has not started."""
        zeros = jax.tree.map(jnp.zeros_like, tree_math.widen(params))
        return RunningMean(zeros, jnp.zeros((), jnp.bool_))

    def perturb(
        self,
        grads: Params,
        params: Params,
        rho: ArrayLike,
        memory: Any = (),
        key: Key | None = None,
    ) -> Params:
        """Returns the step of length ``rho`` along ``g - sigma m``."""
        return tree_math.with_norm(rho, self._ascent(grads, memory))

    def direction(
        self, grads: Params, perturbed_grads: Params, memory: Any = ()
    ) -> tuple[Params, RunningMean]:
        """Returns ``g_p``, and the mean with this step's gradient in it."""
        # Not finite wherever g is not, and already computed for the perturbation.
        finite = jnp.isfinite(tree_math.length(self._ascent(grads, memory)).scaled)

        def keep_finite(new: Array, old: Array) -> Array:
            return jnp.where(finite, new, old)

        new = RunningMean(self._updated_mean(grads, memory), jnp.ones_like(finite))
        d = tree_math.cast_like(perturbed_grads, grads)
        return d, jax.tree.map(keep_finite, new, memory)

    def _ascent(self, grads: Params, memory: RunningMean) -> Params:
        """``g - sigma m``."""
        authors = self.form == "authors"
        mean = memory.mean if authors else self._updated_mean(grads, memory)
        return tree_math.add(tree_math.widen(grads), jnp.negative(self.sigma), mean)

    def _updated_mean(self, grads: Params, memory: RunningMean) -> Params:
        """The running mean with the gradient of this step in it."""
        clean = tree_math.widen(grads)
        mean = tree_math.add(
            tree_math.scale(self.decay, memory.mean), 1 - self.decay, clean
        )
        if self.form == "paper":
            return mean

        def start(g: Array, m: Array) -> Array:
            return jnp.where(memory.started, m, g)

        return jax.tree.map(start, clean, mean)


def _decomposed(
    grads: Params, perturbed_grads: Params, old_part: Params, old_norm: Array
) -> tuple[Array, Array, Params, Array]:
    """Weights ``a`` and ``b`` of ``g_p = a g + b part``, the part and its norm."""
    clean, perturbed = tree_math.widen(grads), tree_math.widen(perturbed_grads)
    a = tree_math.multiple(perturbed, clean)
    part = tree_math.add(perturbed, -a, clean)
    norm, factor = tree_math.length(part)
    noise = norm / factor <= _rounding(perturbed_grads) * tree_math.norm(perturbed)
    finite = jnp.isfinite(norm)

    def keep_finite(new: Array, old: Array) -> Array:
        return jnp.where(finite, new, old)

    part = jax.tree.map(keep_finite, tree_math.scale(factor, part), old_part)
    norm = keep_finite(jnp.where(noise, 0, norm), old_norm.astype(norm.dtype))
    # The memory is kept, but `d` must show that the step was not finite.
    return keep_finite(a, jnp.full_like(a, jnp.nan)), 1 / factor, part, norm


def _rounding(tree: Params) -> float:
    """Relative length up to which ``g_v`` may be nothing but the rounding of ``g_p``.

    256 steps of the float type of the computation, or 4 of a narrower one in which the
    gradient is stored: real parts are longer by orders of magnitude.
    """
    bound = 0.0
    for leaf, wide in zip(
        jax.tree.leaves(tree), jax.tree.leaves(tree_math.widen(tree)), strict=True
    ):
        dtype = jnp.asarray(leaf).dtype
        stored = jnp.finfo(dtype).eps if jnp.issubdtype(dtype, jnp.floating) else 0
        bound = max(bound, 256 * float(jnp.finfo(wide.dtype).eps), 4 * float(stored))
    return bound


def _stack(scalars: Sequence[Array]) -> Float[Array, "vectors"]:
    wide = any(x.dtype == jnp.float64 for x in scalars)
    dtype = jnp.float64 if wide else jnp.float32
    if not scalars:
        return jnp.zeros((0,), dtype)
    return jnp.stack([x.astype(dtype) for x in scalars])
