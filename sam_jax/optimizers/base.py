"""The contract of the SAM family: what a method defines, with SAM's rule as default.

With ``g`` the gradient at the weights ``w`` and ``g_p`` that at ``w + epsilon``, one
step of a method, without an optimizer, reads

    epsilon = method.perturb(g, w, rho, memory, key)
    g_p = grad_fn(perturbed_params(w, epsilon))
    d, memory = method.direction(g, g_p, memory)

and ``d`` takes the place of the gradient. Norms and inner products run over all
parameters, in float32 or in float64 where a leaf is float64. Where the gradient is 0
(a model that interpolates has none) epsilon is 0.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from jax.typing import ArrayLike
from jaxtyping import Array, Int

from sam_jax.optimizers import tree_math
from sam_jax.types import Key, Params


class Step(NamedTuple):
    """What the direction of one step is made from.

    Attributes:
        grads: Gradient at the weights.
        params: The weights.
        rho: Radius of this step.
        memory: From ``init_memory`` or the last step.
        grad_fn: The gradient elsewhere, with the arguments that
            ``Method.gradient_argument`` documents.
        number: Number of the step, from 0.
        key: Random key of this step, None where the caller has none.
    """

    grads: Params
    params: Params
    rho: ArrayLike
    memory: Any
    grad_fn: Callable[..., Params]
    number: Int[Array, ""]
    key: Key | None


@dataclasses.dataclass(frozen=True)
class Method:
    """A member of the SAM family: its settings are fields, its formula methods.

    A new one is a subclass that overrides what differs from SAM, and a line in
    ``sam_jax.optimizers.registry``. Settings may be traced unless they shape the
    program; they are checked in ``__post_init__``.

    Attributes:
        gradient_argument: The extra argument of ``update`` that holds the gradient as
            a function.
    """

    gradient_argument: ClassVar[str] = "grad_fn"

    def init_memory(self, params: Params) -> Any:
        """Returns what is remembered between steps, before the first; ``()``: nothing.

        Trees in it are like ``params``, so that ``optax.tree.map_params`` finds them.
        """
        del params
        return ()

    def perturb(
        self,
        grads: Params,
        params: Params,
        rho: ArrayLike,
        memory: Any = (),
        key: Key | None = None,
    ) -> Params:
        """Returns epsilon, the step from the weights to the second gradient's point.

        Args:
            grads: Gradient at the weights (of one group, for m-SAM).
            params: The weights.
            rho: Radius; the length of epsilon for all but USAM and ASAM. Not checked.
            memory: From ``init_memory`` or the last ``direction``.
            key: Random key; only ``RandomSAM`` needs one.

        Returns:
            A tree like ``params``, in float32 or, where the leaf is, in float64. Zero
            where the gradient is zero.

        Example:
            >>> import jax.numpy as jnp
            >>> from sam_jax.optimizers import SAM
            >>> print(SAM().perturb(jnp.array([3.0, 4.0]), jnp.zeros(2), 0.5))
            [0.3 0.4]
        """
        del params, memory, key
        return tree_math.with_norm(rho, tree_math.widen(grads))

    def direction(
        self, grads: Params, perturbed_grads: Params, memory: Any = ()
    ) -> tuple[Params, Any]:
        """Returns what the base optimizer receives as the gradient, and the new memory.

        A gradient that is not finite gives a direction that is not finite, and leaves
        the memory as it was.

        Args:
            grads: Gradient at the weights.
            perturbed_grads: Gradient at ``perturbed_params(params, epsilon)``; for
                m-SAM the mean over the groups.
            memory: From ``init_memory`` or the last ``direction``.

        Returns:
            The direction, in the dtypes of ``grads``, and the memory of the next step.
        """
        return tree_math.cast_like(perturbed_grads, grads), memory

    def replace_gradient(self, step: Step) -> tuple[Params, Any]:
        """Returns the direction and the new memory of a whole step.

        What ``sharpness_aware`` calls; for a method whose step is not one perturbation
        and one more gradient to override.
        """
        grads, params, memory = step.grads, step.params, step.memory
        epsilon = self.perturb(grads, params, step.rho, memory, step.key)
        perturbed_grads = step.grad_fn(perturbed_params(params, epsilon))
        return self.direction(grads, perturbed_grads, memory)


def perturbed_params(params: Params, epsilon: Params) -> Params:
    """Returns ``params + epsilon``, rounded once to the dtype of each parameter."""
    moved = tree_math.add(tree_math.widen(params), 1.0, epsilon)
    return tree_math.cast_like(moved, params)
