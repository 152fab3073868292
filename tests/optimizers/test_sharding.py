"""Weights sharded over devices: no weight is gathered, and explicit sharding works."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from sam_jax.optimizers import OPTIMIZERS

NAMES = sorted(OPTIMIZERS.keys() - {"sgd"})
SPECS = [("devices", None), (None, "devices")]


def grad_fn(w, *_):
    return jax.tree.map(lambda x: jnp.sin(3 * x) + x, w)


def weights(spec=None, axis_type=AxisType.Auto):
    rng = np.random.default_rng(0)
    kernel = jnp.asarray(rng.normal(size=(6, 4)), jnp.float32)
    bias = jnp.asarray(rng.normal(size=4), jnp.float32)
    if spec is not None:
        mesh = jax.make_mesh((2,), ("devices",), axis_types=(axis_type,))
        kernel = jax.device_put(kernel, NamedSharding(mesh, PartitionSpec(*spec)))
        bias = jax.device_put(bias, NamedSharding(mesh, PartitionSpec("devices")))
    return {"kernel": kernel, "bias": bias}


def update(name, **settings):
    tx = OPTIMIZERS[name](optax.sgd(0.1, momentum=0.9), clip_norm=1.0, **settings)

    def step(w, state):
        extra = {"grad_fn": grad_fn, "group_grad_fn": grad_fn}
        updates, state = tx.update(grad_fn(w), state, w, **extra)
        return optax.apply_updates(w, updates), state

    return tx.init, jax.jit(step)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("name", NAMES)
def test_no_weight_is_gathered_and_the_step_is_the_same(name, spec):
    init, step = update(name)
    alone, _ = step(weights(), init(weights()))
    w = weights(spec)
    compiled = step.lower(w, init(w)).compile()
    assert "all-reduce" in compiled.as_text()
    assert "all-gather" not in compiled.as_text()
    together, _ = compiled(w, init(w))
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert together["kernel"].sharding.is_equivalent_to(w["kernel"].sharding, 2)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("name", [*NAMES, "looksam-per-tensor"])
def test_explicit_sharding_works(name, spec):
    name, _, per_tensor = name.partition("-")
    init, step = update(name, **({"per_tensor": True} if per_tensor else {}))
    alone, _ = step(weights(), init(weights()))
    w = weights(spec, AxisType.Explicit)
    with jax.set_mesh(w["kernel"].sharding.mesh):
        together, _ = step(w, init(w))
    assert jax.typeof(together["kernel"]).sharding.spec == PartitionSpec(*spec)
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
