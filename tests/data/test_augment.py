"""Augmentations: what each may do to an image, and that all draw independently."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.data.augment import AUGMENTATIONS, chain, crop, cutout, flip

SIZE, PAD = 5, 2
# Every pixel of every image differs, and none is zero.
X = 1 + jnp.arange(64 * SIZE * SIZE * 2, dtype=jnp.float32).reshape(64, SIZE, SIZE, 2)
KEYS = jax.random.split(jax.random.key(3), 3)


@functools.cache
def views(name):
    """Views of X under three keys, as for three models."""
    augment = {
        "crop": functools.partial(crop, pad=PAD),
        "reflect_crop": functools.partial(crop, pad=PAD, mode="reflect"),
        "cutout": functools.partial(cutout, size=2),
        "flip": flip,
    }[name]
    return np.asarray(jax.jit(jax.vmap(augment, (0, None)))(KEYS, X))


def possible(name, image):
    """All that an augmentation may make of an image, by brute force."""
    if name == "flip":
        return [image, image[:, ::-1]]
    if name == "cutout":
        made = []
        for row, column in np.ndindex(SIZE, SIZE):
            cut = image.copy()
            cut[max(row - 1, 0) : row + 1, max(column - 1, 0) : column + 1] = 0
            made.append(cut)
        return made
    mode = "reflect" if name == "reflect_crop" else "constant"
    padded = np.pad(image, ((PAD, PAD), (PAD, PAD), (0, 0)), mode)
    shifts = range(2 * PAD + 1)
    return [padded[i : i + SIZE, j : j + SIZE] for i in shifts for j in shifts]


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_a_view_is_one_of_those_possible_and_each_image_and_model_draws_its_own(name):
    drawn = []
    for view in views(name):
        for image, seen in zip(np.asarray(X), view, strict=True):
            matches = [
                n
                for n, v in enumerate(possible(name, image))
                if np.array_equal(v, seen)
            ]
            assert len(matches) >= 1
            drawn.append(matches[0])
    counts = np.unique(drawn, return_counts=True)[1]
    outcomes = len({a.tobytes() for a in possible(name, np.asarray(X[0]))})
    assert len(counts) == outcomes  # 192 draws of at most 25
    if name != "cutout":  # its squares at the edge are alike
        expected = len(drawn) / outcomes
        assert np.abs(counts - expected).max() < 4.5 * np.sqrt(expected)
    drawn = np.reshape(drawn, (len(KEYS), -1))
    assert (drawn[0] != drawn[1]).any() and (drawn[1] != drawn[2]).any()


def test_a_chain_gives_each_link_its_own_key_and_keeps_the_order():
    seen = []

    def link(key, x):
        seen.append(np.asarray(jax.random.key_data(key)).tolist())
        return x * 2 + len(seen)

    out = chain(link, link)(KEYS[0], X[:1])
    np.testing.assert_array_equal(out, (X[:1] * 2 + 1) * 2 + 2)
    assert seen[0] != seen[1]
    assert chain()(KEYS[0], X) is X


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="mode must be one of reflect, zero"):
        crop(KEYS[0], X, mode="wrap")
    with pytest.raises(ValueError, match="pad must be below"):
        crop(KEYS[0], X, pad=SIZE, mode="reflect")
    with pytest.raises(ValueError, match="size must be a whole number >= 1"):
        cutout(KEYS[0], X, size=0)
