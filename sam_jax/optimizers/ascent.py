"""The SAM family without an optimizer: where to climb, and which direction to descend.

Methods are those of ``sam_jax.optimizers.methods``. With ``g`` the gradient at the weights
``w`` and ``g_p`` the gradient at ``w + epsilon``, one step of any of them reads

    epsilon = perturb(method, g, w, rho, memory=memory, key=key)
    g_p = grad_fn(climb(w, epsilon))
    d, memory = direction(method, g, g_p, memory)

and ``d`` takes the place of the gradient. Norms and inner products run over all
parameters, in float32 or in float64 where a leaf is float64. Where the gradient is 0
(a model that interpolates has none) epsilon is 0.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from sam_jax.optimizers import tree_math
from sam_jax.optimizers.methods import (
    ASAM,
    GNP,
    GSAM,
    USAM,
    FriendlySAM,
    LookSAM,
    Method,
    RandomSAM,
)
from sam_jax.types import Key, Params


class RunningMean(NamedTuple):
    """Friendly-SAM's memory: the running mean, and whether a step has been taken."""

    mean: Params
    started: Bool[Array, ""]


class OrthogonalPart(NamedTuple):
    """LookSAM's memory: ``g_v`` and its norm (one per tensor with ``per_tensor``)."""

    part: Params
    norms: tuple[Array, ...]


def init_memory(method: Method, params: Params) -> Any:
    """Returns what ``method`` remembers between steps, before the first one.

    LookSAM keeps an ``OrthogonalPart``, Friendly-SAM a ``RunningMean``, in float32 or
    better; the others keep nothing, ``()``.
    """
    zeros = jax.tree.map(jnp.zeros_like, tree_math.widen(params))
    match method:
        case LookSAM():
            pieces = _pieces(method, zeros)
            return OrthogonalPart(zeros, tuple(map(tree_math.norm, pieces)))
        case FriendlySAM():
            return RunningMean(zeros, jnp.zeros((), jnp.bool_))
    return ()


def perturb(
    method: Method,
    grads: Params,
    params: Params,
    rho: ArrayLike,
    *,
    memory: Any = (),
    key: Key | None = None,
) -> Params:
    """Returns epsilon, the step from the weights to the point of the second gradient.

    Args:
        method: Which member of the family; its docstring has the formula.
        grads: Gradient at the weights (of one group, for m-SAM).
        params: The weights.
        rho: Radius; the length of epsilon for all but USAM and ASAM. Not checked.
        memory: From ``init_memory`` or the last ``direction``.
        key: Random key; only ``RandomSAM`` needs one.

    Returns:
        A tree like ``params``, in float32 or, where the leaf is, in float64. Zero
        where the gradient is zero.

    Raises:
        ValueError: If ``RandomSAM`` is given no key.

    Example:
        >>> from sam_jax.optimizers import SAM
        >>> epsilon = perturb(SAM(), jnp.array([3.0, 4.0]), jnp.zeros(2), 0.5)
        >>> print(epsilon)
        [0.3 0.4]
    """
    ascent = tree_math.widen(grads)
    match method:
        case USAM():
            return tree_math.scale(rho, ascent)
        case ASAM():
            return _adaptive_step(method, ascent, params, rho)
        case FriendlySAM(sigma=sigma, form=form):
            subtract = memory if form == "authors" else _updated(method, grads, memory)
            ascent = tree_math.add(ascent, jnp.negative(sigma), subtract.mean)
        case RandomSAM():
            if key is None:
                raise ValueError("key must be a random key for RandomSAM, got None.")
            ascent = _noise(key, tree_math.widen(params), method.per_filter)
    return tree_math.with_norm(rho, ascent)


def climb(params: Params, epsilon: Params) -> Params:
    """Returns ``params + epsilon``, rounded once to the dtype of each parameter."""
    return tree_math.cast_like(
        tree_math.add(tree_math.widen(params), 1.0, epsilon), params
    )


def direction(
    method: Method, grads: Params, perturbed_grads: Params | None, memory: Any = ()
) -> tuple[Params, Any]:
    """Returns what the base optimizer receives as the gradient, and the new memory.

    Args:
        method: Which member of the family; its docstring has the formula.
        grads: Gradient at the weights.
        perturbed_grads: Gradient at ``climb(params, epsilon)``; for m-SAM the mean over
            the groups. None on a step where LookSAM reuses its memory.
        memory: From ``init_memory`` or the last ``direction``.

    Returns:
        The direction, in the dtypes of ``grads``, and the memory for the next step.

    Raises:
        ValueError: If ``perturbed_grads`` is None for another method than LookSAM.
    """
    if isinstance(method, LookSAM):
        weights, memory = looksam_weights(method, grads, perturbed_grads, memory)
        return looksam_direction(method, grads, weights, memory), memory
    if perturbed_grads is None:
        raise ValueError(
            f"perturbed_grads may be None only for LookSAM, got {method!r}."
        )
    clean = tree_math.widen(grads)
    d = perturbed = tree_math.widen(perturbed_grads)
    match method:
        case GSAM(alpha=alpha, decompose="clean"):
            d = tree_math.add(
                perturbed, jnp.negative(alpha), tree_math.orthogonal(clean, perturbed)
            )
        case GSAM(alpha=alpha):
            d = tree_math.add(clean, alpha, tree_math.orthogonal(perturbed, clean))
        case GNP(alpha=alpha):
            d = tree_math.add(tree_math.scale(1 - alpha, clean), alpha, perturbed)
        case FriendlySAM():
            memory = _updated(method, grads, memory)
    return tree_math.cast_like(d, grads), memory


def looksam_weights(
    method: LookSAM,
    grads: Params,
    perturbed_grads: Params | None,
    memory: OrthogonalPart,
) -> tuple[list[tuple[Array, Array]], OrthogonalPart]:
    """Returns a and b in LookSAM's ``d = a g + b g_v``, and the memory that holds g_v.

    With them the branch between a SAM step, where ``g_p = a g + g_v``, and a step that
    reuses ``g_v`` yields scalars instead of a tree: the memory stays in place and ``d``
    merges with the base optimizer's arithmetic.
    """
    clean = tree_math.widen(grads)
    norms = [tree_math.norm(g) for g in _pieces(method, clean)]
    if perturbed_grads is None:
        alpha = [jnp.asarray(method.alpha, norm.dtype) for norm in norms]
        weights = [
            (jnp.ones_like(norm), a * norm * tree_math.reciprocal(memory_norm))
            for a, norm, memory_norm in zip(alpha, norms, memory.norms, strict=True)
        ]
        return weights, memory
    weights, parts = [], []
    perturbed = _pieces(method, tree_math.widen(perturbed_grads))
    for g, g_p, norm in zip(_pieces(method, clean), perturbed, norms, strict=True):
        factor = tree_math.reciprocal(norm)
        along = tree_math.dot(g_p, g) * factor * factor
        weights.append((along, jnp.ones_like(along)))
        parts.append(tree_math.add(g_p, -along, g))
    whole = _whole(method, parts, clean)
    return weights, OrthogonalPart(whole, tuple(map(tree_math.norm, parts)))


def looksam_direction(
    method: LookSAM,
    grads: Params,
    weights: list[tuple[Array, Array]],
    memory: OrthogonalPart,
) -> Params:
    """Returns ``a g + b g_v``, in the dtypes of ``grads``."""
    clean = _pieces(method, tree_math.widen(grads))
    parts = _pieces(method, memory.part)
    d = [
        tree_math.add(tree_math.scale(a, g), b, g_v)
        for g, g_v, (a, b) in zip(clean, parts, weights, strict=True)
    ]
    return tree_math.cast_like(_whole(method, d, grads), grads)


def _adaptive_step(method: ASAM, grads: Params, params: Params, rho: ArrayLike):
    """ASAM's ``rho T^2 g / |T g|``."""

    def scale(path, w):
        names = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
        name = names[-2] if names[-1] == "value" and len(names) > 1 else names[-1]
        if name in ("bias", "b") and not method.scale_biases:
            return jnp.ones_like(w)
        return jnp.abs(w) + jnp.asarray(method.eta, w.dtype)

    scales = jax.tree_util.tree_map_with_path(scale, tree_math.widen(params))
    scaled_grads = jax.tree.map(jnp.multiply, scales, grads)
    return jax.tree.map(jnp.multiply, scales, tree_math.with_norm(rho, scaled_grads))


def _pieces(method: LookSAM, tree: Params) -> list[Params]:
    """The vectors that LookSAM decomposes: each tensor alone, or the whole tree."""
    return jax.tree.leaves(tree) if method.per_tensor else [tree]


def _whole(method: LookSAM, pieces: list[Params], like: Params) -> Params:
    """The tree that ``_pieces`` took apart."""
    if method.per_tensor:
        return jax.tree.unflatten(jax.tree.structure(like), pieces)
    return pieces[0]


def _updated(method: FriendlySAM, grads: Params, memory: RunningMean) -> RunningMean:
    """Friendly-SAM's running mean, with the gradient of this step in it."""
    clean = tree_math.widen(grads)
    mean = tree_math.add(
        tree_math.scale(method.decay, memory.mean), 1 - method.decay, clean
    )
    if method.form == "authors":
        pick = lambda g, m: jnp.where(memory.started, m, g)
        mean = jax.tree.map(pick, clean, mean)
    return RunningMean(mean, jnp.ones_like(memory.started))


def _noise(key: Key, params: Params, per_filter: bool) -> Params:
    """Standard normal noise like ``params``, each leaf from its own key."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    noise = [
        jax.random.normal(leaf_key, w.shape, w.dtype)
        for leaf_key, w in zip(keys, leaves, strict=True)
    ]
    if per_filter:
        noise = [_filter_normalised(z, w) for z, w in zip(noise, leaves, strict=True)]
    return jax.tree.unflatten(structure, noise)


def _filter_normalised(z: Float[Array, "*s"], w: Float[Array, "*s"]):
    """``z`` with the norm of each filter of ``w``."""
    axes = tuple(range(max(z.ndim - 1, min(z.ndim, 1))))
    norm = lambda x: jnp.sqrt(jnp.sum(jnp.square(x), axes, keepdims=True))
    return z * (norm(w) * tree_math.reciprocal(norm(z)))
