"""Core types. Array pytrees are NamedTuples of arrays; settings are frozen dataclasses.

Axes, here and everywhere: models M, examples N, queries (augmented views) Q, classes
C, batch B, targets T, thresholds K.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

Params: TypeAlias = Any
"""Pytree of float arrays: the weights of a model."""

ModelState: TypeAlias = Any
"""Pytree of arrays that training updates without gradients (batch statistics)."""

Key: TypeAlias = PRNGKeyArray | jax.Array
"""A JAX random key, new or old style."""


class Examples(NamedTuple):
    """Inputs and their labels."""

    x: Float[Array | np.ndarray, "n *features"]
    y: Int[Array | np.ndarray, "n"]


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where examples are in the file or set that the user gave.

    Attributes:
        split: Name of the split or array.
        rows: Row of each example in it, from 0.
        ids: Name of each example, where the file has any.
    """

    split: str
    rows: Int[np.ndarray, "n"]
    ids: Shaped[np.ndarray, "n"] | None = None

    def take(self, chosen: Any) -> "Origin":
        """Returns the origin of some of the examples (indices or a mask)."""
        ids = None if self.ids is None else self.ids[chosen]
        return Origin(self.split, self.rows[chosen], ids)

    def describe(self, example: int) -> list[Any]:
        """Returns split, row and, where there is one, the name of an example."""
        ids = [] if self.ids is None else [self.ids[example]]
        return [self.split, int(self.rows[example]), *ids]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A classification data set on the host; never traced.

    Attributes:
        name: Short name, as registered.
        num_classes: Number of classes C; labels lie in ``[0, C)``.
        train: The pool that shadow models draw their training sets from.
        test: Examples that no model trains on.
        class_names: C names for tables and figures; empty where unknown.
        source: Where the data comes from and under which licence.
        train_origin: Rows of the pool's examples in the user's file or set.
        test_origin: Of the test examples likewise.
    """

    name: str
    num_classes: int
    train: Examples
    test: Examples
    class_names: tuple[str, ...] = ()
    source: str = ""
    train_origin: Origin | None = None
    test_origin: Origin | None = None

    def take(self, *, pool: Any = None, test: Any = None) -> "Dataset":
        """Returns the data set with some of its examples, and their origins.

        Args:
            pool: Indices or mask of pool examples; all by default.
            test: Of test examples likewise.

        Example:
            >>> x, y = np.eye(3, dtype=np.float32), np.arange(3, dtype=np.int32)
            >>> origin = Origin("train", np.array([7, 8, 9]))
            >>> data = Dataset("d", 3, Examples(x, y), Examples(x, y), (), "", origin)
            >>> data.take(pool=[0, 2]).train_origin.rows
            array([7, 9])
        """
        changes: dict[str, Any] = {}
        for name, chosen in (("train", pool), ("test", test)):
            if chosen is None:
                continue
            x, y = getattr(self, name)
            origin = getattr(self, f"{name}_origin")
            changes[name] = Examples(x[chosen], y[chosen])
            changes[f"{name}_origin"] = None if origin is None else origin.take(chosen)
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True)
class Model:
    """A classifier as a pair of pure functions.

    Attributes:
        init: ``init(key, x [B, *features]) -> (params, state)``.
        apply: ``apply(params, state, x [B, *features], train, key) -> (logits f32
            [B, C], state)``. ``state`` holds batch statistics, ``{}`` without them;
            ``train`` is a Python bool; ``key`` drives dropout and may be ignored.
    """

    init: Callable[[Any, Any], tuple[Params, ModelState]]
    apply: Callable[..., tuple[Any, ModelState]]


class Signals(NamedTuple):
    """What every attack sees: the outputs of M models on N examples.

    Columns that no model kept (``keep`` all False) are the population: test examples,
    used by attacks that need non-members and left out of the metrics.

    Attributes:
        phi: Logit-scaled confidence ``log(p_y / (1 - p_y))`` in nats, per query.
        correct: Whether the model's arg max is the label (query 0).
        entropy: Entropy of the prediction, in nats (query 0).
        modified_entropy: Song and Mittal's modified entropy, in nats (query 0).
        keep: True where the model trained on the example.
        labels: Class of each example.
    """

    phi: Float[Array | np.ndarray, "m n q"]
    correct: Bool[Array | np.ndarray, "m n"]
    entropy: Float[Array | np.ndarray, "m n"]
    modified_entropy: Float[Array | np.ndarray, "m n"]
    keep: Bool[Array | np.ndarray, "m n"]
    labels: Int[Array | np.ndarray, "n"]

    def select(self, *, models: Any = None, examples: Any = None) -> "Signals":
        """Returns the signals of some models on some examples.

        Args:
            models: Which rows: a slice, a mask or indices; all by default.
            examples: Which columns likewise.

        Example:
            >>> two = np.zeros((2, 3), np.float32)
            >>> keep = np.eye(2, 3, dtype=bool)
            >>> labels = np.array([4, 5, 6])
            >>> signals = Signals(two[..., None], keep, two, two, keep, labels)
            >>> part = signals.select(models=slice(1), examples=labels > 4)
            >>> part.phi.shape, part.labels
            ((1, 2, 1), array([5, 6]))
        """
        *fields, labels = self
        if models is not None:
            fields = [field[models] for field in fields]
        if examples is not None:
            fields = [field[:, examples] for field in fields]
            labels = labels[examples]
        return Signals(*fields, labels=labels)


AttackFn: TypeAlias = Callable[[Signals, Any], Any]
"""``(signals, target i32 []) -> scores f32 [N]``; higher means more likely a member."""


AugmentFn: TypeAlias = Callable[[Any, Any], Any]
"""``augment(key, x [B, *features]) -> x``: a random augmentation of each example."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings of the training of one model, the same for all models of a call.

    Attributes:
        num_epochs: Passes over the examples that a model trains on.
        batch_size: Examples in a step.
        examples_per_epoch: Examples that an epoch goes through, cut down to whole
            batches; by default half of the pool, the expected size of a training set.
        stop_accuracy: A model is frozen after the first epoch whose running training
            accuracy reaches this; None trains all epochs.
        models_per_chunk: Models that train at once; chosen from M by default.
        models_per_vmap: Models under one ``vmap`` on a device; the others of a chunk
            follow. By default one where there are convolutions, else all on an
            accelerator, and on a CPU one, or up to eight small ones; or what
            ``time_vmap`` measures.
        time_vmap: Whether ``models_per_vmap`` is chosen by timing 1, 2, 4, ... after
            the first epoch, if that takes at most 2 % of the call; None does so on
            accelerators.
        max_diverged: Models whose loss may cease to be finite. They are frozen; with
            more of them a call ends in an error, after the chunk with the others.
        progress: Whether an audit shows how far it is, with the time left.
    """

    num_epochs: int = 30
    batch_size: int = 64
    examples_per_epoch: int | None = None
    stop_accuracy: float | None = None
    models_per_chunk: int | None = None
    models_per_vmap: int | None = None
    time_vmap: bool | None = None
    max_diverged: int = 0
    progress: bool = True


class TrainState(NamedTuple):
    """A model in training; a leading axis M under ``vmap``.

    Attributes:
        params: Weights.
        state: Batch statistics and the like.
        opt_state: The optimizer's memory.
        done: Whether the model is frozen (``TrainConfig.stop_accuracy``).
    """

    params: Params
    state: ModelState
    opt_state: Any
    done: Bool[Array, "*m"]


class TrainLog(NamedTuple):
    """Running training loss (nats) and accuracy of each epoch, before each step.

    Epochs after the one that froze a model are NaN.
    """

    loss: Float[Array | np.ndarray, "*m epochs"]
    accuracy: Float[Array | np.ndarray, "*m epochs"]
