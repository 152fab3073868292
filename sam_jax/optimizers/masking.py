"""Gradient functions for trees with holes, as ``optax.partition`` hands them on."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax

from sam_jax.types import Params


def fill_masked(grad_fn: Callable[..., Params], params: Params) -> "MaskedGradFn":
    """Returns ``grad_fn`` for use inside ``optax.partition`` and ``optax.masked``.

    These hand a transformation a tree with holes (``optax.MaskedNode``), which a model
    cannot be applied to. The new function fills the holes from ``params``, takes the
    gradient and cuts the same holes into it, so that each part is perturbed by itself.
    A tree without holes is unaffected.

    Args:
        grad_fn: ``(params, ...) -> grads`` on whole trees; also a ``group_grad_fn``.
        params: The current weights, without holes.

    Example:
        >>> import jax.numpy as jnp
        >>> w = {"a": jnp.ones(1), "b": jnp.ones(1)}
        >>> filled = fill_masked(lambda w: w, w)
        >>> print(filled({"a": 2 * w["a"], "b": optax.MaskedNode()}))
        {'a': Array([2.], dtype=float32), 'b': MaskedNode()}
    """
    return MaskedGradFn(grad_fn, params)


@dataclasses.dataclass(frozen=True)
class MaskedGradFn:
    """A gradient function on trees with holes, which it fills from whole weights."""

    grad_fn: Callable[..., Params]
    params: Params

    def __call__(self, masked: Params, *args: Any) -> Params:
        """Returns the gradient at ``masked`` and the weights in its holes, masked."""

        def fill(leaf: Any, whole: Any) -> Any:
            return whole if is_hole(leaf) else leaf

        def cut(leaf: Any, grad: Any) -> Any:
            return leaf if is_hole(leaf) else grad

        weights = jax.tree.map(fill, masked, self.params, is_leaf=is_hole)
        grads = self.grad_fn(weights, *args)
        return jax.tree.map(cut, masked, grads, is_leaf=is_hole)


def has_holes(tree: Params) -> bool:
    """Whether something is masked in a tree."""
    return any(map(is_hole, jax.tree.leaves(tree, is_leaf=is_hole)))


def is_hole(node: Any) -> bool:
    """Whether a node stands for a masked part."""
    return isinstance(node, optax.MaskedNode)
