"""Signals against probabilities in float64, and files that are right and wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax._checks import ArgumentError
from sam_jax.signals import compute, files, statistics

NUM_MODELS, NUM_EXAMPLES, NUM_QUERIES, NUM_CLASSES = 4, 6, 2, 3


def load(path):
    """The signals of a file that holds those of one algorithm."""
    (signals,) = files.load_signals([path]).signals.values()
    return signals


def make_keep():
    keep = np.zeros((NUM_MODELS, NUM_EXAMPLES), bool)
    keep[:2, :3] = keep[2:, 3:5] = True
    return keep


@pytest.fixture
def logits():
    shape = (NUM_MODELS, NUM_EXAMPLES, NUM_QUERIES, NUM_CLASSES)
    return np.random.default_rng(0).normal(scale=4, size=shape).astype(np.float32)


@pytest.fixture
def labels():
    return np.arange(NUM_EXAMPLES, dtype=np.int32) % NUM_CLASSES


def probabilities(logits):
    e = np.exp(np.float64(logits) - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def naive_modified_entropy(p, y):
    others = [p[c] * np.log(1 - p[c]) for c in range(len(p)) if c != y]
    return -(1 - p[y]) * np.log(p[y]) - sum(others)


def test_phi_is_the_log_odds_of_the_label(logits, labels):
    p = probabilities(logits[0, :, 0])[np.arange(NUM_EXAMPLES), labels]
    phi = statistics.logit_scaled_confidence(jnp.asarray(logits[0, :, 0]), labels)
    np.testing.assert_allclose(phi, np.log(p / (1 - p)), rtol=1e-5)


def test_phi_is_exact_where_the_probability_rounds_to_one():
    logits = jnp.array([[200.0, 0.0], [0.0, 300.0], [0.0, -jnp.inf]])
    phi = statistics.logit_scaled_confidence(logits, jnp.zeros(3, jnp.int32))
    np.testing.assert_array_equal(phi, [200.0, -300.0, np.inf])


def test_phi_rejects_a_single_class():
    with pytest.raises(ValueError, match="at least 2 classes"):
        statistics.logit_scaled_confidence(jnp.zeros((4, 1)), jnp.zeros(4, jnp.int32))


def test_entropy_is_that_of_the_probabilities(logits):
    p = probabilities(logits)
    expected = -(p * np.log(p)).sum(-1)
    np.testing.assert_allclose(statistics.entropy(logits), expected, 1e-4)


def test_entropy_of_the_uniform_is_log_classes_and_of_certainty_zero():
    logits = jnp.array([[0.0, 0.0, 0.0, 0.0], [500.0, 0.0, 0.0, -jnp.inf]])
    np.testing.assert_allclose(statistics.entropy(logits), [np.log(4), 0], atol=1e-6)


def test_modified_entropy_matches_its_formula(logits, labels):
    flat = jnp.asarray(logits[1, :, 0])
    expected = [
        naive_modified_entropy(p, y)
        for p, y in zip(probabilities(np.asarray(flat)), labels, strict=True)
    ]
    actual = statistics.modified_entropy(flat, labels)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def test_modified_entropy_of_certain_answers_is_finite():
    logits = jnp.array([[100.0, 0.0, 0.0], [0.0, 100.0, 0.0]])
    actual = statistics.modified_entropy(logits, jnp.zeros(2, jnp.int32))
    # Right: all terms vanish. Wrong: 100 for the label, 100 - log 2 for the other.
    np.testing.assert_allclose(actual, [0.0, 200 - np.log(2)], atol=1e-5)


def test_modified_entropy_has_finite_gradients():
    logits = jnp.array([[100.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    labels = jnp.zeros(2, jnp.int32)
    total = lambda z: statistics.modified_entropy(z, labels).sum()
    assert np.isfinite(jax.grad(total)(logits)).all()


def test_signals_of_logits_have_the_first_view_in_the_single_fields(logits, labels):
    s = compute.signals_from_logits(logits, labels, make_keep())
    assert s.phi.shape == (NUM_MODELS, NUM_EXAMPLES, NUM_QUERIES)
    first = logits[:, :, 0]
    np.testing.assert_array_equal(s.correct, first.argmax(-1) == labels)
    np.testing.assert_allclose(s.entropy, statistics.entropy(first), 1e-6)
    for q in range(NUM_QUERIES):
        one = compute.signals_from_logits(logits[:, :, q], labels, make_keep())
        np.testing.assert_allclose(s.phi[..., q], one.phi[..., 0], rtol=1e-6)


def test_saved_signals_are_loaded_bit_for_bit_with_their_settings(
    tmp_path, logits, labels
):
    s = compute.signals_from_logits(logits, labels, make_keep())
    path = tmp_path / "signals.npz"
    files.save_signals(path, {"sgd": s}, settings={"rho": 0.05}, canaries=np.array([2]))
    loaded = files.load_signals([path])
    for saved, again in zip(s, loaded.signals["sgd"], strict=True):
        np.testing.assert_array_equal(saved, again)
        assert saved.dtype == again.dtype
    assert loaded.settings == {"sgd": {"rho": 0.05}}
    np.testing.assert_array_equal(loaded.canaries, [2])


def test_logits_in_a_folder_of_arrays_give_the_same_signals(tmp_path, logits, labels):
    for name, array in dict(logits=logits, labels=labels, keep=make_keep()).items():
        np.save(tmp_path / f"{name}.npy", array)
    expected = compute.signals_from_logits(logits, labels, make_keep())
    for a, b in zip(load(tmp_path), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_phi_and_a_zero_one_mask_are_enough(tmp_path):
    phi = np.linspace(-3, 3, NUM_MODELS * NUM_EXAMPLES).reshape(NUM_MODELS, -1)
    np.savez(tmp_path / "s.npz", phi=phi, keep=make_keep().astype(np.uint8))
    s = load(tmp_path / "s.npz")
    assert s.phi.shape == (NUM_MODELS, NUM_EXAMPLES, 1) and s.keep.dtype == bool
    np.testing.assert_array_equal(s.correct, phi > 0)
    assert np.isnan(s.entropy).all() and (s.labels == 0).all()


def broken(**changes):
    arrays = dict(
        phi=np.zeros((NUM_MODELS, NUM_EXAMPLES, 1), np.float32),
        keep=make_keep(),
        labels=np.zeros(NUM_EXAMPLES, np.int32),
    )
    arrays.update(changes)
    return {name: a for name, a in arrays.items() if a is not None}


NAN = np.zeros((NUM_MODELS, NUM_EXAMPLES), np.float32)
NAN[1, 2] = np.nan
ALWAYS = make_keep()
ALWAYS[:, 4] = True
EMPTY = make_keep()
EMPTY[3] = False


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(phi=NAN), r"phi must not hold NaN: 1 values do.*\(1, 2, 0\)"),
        (dict(phi=NAN[0]), "phi must be"),
        (dict(phi=np.zeros((NUM_MODELS, NUM_EXAMPLES, 0))), "at least one of each"),
        (dict(phi=np.full(NAN.shape, 1e300)), "fit into float32.*1e.300 at index"),
        (dict(phi=NAN.astype(str)), "phi must be a float array, got <U"),
        (dict(phi=NAN.astype(complex)), "phi must be a float array, got complex128"),
        (dict(correct=NAN.astype(str)), "correct must be a mask"),
        (dict(correct=np.full(NAN.shape, 0.5)), "correct must be a mask"),
        (dict(entropy=np.full(NAN.shape, -1.0)), "entropy must be finite and >= 0"),
        (dict(modified_entropy=NAN), "NaN throughout"),
        (dict(keep=np.bool_(True)), r"keep must be \[models, examples\]"),
        (dict(keep=make_keep()[0]), r"keep must be \[models, examples\]"),
        (dict(keep=make_keep().astype(str)), "keep must be a mask"),
        (dict(keep=np.where(make_keep(), np.nan, 0)), "keep must be a mask"),
        (dict(labels=np.eye(NUM_EXAMPLES)), r"one-hot.*labels.argmax\(axis=1\)"),
        (dict(labels=np.zeros(NUM_EXAMPLES, str)), "labels must be integers"),
        (dict(labels=np.int64(3)), "labels must be"),
        (dict(metadata=np.array("[1]")), "metadata must be the text of a JSON object"),
        (dict(metadata=np.array("[" * 10_000)), "metadata must be the text"),
        (dict(metadata=np.arange(3)), "metadata must be the text"),
        (dict(metadata=np.array(["{}", "{}"])), "metadata must be the text"),
        (dict(canaries=np.array([-1])), r"canaries must be .* in \[0, 6\), got \[-1\]"),
        (dict(canaries=np.array([6])), "canaries must be different columns"),
        (dict(canaries=np.arange(6)), "canaries must be columns that some models"),
        (dict(canaries=np.array([1, 1])), "canaries must be different columns"),
        (dict(canaries=np.array([1.0])), "of dtype float64"),
        (dict(canaries=np.array(["1"])), "of dtype <U1"),
        (dict(canaries=np.array(1)), "canaries must be different columns"),
        (dict(phi=np.zeros((NUM_MODELS, NUM_EXAMPLES), int)), "float array"),
        (dict(phi=np.full(NAN.shape, np.inf, np.float16)), "overflows float16"),
        (dict(keep=None), "must hold keep"),
        (dict(phi=None), "phi or logits"),
        (dict(keep=make_keep().T), "looks transposed"),
        (dict(keep=make_keep() * 2), "mask of True and False"),
        (dict(keep=ALWAYS), "1 examples that every model trained on.*column 4"),
        (dict(keep=EMPTY), "model 3 trained on nothing"),
        (dict(labels=np.zeros(3, int)), "labels must be"),
        (dict(labels=np.zeros(NUM_EXAMPLES)), "labels must be integers"),
        (
            dict(phi=None, logits=np.zeros((4, 6, 3)), labels=np.full(6, -1)),
            "labels must lie in",
        ),
        (
            dict(phi=None, logits=np.zeros((4, 6)), labels=np.zeros(6, int)),
            "single logit z of a",
        ),
        (
            dict(phi=None, logits=np.zeros((4, 6, 1)), labels=np.zeros(6, int)),
            "single logit z of a binary classifier",
        ),
        (
            dict(phi=None, logits=np.full((4, 6, 3), np.inf), labels=np.zeros(6, int)),
            r"logits\[0\] must be finite, or -inf",
        ),
        (dict(entropy=np.zeros(3)), "entropy must be"),
        (
            dict(phi=None, logits=np.zeros((4, 6, 3)), labels=None),
            "labels must be there",
        ),
        (
            dict(phi=None, logits=np.zeros((4, 6, 3)), labels=np.full(6, 3)),
            r"labels must lie in \[0, 2\]",
        ),
    ],
)
def test_a_broken_file_says_what_to_fix(tmp_path, changes, message):
    np.savez(tmp_path / "s.npz", **broken(**changes))
    with pytest.raises(ArgumentError, match=message) as caught:
        load(tmp_path / "s.npz")
    assert "s.npz" in str(caught.value) and "\n" not in str(caught.value)


def test_pickles_other_files_and_missing_files_are_refused(tmp_path):
    np.savez(tmp_path / "s.npz", **broken(phi=np.array([{}], dtype=object)))
    (tmp_path / "text.npz").write_text("phi")
    for name in ("s.npz", "text.npz"):
        with pytest.raises(ValueError, match="no pickles"):
            load(tmp_path / name)
    with pytest.raises(ValueError, match="no .*none.npz"):
        load(tmp_path / "none.npz")
    with pytest.raises(ValueError, match="must end in .npz"):
        files.save_signals(tmp_path / "s.txt", {})


@pytest.mark.parametrize("dtype", [">i8", ">i4", ">i2", "u1", "u8"])
def test_labels_of_any_integer_type_and_byte_order_are_the_same(dtype, logits, labels):
    expected = compute.signals_from_logits(logits, labels, make_keep())
    swapped = logits.astype(">f4")
    found = compute.signals_from_logits(swapped, labels.astype(dtype), make_keep())
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_class_ids_far_apart_are_encoded_in_order_and_kept(tmp_path, logits, labels):
    ids = labels.astype(np.int64) * 300_000_000 + 7
    outputs = {"phi": logits[:, :, 0, 0], "logits": logits}
    for name, array in outputs.items():
        path = tmp_path / f"{name}.npz"
        np.savez(path, keep=make_keep(), labels=ids, **{name: array})
        loaded = files.load_signals([path])
        np.testing.assert_array_equal(loaded.signals[name].labels, labels)
        np.testing.assert_array_equal(loaded.class_ids, [7, 300000007, 600000007])
    np.savez(path, keep=make_keep(), labels=labels, logits=logits)
    assert files.load_signals([path]).class_ids.size == 0


def test_infinite_phi_is_kept_with_a_warning(tmp_path):
    phi = np.zeros((NUM_MODELS, NUM_EXAMPLES), np.float32)
    phi[0, 0] = np.inf
    np.savez(tmp_path / "s.npz", **broken(phi=phi))
    with pytest.warns(UserWarning, match="1 infinite values among 24"):
        assert load(tmp_path / "s.npz").phi[0, 0, 0] == np.inf
