"""Lifts a function of one model to many: over devices, then in groups under vmap.

Models with convolutions train one after the other on every device: their images then
stay in the cache of a CPU core or in the fast memory of a TPU, and a GPU runs plain
convolutions instead of grouped ones. Of other models, a GPU or TPU runs all under one
``vmap``. On a CPU they follow one another too, so that weights and momenta stay in the
core's cache, but for models so small that the calls of operations cost more
(`benchmarks/README.md` has the figures). Each core is a separate device there
(``use_all_cores``).
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from sam_jax import _checks

CPU_MODELS_PER_VMAP = 8
"""Of small models on a CPU core (``benchmarks.models_per_vmap``)."""

SMALL_MODEL_BYTES = 2**17
"""Of weights and momenta, up to which a model is small there."""


def use_all_cores(num_devices: int | None = None) -> None:
    """Makes each CPU core a JAX device; call it before anything else uses JAX.

    Without it XLA splits every small matrix product over the cores, which costs more
    than it gains; with it each core trains some of the models.

    Args:
        num_devices: CPU devices to make; by default the cores this process may use.

    Raises:
        RuntimeError: If JAX has already started its backends.
    """
    if num_devices is None:
        num_devices = _available_cores()
    _checks.at_least(1, num_devices=num_devices)
    jax.config.update("jax_num_cpu_devices", num_devices)


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_models_per_vmap(many: Any, platform: str) -> int:
    """The width of ``vmap`` on one device: one model, a small group, or all.

    Leaves of ``many`` with four axes and that of the models are kernels of
    convolutions, and then a group is one model; floating-point leaves are weights and
    momenta, by whose size a model is small.

    Args:
        many: Pytree of what each model has, with a leading axis of models.
        platform: Of the device: ``"cpu"``, ``"gpu"``, ``"tpu"``, ...
    """
    leaves = jax.tree.leaves(many)
    local_models = leaves[0].shape[0]
    if any(leaf.ndim > 4 for leaf in leaves):
        return 1
    if platform != "cpu":
        return local_models
    floats = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in floats)
    if size > SMALL_MODEL_BYTES * local_models:
        return 1
    # A divisor: `lax.map` would compile a second program for a remainder.
    for width in range(min(CPU_MODELS_PER_VMAP, local_models), 1, -1):
        if local_models % width == 0:
            return width
    return 1


def over_models(
    fn: Callable[..., Any],
    *,
    models_per_vmap: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    replaced: int | None = None,
    compiler_options: dict[str, Any] | None = None,
) -> jax.stages.Wrapped:
    """Returns ``fn(shared, *one)`` lifted to ``(shared, *many)``, jitted.

    Args:
        fn: Pure function of what all models share and of the pytrees of one model.
        models_per_vmap: Models under one ``vmap``; the groups follow one another.
        devices: Devices that split the models; all local ones by default.
        replaced: Position of an argument that the first of ``fn``'s results replaces:
            a state, in whose memory the new one is written.
        compiler_options: Of XLA, by name.

    Returns:
        A function whose arguments after the first, and whose result, carry a leading
        axis of models. It is compiled once for each such length. A length that is no
        multiple of the number of devices is filled up with copies, and cut again.
    """
    devices = list(devices or jax.local_devices())

    def on_one_device(shared: Any, many: tuple[Any, ...]) -> Any:
        local_models = jax.tree.leaves(many)[0].shape[0]
        width = models_per_vmap or default_models_per_vmap(many, devices[0].platform)

        def each(one: tuple[Any, ...]) -> Any:
            return fn(shared, *one)

        if width == 1:
            return _one_after_another(each, many, replaced)
        if width >= local_models:
            return jax.vmap(each)(many)
        return jax.lax.map(each, many, batch_size=width)

    # Nothing passes between devices: each runs the program on its models.
    if len(devices) > 1:
        on_one_device = jax.shard_map(
            on_one_device,
            mesh=Mesh(np.asarray(devices), ("models",)),
            in_specs=(P(), P("models")),
            out_specs=P("models"),
            check_vma=False,
        )

    lifted = _filled_up(on_one_device, len(devices))
    donated = () if replaced is None else (replaced,)
    return jax.jit(lifted, donate_argnums=donated, compiler_options=compiler_options)


def _filled_up(fn: Callable[[Any, Any], Any], num_devices: int) -> Callable[..., Any]:
    """Fills models up to a multiple of the devices with copies, and cuts them again."""

    def on_all_devices(shared: Any, *many: Any) -> Any:
        num_models = jax.tree.leaves(many)[0].shape[0]
        if num_models % num_devices == 0:
            return fn(shared, many)
        size = -(-num_models // num_devices) * num_devices
        filled = np.resize(np.arange(num_models), size)
        result = fn(shared, jax.tree.map(lambda a: a[filled], many))
        return jax.tree.map(lambda a: a[:num_models], result)

    return on_all_devices


def _one_after_another(
    each: Callable[[Any], Any], many: tuple[Any, ...], replaced: int | None
) -> Any:
    """Applies ``each`` to one model after the other; a state is replaced in place.

    `lax.map` would hold all states twice, as they were and as they became.
    """
    if replaced is None:
        return jax.lax.map(each, many)
    # Positions count the shared argument, `many` does not.
    position = replaced - 1
    num_models = jax.tree.leaves(many)[0].shape[0]

    def body(states: Any, inputs: Any) -> Any:
        index, one = inputs
        state = jax.tree.map(lambda a: a[index], states)
        new, *rest = each((*one[:position], state, *one[position + 1 :]))
        states = jax.tree.map(lambda a, b: a.at[index].set(b), states, new)
        return states, tuple(rest)

    # The states are the carry, which XLA updates in place; all else is scanned over.
    others = (*many[:position], None, *many[position + 1 :])
    indices = jnp.arange(num_models, dtype=jnp.int32)
    states, rest = jax.lax.scan(body, many[position], (indices, others))
    return states, *rest
