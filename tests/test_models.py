"""Every registered model: shapes, state, and the same answer under vmap."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.models import MODELS, from_linen, mlp


@pytest.mark.parametrize("name", sorted(MODELS))
def test_models_give_float32_logits_and_agree_under_vmap(name):
    model = MODELS[name](5)
    x = jax.random.normal(jax.random.key(0), (4, 16, 16, 2))
    keys = jax.random.split(jax.random.key(1), 2)
    params, state = jax.vmap(model.init, (0, None))(keys, x)
    apply = jax.jit(model.apply, static_argnums=3)
    logits, new_state = jax.vmap(lambda p, s, k: apply(p, s, x, True, k))(
        params, state, keys
    )
    assert logits.shape == (2, 4, 5)
    assert logits.dtype == jnp.float32
    assert jax.tree.structure(new_state) == jax.tree.structure(state)
    for m in range(2):
        one = jax.tree.map(lambda leaf, m=m: leaf[m], (params, state))
        single, _ = apply(*one, x, True, keys[m])
        np.testing.assert_allclose(logits[m], single, rtol=1e-4, atol=1e-4)


def test_state_is_updated_in_training_only():
    model = MODELS["cnn"](3)
    x = jax.random.normal(jax.random.key(0), (8, 8, 8, 1))
    params, state = model.init(jax.random.key(1), x)
    _, trained = model.apply(params, state, x, True, jax.random.key(2))
    _, evaluated = model.apply(params, state, x, False, jax.random.key(2))
    moved = [
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(trained), strict=True)
    ]
    assert all(moved)
    jax.tree.map(np.testing.assert_array_equal, state, evaluated)


def test_dropout_follows_the_key_and_is_off_in_evaluation():
    model = mlp(3, hidden=(64,), dropout_rate=0.5)
    x = jnp.ones((2, 4))
    params, state = model.init(jax.random.key(0), x)

    def logits(train, seed):
        return model.apply(params, state, x, train, jax.random.key(seed))[0]

    np.testing.assert_array_equal(logits(True, 1), logits(True, 1))
    assert not np.allclose(logits(True, 1), logits(True, 2))
    np.testing.assert_array_equal(logits(False, 1), logits(False, 2))


def test_from_linen_rejects_variables_it_would_lose():
    class Counter(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.variable("counts", "calls", lambda: jnp.zeros(()))
            return nn.Dense(2)(x)

    with pytest.raises(ValueError, match="got counts"):
        from_linen(Counter()).init(jax.random.key(0), jnp.ones((1, 3)))


def test_model_factories_reject_bad_settings():
    with pytest.raises(ValueError, match="num_classes must be a whole number >= 2"):
        mlp(1)
    with pytest.raises(ValueError, match="dropout_rate must lie in"):
        mlp(2, dropout_rate=1.5)
