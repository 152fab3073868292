"""The ingredients of trained models, as hashes and words that can be compared.

The programs are hashed as XLA gets them (StableHLO), traced for one model on the real
shapes: a changed learning rate, radius, schedule, closure or width is a changed
program, wherever it was changed. How models are put into chunks is no part of it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Bool

from sam_jax.training.trainer import TrainingTask, make_train
from sam_jax.types import Examples, Key

SCHEDULING = (
    "models_per_chunk",
    "models_per_vmap",
    "time_vmap",
    "max_diverged",
    "progress",
)
"""Settings that say where and when models train, not what they become."""

OF_CHUNKS = ("training sets", "hyper-parameters")
"""The ingredients that differ from chunk to chunk."""
SIGNALS = "signals"
"""The ingredient of a chunk that its models' weights do not depend on."""

PACKAGES = ("jax", "jaxlib", "flax", "optax", "sam_jax")


@dataclasses.dataclass(frozen=True)
class Identity:
    """What the models of one optimizer depend on.

    Attributes:
        shared: Of all models: name of an ingredient -> a hash or a few words.
        keep: Which example each model trains on.
        hyperparams: Pytree with a leading axis of models.
    """

    shared: Mapping[str, str]
    keep: Bool[np.ndarray, "m n"]
    hyperparams: Any

    @property
    def num_models(self) -> int:
        """Models of the whole call."""
        return len(self.keep)

    def of(self, models: np.ndarray) -> dict[str, str]:
        """Returns the ingredients of these models."""
        rows = jax.tree.map(lambda a: np.asarray(a)[models], self.hyperparams)
        return {
            **self.shared,
            "training sets": hash_arrays(self.keep[models]),
            "hyper-parameters": hash_arrays(*jax.tree.leaves(rows)),
        }


def training_identity(
    key: Key,
    task: TrainingTask,
    hyperparams: Any,
    keep: Bool[np.ndarray, "m n"],
    pool: Examples,
    **further: str,
) -> Identity:
    """Returns what ``train_chunks`` with these arguments makes its models of.

    Args:
        key: Random key.
        task: Network, optimizer and settings.
        hyperparams: Pytree with a leading axis M.
        keep: Which example each model trains on.
        pool: The examples.
        further: More ingredients, such as what the signals depend on.
    """
    # Programs are traced with hyper-parameters as arguments: their values do not
    # show there, and `Identity.of` hashes those of each chunk.
    one = jax.tree.map(lambda _: jnp.zeros((), jnp.float32), hyperparams)
    settings = dataclasses.asdict(task.config)
    settings = {k: v for k, v in settings.items() if k not in SCHEDULING}
    shared = {
        "data": hash_arrays(*pool),
        "network": _network_hash(task, pool),
        "optimizer": _optimizer_hash(task, one, pool),
        "augmentation": _augmentation_hash(task, pool),
        "training program": _training_hash(task, one, pool),
        "settings of training": json.dumps(settings, sort_keys=True),
        "seed": f"{jax.random.key_impl(key)} {_key_bytes(key).hex()}",
        "versions": package_versions(),
        "precision": _precision(),
        "device": f"{jax.devices()[0].platform} {jax.devices()[0].device_kind}",
    }
    return Identity(shared | further, np.asarray(keep), hyperparams)


def hash_arrays(*arrays: Any) -> str:
    """Returns the SHA-256 of values, shapes and dtypes, whatever the byte order.

    Example:
        >>> a = np.arange(3)
        >>> hash_arrays(a) == hash_arrays(a.astype(">i8")), hash_arrays(a.astype("i4"))
        ... # doctest: +ELLIPSIS
        (True, '...')
    """
    digest = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        # The machine's byte order, so that equal values have equal bytes.
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def hash_program(fn: Callable[..., Any], *args: Any) -> str:
    """Returns the SHA-256 of a function as XLA gets it, with all that it closes over.

    Args:
        fn: Pure function of JAX arrays.
        args: Arguments, or ``jax.ShapeDtypeStruct`` in their place.
    """
    text = jax.jit(fn).lower(*args).as_text()
    return hashlib.sha256(text.encode()).hexdigest()


def _shapes(task: TrainingTask, pool: Examples) -> tuple[Any, Any]:
    """Shapes of a batch and of what ``model.init`` makes."""
    dtype = jax.dtypes.canonicalize_dtype(pool.x.dtype)
    batch = jax.ShapeDtypeStruct((task.config.batch_size, *pool.x.shape[1:]), dtype)
    first = jax.ShapeDtypeStruct((1, *pool.x.shape[1:]), dtype)
    return batch, jax.eval_shape(task.model.init, jax.random.key(0), first)


def _network_hash(task: TrainingTask, pool: Examples) -> str:
    batch, variables = _shapes(task, pool)

    def network(key: Any, x: Any, variables: Any) -> Any:
        initial = task.model.init(key, x[:1])
        passes = [task.model.apply(*variables, x, t, key) for t in (True, False)]
        return initial, passes

    return hash_program(network, jax.random.key(0), batch, variables)


def _optimizer_hash(task: TrainingTask, hyperparams: Any, pool: Examples) -> str:
    """Of a step whose gradient is a fixed function of the weights."""
    _, (params, _) = _shapes(task, pool)

    def step(hyperparams: Any, params: Any, number: Any, key: Any) -> Any:
        tx = optax.with_extra_args_support(task.make_optimizer(hyperparams))

        # It depends on the weights, so that the program shows where SAM evaluates it.
        def gradient(weights: Any, *_: Any) -> Any:
            return jax.tree.map(lambda w: w * w, weights)

        state = tx.init(params)
        return state, tx.update(
            gradient(params),
            state,
            params,
            grad_fn=gradient,
            group_grad_fn=gradient,
            step=number,
            key=key,
            value=jnp.float32(0.0),
        )

    return hash_program(step, hyperparams, params, jnp.int32(0), jax.random.key(0))


def _augmentation_hash(task: TrainingTask, pool: Examples) -> str:
    if task.augment is None:
        return "none"
    batch, _ = _shapes(task, pool)
    return hash_program(task.augment, jax.random.key(0), batch)


def _training_hash(task: TrainingTask, hyperparams: Any, pool: Examples) -> str:
    """Of an epoch of one model: all of the above put together, and the loss."""
    training = make_train(task)
    _, variables = _shapes(task, pool)
    state = jax.eval_shape(training.init, hyperparams, *variables)
    keep = jax.ShapeDtypeStruct((len(pool.x),), jnp.bool_)
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), pool)
    number, key = jnp.int32(0), jax.random.key(0)
    return hash_program(training.epoch, shapes, key, number, hyperparams, keep, state)


def _key_bytes(key: Key) -> bytes:
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    return np.asarray(key).tobytes()


def _precision() -> str:
    names = ("jax_default_matmul_precision", "jax_enable_x64", "jax_default_prng_impl")
    return ", ".join(f"{name} {getattr(jax.config, name)}" for name in names)


def package_versions() -> str:
    """Returns the versions of all packages that training depends on."""
    return ", ".join(f"{name} {_version(name)}" for name in PACKAGES)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def difference(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Returns what differs between two ``Identity.of``, in words; "" if nothing."""
    names = [k for k in now if then.get(k) != now[k]] + sorted(then.keys() - now.keys())
    if len(names) > 1 and "training program" in names:
        names.remove("training program")  # It changes with the optimizer and the rest.
    texts = []
    for name in names:
        before, after = then.get(name, "none"), now.get(name, "none")
        # Hashes tell a reader nothing; versions and settings do.
        is_hash = len(before) == 64 or len(after) == 64
        texts.append(name if is_hash else f"{name} ({before}; now {after})")
    return f"another {', another '.join(texts)}" if texts else ""
