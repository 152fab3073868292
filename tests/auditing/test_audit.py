import csv
import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sam_jax
from sam_jax import models
from sam_jax.attacks import ATTACKS
from sam_jax.data import dataset_from_arrays
from sam_jax.data.label_noise import corrupt_labels
from sam_jax.data.result_files import plain
from sam_jax.metrics.estimate import mean_over_models
from sam_jax.reporting import audit_tables, tables
from sam_jax.signals import load_signals
from sam_jax.training.progress import ProgressBar

NUM_CLASSES = 4
MODEL = models.mlp(NUM_CLASSES, hidden=(32,))
CONFIG = sam_jax.TrainConfig(num_epochs=25, batch_size=8, models_per_chunk=2)
LEARNS, STAYS = optax.sgd(0.1, momentum=0.9), optax.sgd(0.0)


def make_arrays(seed=0):
    """Labels that nothing in the input tells: they can only be memorized."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(112, 24)).astype(np.float32)
    y = rng.integers(0, NUM_CLASSES, 112).astype(np.int32)
    return x[:80], y[:80], x[80:], y[80:]


def audit(optimizers, dataset=None, config=CONFIG, cache_dir=None, **options):
    return sam_jax.audit(
        MODEL,
        optimizers,
        dataset or make_arrays(),
        dataclasses.replace(config, progress=False),
        sam_jax.AttackConfig(**{"num_models": 6} | options),
        cache_dir=cache_dir,
    )


def pooled(result, optimizer, attack="lira_online"):
    return result[optimizer].attacks[attack].metrics.pooled


def difference(result, optimizer, attack="lira_online"):
    return result[optimizer].attacks[attack].difference.pooled


@pytest.fixture(scope="module")
def result():
    return audit({"stays": STAYS, "learns": LEARNS})


def test_memorizing_is_found_and_not_called_a_comparison_at_equal_fit(result):
    assert pooled(result, "learns", "lira_online")["auc"].low > 0.8
    auc = pooled(result, "stays", "lira_online")["auc"]
    assert auc.low < 0.5 < auc.high
    sentences = sam_jax.verdict(result).splitlines()
    assert sentences[0].startswith("Leak of stays not resolved: ")
    assert sentences[1].startswith("learns leaks: ")
    assert sentences[-1].startswith("learns leaks more than stays: ")
    assert "no comparison at equal fit" in sentences[-1]
    assert result["learns"].accuracy.train.value > 0.95
    assert result["learns"].accuracy.test.value < 0.5


def test_an_optimizer_does_not_differ_from_itself():
    twin = audit({"one": LEARNS, "two": LEARNS})
    for estimate in difference(twin, "two", "lira_online").values():
        assert np.isnan(estimate.value) or estimate.value == 0
    sentence = sam_jax.verdict(twin).splitlines()[-1]
    assert sentence.startswith("No difference resolved between two and one")
    assert "at training accuracies within 0.01 (" in sentence


def test_the_verdict_names_a_rate_that_contradicts_the_auc(result):
    at = "tpr_at_fpr_0.01"
    attack = result["learns"].attacks["lira_online"]
    rates = dict(attack.difference.pooled)
    lower = {"value": -0.2, "low": -0.22, "high": -0.18}
    rates[at] = rates[at]._replace(**lower, standard_error=0.01, degrees=30.0)
    changed = dataclasses.replace(
        attack, difference=dataclasses.replace(attack.difference, pooled=rates)
    )
    learns = dataclasses.replace(
        result["learns"], attacks=result["learns"].attacks | {"lira_online": changed}
    )
    contradicted = dataclasses.replace(
        result, optimizers=result.optimizers | {"learns": learns}
    )
    sentence = sam_jax.verdict(contradicted).splitlines()[-1]
    assert "while learns leaks less than stays: lira_online TPR at 1 % FPR" in sentence
    assert "while" not in sam_jax.verdict(result)


def test_models_are_paired_across_optimizers(result):
    """Before the first step all optimizers have the same weights and masks."""
    ours, theirs = (result[name].signals for name in ("learns", "stays"))
    np.testing.assert_array_equal(ours.keep, theirs.keep)
    first = [result[name].log.loss[:, 0] for name in ("learns", "stays")]
    assert np.abs(first[0] - first[1]).max() < 0.5


def test_test_examples_are_columns_that_no_model_kept(result):
    keep = np.asarray(result["learns"].signals.keep)
    np.testing.assert_array_equal(keep[:, :80].sum(axis=0), 3)
    assert not keep[:, 80:].any()
    assert keep.shape == (6, 112)
    counted = result["learns"].attacks["loss"].metrics
    assert counted.num_members + counted.num_non_members == 6 * 80


def test_an_interrupted_audit_goes_on_where_it_was(tmp_path, result):
    """A kill in the third chunk loses that chunk alone."""
    seen = []

    def interrupt(*_):
        seen.append(1)
        if len(seen) == 2 * CONFIG.num_epochs + 3:
            raise KeyboardInterrupt

    show = ProgressBar.show
    ProgressBar.show = interrupt
    try:
        with pytest.raises(KeyboardInterrupt):
            audit({"stays": STAYS, "learns": LEARNS}, cache_dir=tmp_path)
    finally:
        ProgressBar.show = show
    assert len(list(tmp_path.glob("*.npz"))) == 2
    epochs = []
    ProgressBar.show = lambda *_: epochs.append(1)
    try:
        resumed = audit({"stays": STAYS, "learns": LEARNS}, cache_dir=tmp_path)
    finally:
        ProgressBar.show = show
    assert len(epochs) == (1 + 3) * CONFIG.num_epochs
    for name, before in result.optimizers.items():
        again = resumed[name]
        np.testing.assert_allclose(
            again.signals.phi, before.signals.phi, rtol=1e-3, atol=1e-3
        )
        np.testing.assert_array_equal(again.log.loss.shape, (6, 25))


def test_a_cache_of_other_data_or_settings_is_refused(tmp_path):
    short = dataclasses.replace(CONFIG, num_epochs=1)
    audit({"sgd": STAYS}, cache_dir=tmp_path, config=short)
    with pytest.raises(ValueError, match="cache_dir must hold models of this audit"):
        audit({"sgd": STAYS}, cache_dir=tmp_path, config=short, seed=1)
    with pytest.raises(ValueError, match="cache_dir"):
        audit({"sgd": STAYS}, make_arrays(1), cache_dir=tmp_path, config=short)


def test_a_saved_audit_holds_its_numbers(tmp_path, result):
    about = {"commit": "abc", "settings": {"name": "x", "batch_size": 8}}
    result.save(tmp_path, about)
    page = (tmp_path / "report.html").read_text()
    auc = pooled(result, "learns", "lira_online")["auc"]
    assert f"{auc.value:.3f}" in page and sam_jax.verdict(result)[:30] in page
    assert not re.search(r"(src|href)=.?https?:", page)
    with open(tmp_path / "roc.csv") as file:
        rows = list(csv.DictReader(file))
    band = result["learns"].attacks["lira_online"].roc
    mine = [
        r for r in rows if (r["optimizer"], r["attack"]) == ("learns", "lira_online")
    ]
    np.testing.assert_allclose([float(r["tpr"]) for r in mine], band.tpr)
    with np.load(tmp_path / "signals.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(
            arrays["learns/phi"], result["learns"].signals.phi
        )
        np.testing.assert_array_equal(arrays["keep"], result["learns"].signals.keep)
    recipes = load_signals([tmp_path / "signals.npz"])
    assert recipes.settings == {name: {"batch_size": 8} for name in ("stays", "learns")}


def test_canaries_have_coins_bounds_and_no_part_in_the_metrics(tmp_path):
    short = dataclasses.replace(CONFIG, num_epochs=1)
    options = {"num_canaries": 30, "config": short}
    audited = audit({"sgd": LEARNS}, attacks={"loss": ATTACKS["loss"]}, **options)
    x, y, *_ = make_arrays()
    changed = np.flatnonzero(audited.dataset.train.y != y)
    np.testing.assert_array_equal(audited.canaries, changed)
    assert len(changed) == 30 and len(audited.columns) == 50
    keep = np.asarray(audited["sgd"].signals.keep)
    assert not (keep[:, changed].sum(axis=0) == 3).all()
    assert (keep[:, audited.columns].sum(axis=0) == 3).all()
    counted = audited["sgd"].attacks["loss"].metrics
    assert counted.num_members + counted.num_non_members == 6 * 50
    bounds = audited["sgd"].attacks["loss"].one_run_epsilon
    assert [bound.delta for bound in bounds] == [0.0, 1e-5]
    assert (bounds[0].num_canaries > 20).all()
    audited.save(tmp_path)
    assert "mislabelled canaries" in (tmp_path / "report.html").read_text()
    loaded = load_signals([tmp_path / "signals.npz"])
    np.testing.assert_array_equal(loaded.canaries, changed)
    with pytest.raises(ValueError, match="num_canaries must be a whole number"):
        audit({"sgd": LEARNS}, num_canaries=-1)


def test_a_result_shows_itself_and_gives_its_values_as_rows(result, tmp_path):
    written = repr(result)
    assert len(written.splitlines()) < 40 and max(map(len, written.splitlines()[:12]))
    assert sam_jax.verdict(result) in written
    assert "<table" in result._repr_html_() and "<svg" in result._repr_html_()
    rows = result.to_rows()
    (auc,) = (
        row
        for row in rows
        if (row["optimizer"], row["minus"], row["attack"], row["metric"])
        == ("learns", "stays", "loss", "auc")
    )
    estimate = difference(result, "learns", "loss")["auc"]
    assert (auc["value"], auc["low"], auc["high"]) == estimate[:3]
    assert {"train_accuracy", "test_accuracy"} <= {row["metric"] for row in rows}
    result.save(tmp_path, {"note": "a test"})
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.html",
        "metrics.json",
        "roc.csv",
        "roc.svg",
        "risk.csv",
        "results.csv",
        "signals.npz",
        "config.json",
    }
    again = sam_jax.load_audit(tmp_path)
    assert repr(again) == repr(result)
    assert plain(again.to_rows()) == plain(rows)  # NaN is equal to none, None is
    assert again.numbers() == result.numbers()
    for name, optimizer in result.optimizers.items():
        for saved, made in zip(again[name].risk, optimizer.risk, strict=True):
            np.testing.assert_array_equal(saved, made)
        np.testing.assert_array_equal(again[name].log.loss, optimizer.log.loss)
        roc, saved = optimizer.attacks["loss"].roc, again[name].attacks["loss"].roc
        np.testing.assert_array_equal(saved.low, roc.low)
        np.testing.assert_array_equal(again[name].signals.phi, optimizer.signals.phi)


def test_a_folder_without_an_audit_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match="folder must be that of a finished run: .* has no"
    ):
        sam_jax.load_audit(tmp_path)


def test_the_terminal_table_fits_and_pairs_each_metric_with_its_difference(result):
    table = audit_tables.terminal_table(result)
    assert max(map(len, table.splitlines())) <= 100
    gap = difference(result, "learns", "lira_online")["auc"]
    assert tables.format_estimate(gap)[:5] in table
    for words in ("test accuracy", "AUC", "TPR at 1 % FPR", "TPR at 0.1 % FPR"):
        assert words in table


def test_accuracy_intervals_are_students(result):
    values = np.array([0.9, 0.8, 0.7, 0.8])
    estimate = mean_over_models(values)
    assert estimate.value == pytest.approx(0.8)
    half = 3.182446 * np.std(values, ddof=1) / 2
    assert estimate.high - estimate.value == pytest.approx(half, rel=1e-5)


def test_corrupted_labels_are_wrong_exact_in_number_and_spread_over_classes():
    y = np.arange(1000, dtype=np.int32) % 5
    examples = sam_jax.Examples(np.zeros((1000, 1), np.float32), y)
    noisy = corrupt_labels(jax.random.key(0), examples, 5, 0.3).y
    changed = noisy != y
    assert changed.sum() == 300 and noisy.min() >= 0 and noisy.max() < 5
    shifts = np.bincount((noisy - y)[changed] % 5, minlength=5)[1:]
    assert shifts.min() > 75 - 4 * np.sqrt(75)
    untouched = corrupt_labels(jax.random.key(0), examples, 5, 0.0).y
    np.testing.assert_array_equal(untouched, y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_models": 5}, "num_models must be even, got 5"),
        ({"num_models": 2}, "num_models must be a whole number >= 4, got 2"),
        ({"optimizers": {}}, "optimizers must name at least one"),
        ({"baseline": "adam"}, "baseline must be one of sgd; got 'adam'"),
        ({"seed": -1}, "seed must be a whole number >= 0"),
        ({"seed": 2**70}, r"seed must be below 2\*\*63"),
        ({"config": sam_jax.TrainConfig(batch_size=41)}, "batch_size must be at most"),
        ({"num_queries": 2}, "num_queries must be 1 without augment"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_trained(change, message):
    optimizers = change.pop("optimizers", {"sgd": LEARNS})
    with pytest.raises(ValueError, match=message):
        audit(optimizers, **change)


@pytest.mark.parametrize(
    ("optimizers", "attacks", "message"),
    [
        ({"sgd": None}, {"a": len}, r"optimizers\['sgd'\] must be an optax"),
        ({"sgd": LEARNS}, {"mine": 3}, r"attacks\['mine'\] must be callable"),
        (
            {"sgd": LEARNS},
            {"mine": lambda s, t: s.phi[t]},
            r"attacks\['mine'\] must return one number for each example",
        ),
        (
            {"sgd": LEARNS},
            {"mine": lambda s, t: jax.lax.complex(s.phi[t, :, 0], s.phi[t, :, 0])},
            r"attacks\['mine'\] must return one number .* got complex64",
        ),
        (
            {"sgd": LEARNS},
            {"mine": lambda s, t: np.asarray(s.phi)[t, :5, 0]},
            r"attacks\['mine'\] must return one number .* got float32 of shape \(5,\)",
        ),
        ({"sgd": LEARNS}, {"mine": lambda s: 0}, r"attacks\['mine'\] must give scores"),
        ({"sgd": LEARNS}, {}, "attacks must name at least one"),
        ({3: LEARNS}, {"a": len}, "optimizers must be a name of 1 to 100 printable"),
        ({"sgd": LEARNS}, {"a\0b": len}, "attacks must be a name of 1 to 100"),
    ],
)
def test_what_is_no_optimizer_or_attack_is_named(optimizers, attacks, message):
    with pytest.raises(ValueError, match=message):
        sam_jax.check_audit(
            MODEL,
            optimizers,
            dataset_from_arrays("x", *make_arrays()),
            CONFIG,
            sam_jax.AttackConfig(attacks=attacks, num_models=4),
        )


def test_bad_data_is_named():
    x, y, x_test, y_test = make_arrays()
    x[3, 4] = np.nan
    with pytest.raises(ValueError, match="NaN|finite"):
        audit({"sgd": LEARNS}, (x, y, x_test, y_test))
    with pytest.raises(ValueError, match="label|y"):
        audit({"sgd": LEARNS}, (make_arrays()[0], y - 5, x_test, y_test))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y, *test: (x, 0 * y, *test), "dataset must have two classes"),
        (lambda x, y, *test: (np.ma.array(x, mask=x > 1), y, *test), "x must have no"),
        (lambda x, y, *test: (x, np.ma.array(y, mask=y > 1), *test), "y must have no"),
    ],
)
def test_data_that_no_audit_can_have_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        audit({"sgd": LEARNS}, change(*make_arrays()))


def test_a_model_with_too_few_outputs_is_refused_before_it_trains():
    small = models.mlp(3, hidden=(4,))
    pair = small.init, small.apply
    with pytest.raises(ValueError, match=r"logits \[B, C\] = \(2, 4\).*\(2, 3\)"):
        sam_jax.audit(pair, {"s": LEARNS}, make_arrays(), CONFIG)


@pytest.mark.parametrize("leaf", [jax.random.key(0), jnp.int32(3)])
def test_weights_without_a_gradient_are_named(leaf):
    model = models.mlp(4, hidden=(4,))

    def init(key, x):
        params, state = model.init(key, x)
        return {"mlp": params, "extra": leaf}, state

    pair = init, lambda params, *args: model.apply(params["mlp"], *args)
    with pytest.raises(ValueError, match=r"init must .*params\['extra'\] is "):
        sam_jax.audit(pair, {"s": LEARNS}, make_arrays(), CONFIG)


def test_more_models_than_the_memory_holds_signals_of_are_refused():
    with pytest.raises(ValueError, match="num_models must leave room for the signals"):
        sam_jax.audit(
            MODEL,
            {"s": LEARNS},
            make_arrays(),
            CONFIG,
            sam_jax.AttackConfig(num_models=10**9),
        )


def test_divergence_stops_the_audit_and_names_model_and_epoch():
    with pytest.raises(FloatingPointError, match="model 0 diverged.*epoch 1 of 25"):
        audit({"sgd": optax.sgd(1e30)})
