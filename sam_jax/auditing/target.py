"""One given model whose members are known, and what attacks see of it."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.signals import compute
from sam_jax.signals.checks import check_signals
from sam_jax.signals.conversions import SignalsAre
from sam_jax.signals.targets import target_from_arrays
from sam_jax.types import AugmentFn, Dataset, Examples, Key, Model, Signals


@dataclasses.dataclass(frozen=True)
class Target:
    """A trained model to attack.

    Attributes:
        members: True for the examples that it trained on: of the pool, or of the pool
            and then the test examples, none of which it may have trained on.
        outputs: A JAX function, ``outputs(x [B, *features]) -> logits [B, C]``, in
            evaluation mode; or an array of the outputs on pool and test examples:
            logits [N, C] or [N, queries, C], phi [N] or [N, queries].
        name: How reports call it.
        outputs_are: What an array holds.

    Example:
        >>> import jax.numpy as jnp
        >>> members = np.array([True, False, True, False])
        >>> Target(members, lambda x: jnp.stack([x[:, 0], -x[:, 0]], axis=1)).name
        'target'
    """

    members: Any
    outputs: Callable[[Any], Any] | Any
    name: str = "target"
    outputs_are: SignalsAre = "logits"

    @classmethod
    def of_model(
        cls, model: Model, params: Any, state: Any, members: Any, name: str = "target"
    ) -> "Target":
        """Returns the target of a ``Model`` with its weights.

        Args:
            model: The network, applied with ``train=False``.
            params: Its weights.
            state: Its batch statistics; ``{}`` without.
            members: As in ``Target``.
            name: As in ``Target``.
        """

        def outputs(x: Any) -> Any:
            return model.apply(params, state, x, False, jax.random.key(0))[0]

        return cls(members, outputs, name)


@dataclasses.dataclass(frozen=True)
class Queries:
    """The augmented queries of each example; the first is the example itself."""

    count: int = 1
    augment: AugmentFn | None = None
    key: Key | None = None


def signals_of_targets(
    targets: Target | Sequence[Target],
    dataset: Dataset,
    queries: Queries = Queries(),  # noqa: B008, frozen
) -> dict[str, Signals]:
    """Returns each target's signals [1, N] on pool and test examples, by name.

    Args:
        targets: One or several, of different names.
        dataset: Pool and test examples.
        queries: Of functions; arrays must hold as many.

    Raises:
        ArgumentError: If members are not known, shapes do not match the data, or
            outputs are NaN or mean something else.
    """
    targets = [targets] if isinstance(targets, Target) else list(targets)
    if not targets:
        raise ArgumentError("target", "must be at least one Target, got none.")
    pool, test = dataset.train, dataset.test
    examples = Examples(
        *(
            np.concatenate([np.asarray(a), np.asarray(b)])
            for a, b in zip(pool, test, strict=True)
        )
    )
    signals: dict[str, Signals] = {}
    for target in targets:
        if not isinstance(target, Target):
            raise ArgumentError("target", f"must be a Target, got {target!r}.")
        _checks.display_name(target=target.name)
        if target.name in signals:
            rule = f"must have different names, got {target.name!r} twice."
            raise ArgumentError("target", rule)
        members = _members(target, len(pool.y), len(test.y))
        if callable(target.outputs):
            signals[target.name] = _of_function(
                target, members, examples, dataset.num_classes, queries
            )
        else:
            labels = np.asarray(examples.y)
            signals[target.name] = _of_array(target, members, labels, queries.count)
    return signals


def _members(target: Target, pool_size: int, test_size: int) -> Bool[np.ndarray, " n"]:
    argument = f"target[{target.name!r}].members"
    members = _checks.mask(**{argument: target.members})
    if members.shape == (pool_size,):
        members = np.pad(members, (0, test_size))
    if members.shape != (pool_size + test_size,):
        raise ArgumentError(
            argument,
            f"must be [{pool_size}], one for each pool example, or "
            f"[{pool_size + test_size}] with the test examples, got {members.shape}.",
        )
    if members[pool_size:].any():
        raise ArgumentError(
            argument,
            f"must leave out the test examples, but has {members[pool_size:].sum():,} "
            "of them: move them into the pool.",
        )
    if members[:pool_size].all() or not members.any():
        rule = "must be True for some pool examples and False for others, got"
        raise ArgumentError(argument, f"{rule} {members.sum():,} of {pool_size:,}.")
    return members


def _of_function(
    target: Target,
    members: np.ndarray,
    examples: Examples,
    num_classes: int,
    queries: Queries,
) -> Signals:
    outputs = target.outputs
    assert callable(outputs)
    argument = f"target[{target.name!r}].outputs"
    x = jax.ShapeDtypeStruct((2, *examples.x.shape[1:]), examples.x.dtype)
    # Traced first: a function of other shapes fails here, before anything is computed.
    try:
        logits = jax.eval_shape(outputs, x)
    except Exception as error:
        raise ArgumentError(
            argument,
            f"must be a JAX function of x {x.shape}: {type(error).__name__}: "
            f"{_checks.first_line(error)} Pass the outputs of any other function as an "
            "array.",
        ) from error
    if getattr(logits, "shape", None) != (2, num_classes):
        raise ArgumentError(
            argument,
            f"must return logits [B, C] = {(2, num_classes)} for 2 examples of "
            f"{num_classes} classes, got {getattr(logits, 'shape', logits)}.",
        )

    # As a model without weights, so that its signals are computed like any other's.
    def apply(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        del params, train, key
        return outputs(x), state

    model = Model(lambda key, x: ({}, {}), apply)
    options = dict(num_queries=queries.count, augment=queries.augment, key=queries.key)
    run = functools.partial(compute.model_signals, model, {}, {}, **options)
    of_model = jax.tree.map(np.asarray, jax.jit(run)(examples))
    fields = (field[None] for field in of_model)
    try:
        return check_signals(Signals(*fields, keep=members[None], labels=examples.y))
    except ArgumentError as error:
        raise ArgumentError(argument, f"gives {error}") from error


def _of_array(
    target: Target, members: np.ndarray, labels: np.ndarray, num_queries: int
) -> Signals:
    # The reader of files checks arrays too, and what their values mean.
    arrays: Mapping[str, Any] = {
        target.outputs_are: target.outputs,
        "members": members,
        "labels": labels,
    }
    source = f"target {target.name!r}"
    signals = target_from_arrays(arrays, source)
    if signals.phi.shape[-1] != num_queries:
        rule = f"must be that of the target's outputs, {signals.phi.shape[-1]}, got"
        raise ArgumentError("num_queries", f"{rule} {num_queries}.")
    return signals
