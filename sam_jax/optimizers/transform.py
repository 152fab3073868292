"""The SAM family as an optax transformation: the first link of a chain.

One ``update`` is one step:

    updates, opt_state = tx.update(grads, opt_state, params, grad_fn=grad_fn, step=step)

with ``grads`` the gradient at ``params`` and ``grad_fn(params) -> grads`` the same
gradient elsewhere: same batch, same dropout key, same batch statistics, nothing but
the gradient returned. Running statistics are those of the first pass.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Int

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.optimizers import tree_math
from sam_jax.optimizers.base import Method, Step
from sam_jax.optimizers.masking import MaskedGradFn, has_holes
from sam_jax.optimizers.radius import Radius, check_radius, check_setting, radius_at
from sam_jax.types import Params


class SharpnessAwareState(NamedTuple):
    """Steps taken, and what the method remembers (``()`` for most)."""

    count: Int[Array, ""]
    memory: Any


def sharpness_aware(
    method: Method, rho: Radius, clip_norm: ArrayLike | None = None
) -> optax.GradientTransformationExtraArgs:
    """Returns the transformation that replaces the gradient by ``method``'s direction.

    ``update(grads, state, params, ...)`` takes these extra arguments, ignoring others:

    - ``grad_fn(params) -> grads``: needed by all methods but m-SAM.
    - ``group_grad_fn(params, group, num_groups) -> grads``: for m-SAM, the gradient of
      the mean loss over the ``group``-th of ``num_groups`` equal parts of the batch.
    - ``step``: int32 scalar, from 0; the state's count where absent. Under ``vmap``
      over models, leave it unbatched (``in_axes=None``): LookSAM branches on it, and a
      branch on a batched counter runs both sides.
    - ``key``: random key for ``RandomSAM``, combined with the step; its ``seed`` where
      absent, which gives every model under ``vmap`` the same noise.
    - ``rho``: a radius for this step in place of the closure's.

    Args:
        method: Which member of the family, with its settings.
        rho: Radius: a number, a traced scalar (also one per model under ``vmap``) or a
            schedule of the step. At 0 the gradient passes unchanged. A schedule or a
            traced value below 0 counts as 0. Never stored in the state, so
            ``optax.inject_hyperparams`` works. LookSAM's ``period`` and m-SAM's
            ``num_groups`` are static: name them in its ``static_args``.
        clip_norm: Largest norm of the direction, which is shortened to it; None for no
            limit. The perturbation is made from the gradient as it comes.

    Returns:
        A transformation to chain before a base optimizer.

    Raises:
        ArgumentError: If ``method`` is none, a concrete ``rho`` is negative, not finite
            or no scalar, or ``clip_norm`` is not positive; in ``update``, when it is
            traced, if a needed argument is missing, a tree does not match, a weight is
            complex, or a schedule or traced ``rho`` is no real scalar.

    Example:
        >>> from sam_jax.optimizers import SAM
        >>> tx = optax.chain(sharpness_aware(SAM(), rho=0.1), optax.sgd(1.0))
        >>> w = jnp.array([3.0, 4.0])
        >>> updates, _ = tx.update(w, tx.init(w), w, grad_fn=lambda w: w)
        >>> print(updates)
        [-3.06 -4.08]
    """
    if not isinstance(method, Method):
        rule = f"must be a method such as SAM(), got {method!r}."
        raise ArgumentError("method", rule)
    check_radius(rho)
    if clip_norm is not None:
        check_setting(_checks.positive, clip_norm=clip_norm)
    default_rho = rho

    def init(params: Params) -> SharpnessAwareState:
        _check_real(params)
        return SharpnessAwareState(jnp.zeros((), jnp.int32), method.init_memory(params))

    def update(
        updates: Params,
        state: Any,
        params: Params | None = None,
        *,
        step: ArrayLike | None = None,
        key: Any = None,
        rho: ArrayLike | None = None,
        **extra_args: Any,
    ) -> tuple[Params, SharpnessAwareState]:
        grad_fn = _checked_grad_fn(
            method, updates, params, extra_args.get(method.gradient_argument)
        )
        step = state.count if step is None else jnp.asarray(step)
        radius = radius_at(default_rho if rho is None else rho, step)
        d, memory = method.replace_gradient(
            Step(updates, params, radius, state.memory, grad_fn, step, key)
        )
        # Exactly the gradient at radius 0, whatever the method's arithmetic rounds.
        d = jax.tree.map(lambda g, x: jnp.where(radius == 0, g, x), updates, d)
        if clip_norm is not None:
            d = clipped(d, clip_norm)
        return d, SharpnessAwareState(state.count + 1, memory)

    return optax.GradientTransformationExtraArgs(init, update)


def clipped(direction: Params, clip_norm: ArrayLike) -> Params:
    """Returns the direction, shortened to the norm ``clip_norm`` where it is longer."""
    shortened = tree_math.at_most(clip_norm, tree_math.widen(direction))
    return tree_math.cast_like(shortened, direction)


def _checked_grad_fn(
    method: Method, grads: Params, params: Params | None, function: Any
) -> Callable[..., Params]:
    """The gradient function that ``method`` needs, its results checked when traced."""
    name, method_name = method.gradient_argument, type(method).__name__
    if params is None:
        rule = f"must be passed to update for {method_name}, got None."
        raise ArgumentError("params", rule)
    if not callable(function):
        raise ArgumentError(
            name,
            f"must be a function for {method_name}, got {function!r}: pass the "
            f"gradient of the same batch in update(grads, state, params, {name}=...), "
            "also through a TrainState or nnx.Optimizer (docs/training_loops.md).",
        )
    _check_real(params)
    _check_like_params("grads", grads, params)
    # A user's function cannot be called with the holes that optax cuts into a tree.
    if has_holes(params) and not isinstance(function, MaskedGradFn):
        rule = "must accept masked weights inside optax.partition or optax.masked:"
        hint = f"pass {name}=sam_jax.fill_masked({name}, params), got {function!r}."
        raise ArgumentError(name, f"{rule} {hint}")

    def gradient_at(weights: Params, *args: Any) -> Params:
        result = function(weights, *args)
        _check_like_params(f"the result of {name}", result, params)
        return result

    return gradient_at


def _check_real(params: Params) -> None:
    """Raises ``ArgumentError`` for a complex leaf.

    Whether its gradient is conjugated is a convention of the caller; an inner product
    without conjugates would be wrong in silence.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if jnp.iscomplexobj(leaf):
            name = jax.tree_util.keystr(path)
            rule = "must be real: write complex weights as pairs of real ones, got"
            raise ArgumentError(f"params{name}", f"{rule} {jnp.asarray(leaf).dtype}.")


def _check_like_params(name: str, tree: Any, params: Params) -> None:
    structure, expected = jax.tree.structure(tree), jax.tree.structure(params)
    if structure != expected:
        pair = isinstance(tree, tuple) and len(tree) == 2
        hint = ""
        if pair and expected in map(jax.tree.structure, tree):
            hint = " Return the gradient alone, without the loss or auxiliary output."
        elif isinstance(tree, jax.Array):
            hint = " If that is a loss, pass its jax.grad."
        elif "nnx" in str(type(tree)):
            hint = " nnx.as_pure makes plain arrays of it."
        rule = f"must have the structure of params, {expected}, got {structure}.{hint}"
        raise ArgumentError(name, rule)
    shapes, wanted = (
        [jnp.shape(leaf) for leaf in jax.tree.leaves(t)] for t in (tree, params)
    )
    if shapes != wanted:
        raise ArgumentError(name, f"must have the shapes {wanted}, got {shapes}.")
