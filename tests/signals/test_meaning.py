"""Outputs that stand under the name of others: refused with the cause, or converted."""

import warnings

import numpy as np
import pytest

from sam_jax._checks import ArgumentError
from sam_jax.attacks import ATTACKS, score_targets
from sam_jax.metrics import model_checks
from sam_jax.signals import signals_from_arrays
from tests.signals.made_outputs import (
    TRAINED,
    UNTRAINED,
    balanced_keep,
    log_softmax,
    make_outputs,
    phi_of,
)

LOGITS, LABELS, KEEP = make_outputs("trained", 0)
PHI = phi_of(LOGITS, LABELS)
LOG_P = log_softmax(LOGITS)
LABEL_LOG_P = LOG_P[:, np.arange(len(LABELS)), LABELS]


def read(signals_are=None, labels=LABELS, keep=KEEP, **outputs):
    arrays = {"labels": labels, "keep": keep} | outputs
    return signals_from_arrays(arrays, "mine.npz", signals_are)


def softmax(logits):
    return np.exp(log_softmax(logits))


def permuted(labels):
    return np.random.default_rng(1).permutation(10)[labels]


MISNAMED = {
    "probabilities_as_logits": (
        dict(logits=softmax(LOGITS).astype("f4")),
        "logits must be .*each row sums to 1.*np.log.p.*signals_are='probabilities'",
    ),
    "percentages_as_logits": (
        dict(logits=100 * softmax(LOGITS)),
        "each row sums to 100.*percentages",
    ),
    "half_precision_probabilities": (
        dict(logits=softmax(LOGITS).astype("f2")),
        "each row sums to 1",
    ),
    "rounded_probabilities": (
        dict(logits=softmax(LOGITS).round(3)),
        "each row sums to 1",
    ),
    "bytes_of_probabilities": (
        dict(logits=np.round(255 * softmax(LOGITS)).astype("f4")),
        "each row sums to 255.*np.log.p/255",
    ),
    "probabilities_of_one_digit": (
        dict(logits=softmax(LOGITS).round(1)),
        r"all lie in \[0, 1\]",
    ),
    "sigmoid_of_each_class": (
        dict(logits=np.asfortranarray((1 / (1 + np.exp(-LOGITS))).astype("f2"))),
        "as a sigmoid of each class",
    ),
    "bits_as_logits": (dict(logits=LOG_P / np.log(2)), r"save np.log\(2\) \* logits"),
    "losses_in_decimal_digits_as_logits": (
        dict(logits=-LOG_P / np.log(10)),
        r"losses of each class do: save -np.log\(10\) \* logits",
    ),
    "percentages_as_phi": (
        dict(phi=100 * np.exp(LABEL_LOG_P)),
        "pile up at 100, as percentages",
    ),
    "losses_in_bits_as_phi": (
        dict(phi=-LABEL_LOG_P / np.log(2)),
        "smaller for members.*as losses do",
    ),
    "votes_as_logits": (
        dict(logits=np.maximum(LOGITS * 3, 0).round()),
        "whole numbers >= 0, as votes",
    ),
    "probabilities_of_one_model": (
        dict(logits=np.stack([softmax(LOGITS[0]), *LOGITS[1:]])),
        "each row of model 0 sums to 1",
    ),
    "margins_of_probabilities_as_phi": (
        dict(phi=2 * np.exp(LABEL_LOG_P) - 1),
        "pile up at 1, as the probability of the label minus another",
    ),
    "logits_as_phi": (
        dict(phi=LOGITS.astype("f4")),
        "largest along the last axis is at the label, as of logits",
    ),
    "losses_of_each_class_as_phi": (
        dict(phi=1 - LOG_P),
        "least along the last axis is at the label, as of losses",
    ),
    "probabilities_in_the_second_query": (
        dict(logits=np.stack([LOGITS, softmax(LOGITS)], axis=2)),
        "each row sums to 1.*query 1",
    ),
    "turned_signs_in_the_third_query": (
        dict(logits=np.stack([LOGITS, LOGITS, -LOGITS], axis=2)),
        "the signs are turned.*query 2",
    ),
    "losses_in_the_second_query_of_phi": (
        dict(phi=np.stack([PHI, -LABEL_LOG_P], axis=2)),
        "in query 1 members are less confident",
    ),
    "ragged_lists": (
        dict(logits=[row[: 5 + m].tolist() for m, row in enumerate(LOGITS)]),
        "logits must be an array, got list",
    ),
    "text_labels": (
        dict(logits=LOGITS, labels=LABELS.astype(str)),
        "labels must be integers, got <U21.*np.unique",
    ),
    "indices_as_mask": (
        dict(logits=LOGITS, keep=np.stack([np.flatnonzero(row) for row in KEEP])[:, :9])
        if len(set(KEEP.sum(axis=1))) == 1
        else dict(logits=LOGITS, keep=np.arange(8)[:, None]),
        "np.isin",
    ),
    "decisions_as_logits": (
        dict(logits=np.eye(10)[LOGITS.argmax(axis=-1)]),
        "one-hot, a decision without its confidence",
    ),
    "losses_as_logits": (dict(logits=-LOG_P), "losses of each class do"),
    "probabilities_as_phi": (
        dict(phi=np.exp(LABEL_LOG_P).astype("f4")),
        r"phi must be .*in \[.*, 1\], as probabilities of the label",
    ),
    "losses_as_phi": (
        dict(phi=-LABEL_LOG_P),
        "smaller for members.*as losses do.*-log.expm1.loss",
    ),
    "log_probabilities_as_phi": (
        dict(phi=LABEL_LOG_P),
        "pile up at 0, as log-probabilities of the label",
    ),
    "turned_phi": (dict(phi=-PHI), "the signs are turned .save -phi"),
    "phi_of_other_labels": (
        dict(phi=phi_of(LOGITS, (LABELS + 1) % 10)),
        "labels shifted by one",
    ),
    "phi_against_correct": (
        dict(phi=-PHI, correct=LOGITS.argmax(axis=-1) == LABELS),
        "positive values are those of wrong predictions",
    ),
    "losses_against_correct": (
        dict(phi=-LABEL_LOG_P + 0.7, correct=LOGITS.argmax(axis=-1) == LABELS),
        "as losses do",
    ),
    "turned_logits": (dict(logits=-LOGITS), "signs are turned .save -logits"),
    "shifted_labels": (
        dict(logits=LOGITS, labels=(LABELS + 1) % 10),
        r"labels must be .* of the label -1 .*labels = \(labels -1\) % 10",
    ),
    "reversed_columns": (
        dict(logits=LOGITS[..., ::-1]),
        r"columns are reversed \(save logits\[..., ::-1\]\)",
    ),
    "columns_in_another_order": (
        dict(logits=LOGITS, labels=permuted(LABELS)),
        "the columns are in another order",
    ),
    "one_hot_labels": (
        dict(logits=LOGITS, labels=np.eye(10, dtype=int)[LABELS]),
        "labels.argmax",
    ),
    "transposed_mask": (dict(phi=PHI, keep=KEEP.T), "looks transposed: save keep.T"),
}


@pytest.mark.parametrize("name", MISNAMED)
def test_misnamed_outputs_are_refused_with_the_cause(name):
    arrays, message = MISNAMED[name]
    with pytest.raises(ArgumentError, match=message) as caught:
        read(**arrays)
    assert "mine.npz" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("signals_are", "outputs"),
    [
        (None, dict(logits=LOG_P)),
        (None, dict(logits=LOGITS + 7)),
        (None, dict(probabilities=np.exp(LOG_P))),
        (None, dict(log_probabilities=LOG_P)),
        (None, dict(losses=-LABEL_LOG_P)),
        ("probabilities", dict(logits=np.exp(LOG_P))),
        ("probabilities", dict(phi=np.exp(LABEL_LOG_P))),
        ("probabilities", dict(phi=np.exp(LABEL_LOG_P)[..., None])),
        ("log_probabilities", dict(logits=LOG_P)),
        ("log_probabilities", dict(phi=LABEL_LOG_P)),
        ("losses", dict(phi=-LABEL_LOG_P)),
        ("logits", dict(phi=LOGITS)),
        ("phi", dict(losses=PHI)),
    ],
)
def test_outputs_called_what_they_are_give_the_phi_of_logits(signals_are, outputs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        signals = read(signals_are, **outputs)
    np.testing.assert_allclose(signals.phi[..., 0], PHI, rtol=1e-4, atol=1e-5)


def test_probabilities_in_float32_lose_no_more_than_their_rounding():
    """phi of log(p_y) against that of the sum of the others, where p_y rounds to 1."""
    logits, labels, keep = make_outputs("saturated", 0)
    p = softmax(logits).astype(np.float32)
    assert (p[:, np.arange(len(labels)), labels] == 1).mean() > 0.99
    signals = read(probabilities=p, labels=labels, keep=keep)
    np.testing.assert_allclose(
        signals.phi[..., 0], phi_of(logits, labels), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize(
    ("signals_are", "outputs", "message"),
    [
        ("probabilities", dict(phi=PHI), r"must be probabilities, in \[0, 1\], got"),
        ("losses", dict(phi=PHI), r"must be losses, in \[0, inf\], got -"),
        ("log_probabilities", dict(phi=PHI), "must be log_probabilities"),
        (
            "probabilities",
            dict(logits=np.exp(LOG_P) / 2),
            "which sum to 1 .*sum to 0.5",
        ),
        ("logits", dict(phi=PHI), "must have an axis of classes"),
        ("losses", dict(phi=np.exp(LABEL_LOG_P)), "members"),
    ],
)
def test_outputs_that_cannot_be_what_they_are_called_are_refused(
    signals_are, outputs, message
):
    with pytest.raises(ArgumentError, match=message):
        read(signals_are, **outputs)


def test_who_insists_on_phi_is_only_warned():
    with pytest.warns(UserWarning, match="as losses do"):
        signals = read("phi", phi=-LABEL_LOG_P)
    (check,) = [c for c in model_checks.check_models(signals) if c.name == "mask"]
    assert check.severity == "invalid" and "losses" in check.text


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_rounded_probabilities_are_read_with_labels_of_none(digits):
    rounded = softmax(LOGITS).round(digits)
    rounded[0, 0] = np.eye(10)[(LABELS[0] + 1) % 10]  # wrong without a doubt
    if digits == 1:  # rows are then far from 1
        rounded /= rounded.sum(axis=-1, keepdims=True)
    with pytest.warns(UserWarning, match="infinite values"):
        signals = read(probabilities=rounded)
    assert signals.phi[0, 0, 0] == -np.inf
    assert signals.modified_entropy[0, 0] == np.inf
    scores = score_targets(ATTACKS["modified_entropy"], signals)
    assert np.isfinite(scores).all() and scores[0, 0] == scores.min()


@pytest.mark.parametrize("skew", [None, 0, 1])
@pytest.mark.parametrize("ids", [(0, 1), (1, 2), (-1, 1)])
def test_a_single_logit_of_two_classes_is_recognised_by_its_members(skew, ids):
    logits, labels, keep = make_outputs("trained", 1, num_classes=2)
    if skew is not None:  # four of five examples are of one class
        chosen = (labels == skew) | (np.arange(len(labels)) % 4 == 0)
        logits, labels, keep = logits[:, chosen], labels[chosen], keep[:, chosen]
    labels = np.array(ids)[labels]
    single = logits[..., 1] - logits[..., 0]
    p = 1 / (1 + np.exp(-single))
    # An id below 0 is read as the number of its class.
    first, second = (0, 1) if ids[0] < 0 else ids
    for told, outputs, line in (
        (None, single, rf"phi = np.where\(labels == {second}, z, -z\)"),
        (None, -single, rf"phi = np.where\(labels == {first}, z, -z\)"),
        (None, p, rf"p = np.where\(labels == {second}, phi, 1 - phi\)"),
        (None, 1 - p, rf"p = np.where\(labels == {first}, phi, 1 - phi\)"),
        ("probabilities", p, rf"phi = np.where\(labels == {second}, z, -z\)"),
    ):
        with pytest.raises(ArgumentError, match=line):
            read(told, labels=labels, keep=keep, phi=outputs)


def test_a_single_logit_is_told_from_logits_by_its_shape_and_converted_right():
    logits, labels, keep = make_outputs("trained", 1, num_classes=2)
    single = logits[..., 1] - logits[..., 0]
    with pytest.raises(ArgumentError, match="single logit z of a binary classifier"):
        read(labels=labels, keep=keep, logits=single[..., None])
    right = read(labels=labels, keep=keep, phi=np.where(labels == 1, single, -single))
    np.testing.assert_allclose(right.phi[..., 0], phi_of(logits, labels), rtol=1e-5)


@pytest.mark.parametrize(
    ("group", "models", "columns"),
    [
        ("the examples that no model trained on", slice(None), slice(240, 280)),
        ("columns 0 to 34", slice(None), slice(0, 140)),
        ("model 3", slice(3, 4), slice(None)),
        ("model 4", slice(4, 8), slice(None)),
    ],
)
def test_another_order_of_classes_in_one_model_or_split_is_named(
    group, models, columns
):
    logits = LOGITS.copy()
    logits[models, columns] = logits[models, columns][..., permuted(np.arange(10))]
    with pytest.raises(ArgumentError, match=f"labels must be .* for {group} the larg"):
        read(logits=logits)


def test_sorted_columns_and_a_class_that_is_always_wrong_are_no_other_order():
    logits, labels, keep = make_outputs("trained", 5, num_classes=3)
    logits[:, labels == 1, 2] += 12
    order = np.argsort(labels)
    read(logits=logits[:, order], labels=labels[order], keep=keep[:, order])


def test_logits_of_saturated_and_smoothed_models_and_at_a_temperature_pass():
    logits, labels, keep = make_outputs("saturated", 2)
    for outputs in (
        log_softmax(logits),  # to base 2, these sum to 1 as well
        np.maximum(logits, 0),
        6 * np.tanh(logits / 20),
        logits / 1000,
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read(logits=outputs, labels=labels, keep=keep)


def test_two_swapped_classes_are_called_swapped_or_turned():
    logits, labels, keep = make_outputs("trained", 1, num_classes=2)
    with pytest.raises(ArgumentError, match="labels = 1 - labels"):
        read(logits=logits, labels=1 - labels, keep=keep)


def test_labels_counted_from_one_are_read_as_the_columns():
    signals = read(logits=LOGITS, labels=LABELS + 1)
    np.testing.assert_array_equal(signals.labels, LABELS)
    np.testing.assert_allclose(signals.phi[..., 0], PHI, rtol=1e-4, atol=1e-5)


def test_a_square_mask_is_told_from_its_transpose_by_content():
    rng = np.random.default_rng(2)
    keep = balanced_keep(rng, 48, 48)
    phi = rng.normal(1, 1, 48) + 2 * keep + rng.normal(size=(48, 48))
    read(phi=phi, keep=keep, labels=np.zeros(48, int))
    with pytest.raises(ArgumentError, match="keep must be .*transposed mask.*keep.T"):
        read(phi=phi, keep=keep.T, labels=np.zeros(48, int))


@pytest.mark.parametrize("family", [*TRAINED, *UNTRAINED])
@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_sound_outputs_of_any_models_pass(family, num_classes):
    for seed in range(3):
        logits, labels, keep = make_outputs(
            family, seed, num_models=8, num_examples=100, num_classes=num_classes
        )
        phi = phi_of(logits, labels)
        correct = logits.argmax(axis=-1) == labels
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # doubts about untrained models
            read(logits=logits, labels=labels, keep=keep)
            read(phi=phi, labels=labels, keep=keep)
            read(phi=phi, labels=labels, keep=keep, correct=correct)


@pytest.mark.slow
def test_sound_outputs_of_any_size_are_refused_less_than_once_in_a_thousand():
    """2,000 sets of outputs, each read as logits and as phi; chance may refuse two."""
    rng = np.random.default_rng(0)
    refused = []
    for seed in range(2000):
        made = dict(
            family=str(rng.choice([*TRAINED, *UNTRAINED])),
            num_models=int(rng.choice([4, 8, 16])),
            num_examples=int(rng.choice([16, 40, 100, 400])),
            num_classes=int(rng.choice([2, 2, 3, 10, 50])),
            num_population=int(rng.choice([0, 20])),
        )
        logits, labels, keep = make_outputs(seed=seed, **made)
        correct = logits.argmax(axis=-1) == labels
        for outputs in (
            dict(logits=logits),
            dict(phi=phi_of(logits, labels)),
            dict(phi=phi_of(logits, labels), correct=correct),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    read(labels=labels, keep=keep, **outputs)
                except ArgumentError as error:
                    refused.append((made, seed, list(outputs), str(error)))
    assert len(refused) <= 2, refused
