"""The SAM family as an optax transformation: the first link of a chain.

One ``update`` is one step:

    updates, opt_state = tx.update(grads, opt_state, params, grad_fn=grad_fn, step=step)

with ``grads`` the gradient at ``params`` and ``grad_fn(params) -> grads`` the same
gradient elsewhere: same batch, same dropout key, same batch statistics, nothing but
the gradient returned. Running statistics are those of the first pass.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Int

from sam_jax import _checks
from sam_jax.optimizers import tree_math
from sam_jax.optimizers.ascent import (
    climb,
    direction,
    init_memory,
    looksam_direction,
    looksam_weights,
    perturb,
)
from sam_jax.optimizers.methods import MSAM, LookSAM, Method, RandomSAM
from sam_jax.types import Params

Radius: TypeAlias = ArrayLike | Callable[[Any], Any]
"""A number, a traced scalar, or a schedule: ``step -> radius``."""


class SharpnessAwareState(NamedTuple):
    """Steps taken, and what LookSAM and Friendly-SAM remember (``()`` otherwise)."""

    count: Int[Array, ""]
    memory: Any


def sharpness_aware(
    method: Method, rho: Radius
) -> optax.GradientTransformationExtraArgs:
    """Returns the transformation that replaces the gradient by ``method``'s direction.

    ``update(grads, state, params, ...)`` takes these extra arguments, ignoring others:

    - ``grad_fn(params) -> grads``: needed by all methods but m-SAM.
    - ``group_grad_fn(params, group, num_groups) -> grads``: for m-SAM, the gradient of
      the mean loss over the ``group``-th of ``num_groups`` equal parts of the batch.
    - ``step``: int32 scalar, from 0; the state's own count where absent. Under ``vmap``
      over models, leave it unbatched (``in_axes=None``): LookSAM branches on it, and a
      branch on a batched counter runs both sides.
    - ``key``: random key for ``RandomSAM``, combined with the step; its ``seed`` where
      absent, which gives every model under ``vmap`` the same noise.
    - ``rho``: a radius for this step in place of the closure's.

    Args:
        method: Which member of the family, with its settings.
        rho: Radius: a number, a traced scalar (also one per model under ``vmap``) or a
            schedule of the step. At 0 the gradient passes unchanged. Never stored in
            the state, so ``optax.inject_hyperparams`` works. LookSAM's ``period`` and
            m-SAM's ``num_groups`` are static: name them in its ``static_args``.

    Returns:
        A transformation to chain before a base optimizer.

    Raises:
        ValueError: If a concrete ``rho`` is negative or not finite; in ``update``, when
            it is traced, if a needed argument is missing or a tree does not match.

    Example:
        >>> from sam_jax.optimizers import SAM
        >>> tx = optax.chain(sharpness_aware(SAM(), rho=0.1), optax.sgd(1.0))
        >>> w = jnp.array([3.0, 4.0])
        >>> updates, _ = tx.update(w, tx.init(w), w, grad_fn=lambda w: w)
        >>> print(updates)
        [-3.06 -4.08]
    """
    _check_radius(rho)
    default_rho = rho

    def init(params: Params) -> SharpnessAwareState:
        return SharpnessAwareState(
            jnp.zeros((), jnp.int32), init_memory(method, params)
        )

    def update(
        updates: Params,
        state: Any,
        params: Params | None = None,
        *,
        grad_fn: Callable[..., Any] | None = None,
        group_grad_fn: Callable[..., Any] | None = None,
        step: ArrayLike | None = None,
        key: Any = None,
        rho: ArrayLike | None = None,
        **ignored: Any,
    ) -> tuple[Params, SharpnessAwareState]:
        del ignored
        gradient_at = _checked_grad_fn(method, updates, params, grad_fn, group_grad_fn)
        step = state.count if step is None else jnp.asarray(step)
        radius = _radius(default_rho if rho is None else rho, step)
        if isinstance(method, RandomSAM):
            key = jax.random.key(method.seed) if key is None else key
            key = jax.random.fold_in(key, step)

        def perturbed_grads():
            if isinstance(method, MSAM):
                return _group_mean(method, params, radius, gradient_at)
            epsilon = perturb(
                method, updates, params, radius, memory=state.memory, key=key
            )
            return gradient_at(climb(params, epsilon))

        if isinstance(method, LookSAM):
            weigh = functools.partial(looksam_weights, method, updates)
            weights, memory = jax.lax.cond(
                step % method.period == 0,
                lambda: weigh(perturbed_grads(), state.memory),
                lambda: weigh(None, state.memory),
            )
            d = looksam_direction(method, updates, weights, memory)
        else:
            d, memory = direction(method, updates, perturbed_grads(), state.memory)
        d = jax.tree.map(lambda g, x: jnp.where(radius == 0, g, x), updates, d)
        return d, SharpnessAwareState(state.count + 1, memory)

    return optax.GradientTransformationExtraArgs(init, update)


def fill_masked(grad_fn: Callable[..., Params], params: Params) -> Callable[..., Any]:
    """Returns ``grad_fn`` for use inside ``optax.partition`` and ``optax.masked``.

    These hand a transformation a tree with holes (``optax.MaskedNode``), which a model
    cannot be applied to. The new function fills the holes from ``params``, takes the
    gradient and cuts the same holes into it, so that each part climbs by itself. A tree
    without holes is unaffected.

    Args:
        grad_fn: ``(params, ...) -> grads`` on whole trees; also a ``group_grad_fn``.
        params: The current weights, without holes.

    Example:
        >>> w = {"a": jnp.ones(1), "b": jnp.ones(1)}
        >>> filled = fill_masked(lambda w: w, w)
        >>> print(filled({"a": 2 * w["a"], "b": optax.MaskedNode()}))
        {'a': Array([2.], dtype=float32), 'b': MaskedNode()}
    """

    def filled(masked: Params, *args: Any) -> Params:
        fill = lambda part, whole: whole if _is_hole(part) else part
        cut = lambda part, grad: part if _is_hole(part) else grad
        grads = grad_fn(jax.tree.map(fill, masked, params, is_leaf=_is_hole), *args)
        return jax.tree.map(cut, masked, grads, is_leaf=_is_hole)

    filled.fills_masked = True  # pyrefly: ignore[missing-attribute]
    return filled


def _group_mean(method: MSAM, params: Params, rho, group_grad_fn) -> Params:
    """Mean over the groups of the gradient at each one's own perturbed weights."""

    def add_group(total, group):
        clean = group_grad_fn(params, group, method.num_groups)
        epsilon = perturb(method, clean, params, rho)
        grads = group_grad_fn(climb(params, epsilon), group, method.num_groups)
        return jax.tree.map(lambda t, g: t + g.astype(t.dtype), total, grads), None

    groups = jnp.arange(method.num_groups, dtype=jnp.int32)
    zeros = jax.tree.map(jnp.zeros_like, tree_math.widen(params))
    total, _ = jax.lax.scan(add_group, zeros, groups)
    return jax.tree.map(lambda t: t / method.num_groups, total)


def _check_radius(rho: Radius) -> None:
    """Raises ``ValueError`` for a concrete radius that is negative or not finite."""
    if isinstance(rho, jax.Array | np.ndarray) and not isinstance(rho, jax.core.Tracer):
        if rho.ndim:
            raise ValueError(f"rho must be a scalar, got {rho.shape=}.")
        rho = float(rho)
    _checks.non_negative(rho=rho)


def _radius(rho: Radius, step: Array) -> ArrayLike:
    """The radius of this step."""
    _check_radius(rho)
    return rho(step) if callable(rho) else rho


def _is_hole(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


def _checked_grad_fn(method, grads, params, grad_fn, group_grad_fn):
    """The gradient function that ``method`` needs, its answers checked when traced."""
    name = "group_grad_fn" if isinstance(method, MSAM) else "grad_fn"
    function = group_grad_fn if isinstance(method, MSAM) else grad_fn
    kind = type(method).__name__
    if params is None:
        raise ValueError(f"params must be passed to update for {kind}, got None.")
    if not callable(function):
        raise ValueError(f"{name} must be a function for {kind}, got {function!r}.")
    _check_like_params("grads", grads, params)
    holes = map(_is_hole, jax.tree.leaves(params, is_leaf=_is_hole))
    if any(holes) and not getattr(function, "fills_masked", False):
        raise ValueError(
            f"{name} must accept masked weights inside optax.partition or optax.masked:"
            f" pass {name}=sam_jax.fill_masked({name}, params), got {function!r}."
        )

    def gradient_at(weights, *args):
        result = function(weights, *args)
        _check_like_params(f"the result of {name}", result, params)
        return result

    return gradient_at


def _check_like_params(name: str, tree: Any, params: Params) -> None:
    """Raises ``ValueError`` unless ``tree`` has the structure and shapes of params."""
    structure, expected = jax.tree.structure(tree), jax.tree.structure(params)
    if structure != expected:
        pair = isinstance(tree, tuple) and len(tree) == 2
        hint = ""
        if pair and expected in map(jax.tree.structure, tree):
            hint = " Return the gradient alone, without the loss or auxiliary output."
        raise ValueError(
            f"{name} must have the structure of params, {expected}, "
            f"got {structure}.{hint}"
        )
    shapes, wanted = (
        [jnp.shape(leaf) for leaf in jax.tree.leaves(t)] for t in (tree, params)
    )
    if shapes != wanted:
        raise ValueError(f"{name} must have the shapes {wanted}, got {shapes}.")
