"""Random corruptions of sound signals: refused, flagged, or without any effect."""

import warnings

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax._checks import ArgumentError
from sam_jax.metrics import model_checks
from sam_jax.signals import signals_from_arrays
from tests.signals.made_outputs import TRAINED, log_softmax, make_outputs, phi_of

# What changes the container and not the content.
HARMLESS = {
    "big_endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "fortran_order": np.asfortranarray,
    "view": lambda a: np.repeat(a, 2, axis=0)[::2],
    "read_only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "float64": lambda a: a.astype("f8") if a.dtype.kind == "f" else a,
    "wide_integers": lambda a: a.astype("i8") if a.dtype.kind in "bi" else a,
    "small_integers": lambda a: a.astype("u1") if a.dtype.kind in "bi" else a,
    "jax": jnp.asarray,
    "list": lambda a: a.tolist() if a.dtype.kind in "bi" else a,
}


def of_label(array, arrays):
    return array[:, np.arange(len(arrays["labels"])), arrays["labels"]]


def label_log_p(arrays):
    return of_label(log_softmax(arrays["logits"]), arrays)


# What changes the content: name -> arrays by name that take the place of others.
HARMFUL = {
    "softmax": lambda a, rng: {"logits": np.exp(log_softmax(a["logits"]))},
    "probabilities": lambda a, rng: {"phi": np.exp(label_log_p(a))},
    "losses": lambda a, rng: {"phi": -label_log_p(a)},
    "log_probabilities": lambda a, rng: {"phi": label_log_p(a)},
    "turned_logits": lambda a, rng: {"logits": -a["logits"]},
    "turned_phi": lambda a, rng: {"phi": -a["phi"]},
    "shifted_labels": lambda a, rng: {
        "logits": a["logits"],
        "labels": (a["labels"] + 1) % a["logits"].shape[-1],
    },
    "shuffled_labels": lambda a, rng: {
        "logits": a["logits"],
        "labels": rng.permutation(a["labels"]),
    },
    "one_hot": lambda a, rng: {
        "labels": np.eye(int(a["labels"].max()) + 1)[a["labels"]]
    },
    "inverted_mask": lambda a, rng: {"keep": ~a["keep"]},
    "transposed_mask": lambda a, rng: {"keep": a["keep"].T},
    "rolled_mask": lambda a, rng: {"keep": np.roll(a["keep"], 1, axis=0)},
    "text_mask": lambda a, rng: {"keep": a["keep"].astype(str)},
    "mask_of_other_values": lambda a, rng: {"keep": a["keep"] * 2},
    "copied_model": lambda a, rng: {"phi": a["phi"][[0, 0, *range(2, len(a["phi"]))]]},
    "nan": lambda a, rng: {"phi": _with(a["phi"], rng, np.nan)},
    "infinity": lambda a, rng: {"phi": _with(a["phi"], rng, np.inf)},
    "beyond_float32": lambda a, rng: {"phi": _with(a["phi"].astype("f8"), rng, 1e300)},
    "text": lambda a, rng: {"phi": a["phi"].astype(str)},
    "integers": lambda a, rng: {"phi": a["phi"].astype(int)},
    "complex": lambda a, rng: {"phi": a["phi"].astype(complex)},
    "missing_examples": lambda a, rng: {"phi": a["phi"][:, :-1]},
    "missing_models": lambda a, rng: {"keep": a["keep"][:-1]},
    "no_examples": lambda a, rng: {"phi": a["phi"][:, :0], "keep": a["keep"][:, :0]},
    "float_labels": lambda a, rng: {"labels": a["labels"] + 0.5},
    "masked": lambda a, rng: {"phi": np.ma.masked_greater(a["phi"], 2)},
}


def _with(phi, rng, value):
    phi = phi.copy()
    phi[rng.integers(len(phi)), rng.integers(phi.shape[1])] = value
    return phi


def sound(family, seed, num_classes):
    logits, labels, keep = make_outputs(
        family, seed, num_examples=200, num_classes=num_classes
    )
    phi = phi_of(logits, labels).astype("f4")
    return {
        "logits": logits.astype("f4"),
        "phi": phi,
        "labels": labels.astype("i4"),
        "keep": keep,
    }


def doubts(arrays):
    """Signals, and what is said about them: warnings, checks that are not ok."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        signals = signals_from_arrays(arrays, "mine.npz")
    checks = model_checks.check_models(signals)
    flags = {check.name for check in checks if check.severity != "ok"}
    return signals, flags | {str(w.message) for w in caught}


FAMILIES = st.sampled_from([name for name in TRAINED if name != "imbalanced"])


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(
    family=st.sampled_from(TRAINED),
    seed=st.integers(0, 2**16),
    num_classes=st.sampled_from([2, 3, 10]),
    outputs=st.sampled_from(["phi", "logits"]),
    changes=st.dictionaries(
        st.sampled_from(["outputs", "labels", "keep"]),
        st.sampled_from(sorted(HARMLESS)),
    ),
)
def test_another_container_changes_nothing(family, seed, num_classes, outputs, changes):
    made = sound(family, seed, num_classes)
    arrays = {name: made[name] for name in (outputs, "labels", "keep")}
    before, flags = doubts(arrays)
    for which, change in changes.items():
        name = outputs if which == "outputs" else which
        arrays[name] = HARMLESS[change](arrays[name])
    after, flags_after = doubts(arrays)
    for was, now in zip(before, after, strict=True):
        np.testing.assert_array_equal(was, now)
        assert was.dtype == now.dtype
    assert flags == flags_after


@pytest.mark.parametrize("name", HARMFUL)
@hypothesis.settings(max_examples=8, deadline=None)
@hypothesis.given(
    family=FAMILIES, seed=st.integers(0, 2**16), num_classes=st.sampled_from([3, 10])
)
def test_other_content_is_refused_or_flagged(name, family, seed, num_classes):
    made = sound(family, seed, num_classes)
    changed = HARMFUL[name](made, np.random.default_rng(seed))
    outputs = "logits" if "logits" in changed else "phi"
    arrays = {name: made[name] for name in (outputs, "labels", "keep")}
    _, flags = doubts(arrays)
    try:
        _, flags_after = doubts(arrays | changed)
    except ArgumentError as error:
        assert "mine.npz" in str(error) and "\n" not in str(error)
        return
    assert flags_after - flags
