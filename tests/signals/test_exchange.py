"""Folders of other tools; their arithmetic written once more, from their sources."""

import json
import re

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from sam_jax.attacks import ATTACKS, score_targets
from sam_jax.attacks.rmia import rmia_offline
from sam_jax.cli import attack as command
from sam_jax.signals import files
from sam_jax.signals.exchange import export_signals
from tests.attacks.examples import make_signals, random_signals

SIGNALS = random_signals(num_models=12, num_examples=40, num_queries=2)
ONE_QUERY = make_signals(SIGNALS.phi[..., :1], SIGNALS.keep, SIGNALS.labels)
POOL = SIGNALS.keep.any(axis=0)


def load(folder, **options):
    ((name, signals),) = files.load_signals([folder], **options).signals.items()
    assert name == folder.name
    return signals


def scores_and_masks_as_plot_py_loads_them(folder):
    scores, keep = [], []
    for path in folder.iterdir():
        if path.name.startswith("experiment") and (path / "scores").exists():
            last = sorted((path / "scores").iterdir())[-1]
            scores.append(np.load(last))
            keep.append(np.load(path / "keep.npy"))
    scores = np.array(scores)
    return scores, np.array(keep)[:, : scores.shape[1]]


def scores_as_score_py_computes_them(logits, labels):
    """log p_y - log of the rest, of softmax in float64; logits [N, 1, queries, C]."""
    shifted = logits - logits.max(axis=3, keepdims=True)
    p = np.exp(shifted).astype(np.float64)
    p = p / p.sum(axis=3, keepdims=True)
    row = np.arange(len(labels))
    right = p[row, :, :, labels]
    p[row, :, :, labels] = 0
    return np.log(right.mean(1) + 1e-45) - np.log(p.sum(axis=3).mean(1) + 1e-45)


def write_lira(folder, num_models=11, num_examples=30, num_classes=4, extra=0, seed=0):
    rng = np.random.default_rng(seed)
    keep = rng.random((num_models, num_examples + extra)).argsort(0) < num_models // 2
    labels = rng.integers(0, num_classes, num_examples + extra)
    logits = rng.normal(size=(num_models, num_examples, 1, 2, num_classes))
    for model in range(num_models):
        path = folder / f"experiment-{model}_{num_models}"
        (path / "logits").mkdir(parents=True)
        (path / "hparams.json").write_text(json.dumps({"arch": "cnn"}))
        np.save(path / "keep.npy", keep[model])
        np.save(path / "logits" / "0000000090.npy", logits[model] * 0)
        logits[model, np.arange(num_examples), :, :, labels[:num_examples]] += 3
        np.save(path / "logits" / "0000000100.npy", logits[model])
    np.save(folder / "y_train.npy", labels)
    return logits, labels[:num_examples], keep[:, :num_examples]


def test_a_lira_folder_is_read_in_the_order_of_experiments_at_its_last_epoch(tmp_path):
    logits, labels, keep = write_lira(tmp_path / "cifar10", extra=5)
    signals = load(tmp_path / "cifar10")
    np.testing.assert_array_equal(signals.keep, keep)
    np.testing.assert_array_equal(signals.labels, labels)
    for model, of_model in enumerate(logits):
        expected = scores_as_score_py_computes_them(of_model, labels)
        np.testing.assert_allclose(signals.phi[model], expected, rtol=1e-5, atol=1e-5)
    right = logits[:, :, 0, 0].argmax(axis=-1) == labels
    np.testing.assert_array_equal(signals.correct, right)


def test_scores_alone_are_read_as_phi(tmp_path):
    folder = tmp_path / "lira"
    logits, labels, keep = write_lira(folder)
    for path in folder.glob("experiment*"):
        model = int(path.name.split("-")[1].split("_")[0])
        (path / "scores").mkdir()
        phi = scores_as_score_py_computes_them(logits[model], labels)
        np.save(path / "scores" / "0000000100.npy", phi)
    from_logits = load(folder)
    for file in folder.glob("experiment*/logits/*"):
        file.unlink()
    for path in folder.glob("experiment*/logits"):
        path.rmdir()
    np.testing.assert_allclose(load(folder).phi, from_logits.phi, rtol=1e-5, atol=1e-5)


def test_what_is_written_for_lira_is_what_plot_py_reads(tmp_path):
    export_signals(SIGNALS, tmp_path / "out", "lira", "sgd")
    scores, keep = scores_and_masks_as_plot_py_loads_them(tmp_path / "out")
    order = np.lexsort(keep.T)
    expected = np.lexsort(SIGNALS.keep[:, POOL].T)
    np.testing.assert_array_equal(scores[order], SIGNALS.phi[expected][:, POOL])
    # Its global threshold on one model: minus the mean score, swept with turned signs.
    predictions = -scores[order][0].mean(axis=1)
    fpr, tpr, _ = sklearn_metrics.roc_curve(keep[order][0], -predictions)
    scored = score_targets(ATTACKS["attack_p"], SIGNALS, np.array([expected[0]]))
    ours = sklearn_metrics.roc_auc_score(keep[order][0], scored[0, POOL])
    assert sklearn_metrics.auc(fpr, tpr) == pytest.approx(ours)


def rmia_as_attacks_py_computes_it(target, p, aside, keep, num_reference, a):
    """Privacy Meter's run_rmia on signals [N, M] and memberships [N, M]."""

    def ratio(signals, members):
        pair = target + 1 if target % 2 == 0 else target - 1
        others = [m for m in range(p.shape[1]) if m not in (target, pair)]
        others = others[: 2 * num_reference]
        out = -np.sort(-(signals * ~members)[:, others], axis=1)[:, :num_reference]
        return signals[:, target] / ((1 + a) / 2 * out.mean(axis=1) + (1 - a) / 2)

    of_x, of_z = ratio(p, keep), ratio(aside, np.zeros(aside.shape, bool))
    return np.mean(of_x[:, None] / of_z > 1, axis=1)


def paired_signals():
    """Each model beside one with the complement of its members."""
    rng = np.random.default_rng(5)
    keep = rng.random((6, 400)) < 0.5
    keep = np.stack([keep, ~keep], axis=1).reshape(12, 400)
    keep = np.pad(keep, ((0, 0), (0, 200)))
    level = rng.normal(0, 1.5, 600)
    return make_signals((level + rng.normal(size=keep.shape) + keep)[..., None], keep)


def test_what_is_written_for_privacy_meter_is_what_it_reads(tmp_path):
    signals = paired_signals()
    export_signals(signals, tmp_path / "out", "privacy_meter")
    p = np.load(tmp_path / "out" / "signals" / "rmia_signals.npy")
    aside = np.load(tmp_path / "out" / "signals" / "rmia_signals_pop.npy")
    keep = np.load(tmp_path / "out" / "models" / "memberships.npy")
    assert p.shape == (400, 12) and aside.shape == (200, 12)
    expected = 1 / (1 + np.exp(-signals.phi[:, :400, 0].astype(np.float64)))
    np.testing.assert_allclose(p.T, expected, rtol=1e-12)
    ours = score_targets(rmia_offline(a=0.5, tie_break=False), signals)[:, :400]
    for target in range(12):
        theirs = rmia_as_attacks_py_computes_it(target, p, aside, keep.T, 5, 0.5)
        aucs = [
            sklearn_metrics.roc_auc_score(keep[target], scores)
            for scores in (theirs, ours[target])
        ]
        assert aucs[0] == pytest.approx(aucs[1], abs=0.03) and aucs[0] > 0.6
        assert np.corrcoef(theirs, ours[target])[0, 1] > 0.95


@pytest.mark.parametrize("tool", ["lira", "privacy_meter", "npy"])
def test_signals_come_back_from_each_format(tool, tmp_path):
    signals = ONE_QUERY if tool == "privacy_meter" else SIGNALS
    if tool == "npy":
        signals = signals._replace(modified_entropy=np.abs(signals.modified_entropy))
    export_signals(signals, tmp_path / "out", tool)
    again = load(tmp_path / "out")
    if tool == "lira":
        signals = signals.select(examples=POOL)
    np.testing.assert_array_equal(again.keep, signals.keep)
    np.testing.assert_allclose(again.phi, signals.phi, rtol=2e-5, atol=1e-6)
    if tool != "privacy_meter":
        np.testing.assert_array_equal(again.labels, signals.labels)
    if tool == "npy":
        np.testing.assert_array_equal(again.entropy, signals.entropy)


def test_the_command_exports_and_attacks_what_it_exported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", phi=SIGNALS.phi, keep=SIGNALS.keep, labels=SIGNALS.labels)
    assert command.command(["--signals", "a.npz", "--export", "lira", "out"]) == 0
    assert command.command(["--signals", "out", "--attacks", "loss"]) == 0
    found = json.loads((tmp_path / "runs/attack/default/metrics.json").read_text())
    assert list(found["metrics"]) == ["out"]
    for tool_and_folder in (["numpy", "again"], ["lira"]):
        with pytest.raises(ValueError, match="export must be one of lira, .* folder"):
            command.command(["--signals", "a.npz", "--export", *tool_and_folder])


def test_a_folder_of_several_algorithms_is_refused_with_their_names(tmp_path):
    for name in ("sgd", "sam"):
        export_signals(SIGNALS, tmp_path / "out" / name, "lira")
    with pytest.raises(ValueError, match="holds the folders sam, sgd: name each"):
        files.load_signals([tmp_path / "out"])
    both = [tmp_path / "out" / name for name in ("sgd", "sam")]
    assert list(files.load_signals(both).signals) == ["sgd", "sam"]


def test_logits_go_to_lira_where_the_file_has_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    logits, labels, keep = write_lira(tmp_path / "lira")
    export = ["--export", "lira"]
    assert command.command(["--signals", "lira", *export, "again"]) == 0
    assert "logits" not in capsys.readouterr().out
    for model in range(len(logits)):
        path = tmp_path / "again" / f"experiment-{model}_{len(logits)}"
        written = np.load(path / "logits" / "0000000001.npy")
        np.testing.assert_array_equal(written, logits[model])
        scores = scores_as_score_py_computes_them(written, labels)
        phi = np.load(path / "scores" / "0000000001.npy")
        np.testing.assert_allclose(phi, scores, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(np.load(path / "keep.npy"), keep[model])
    np.savez("a.npz", phi=SIGNALS.phi, keep=SIGNALS.keep)
    assert command.command(["--signals", "a.npz", *export, "b"]) == 0
    assert "Without logits/" in capsys.readouterr().out


def damage(folder, what):
    experiment = folder / "lira" / "experiment-3_11"
    if what == "no mask":
        (experiment / "keep.npy").unlink()
    elif what == "short mask":
        np.save(experiment / "keep.npy", np.ones(4, bool))
    elif what == "no logits":
        for file in (experiment / "logits").iterdir():
            file.unlink()
    elif what == "other shape":
        np.save(experiment / "logits" / "0000000200.npy", np.zeros((7, 1, 2, 4)))
    elif what == "flat":
        np.save(experiment / "logits" / "0000000200.npy", np.zeros(7))
    elif what == "no labels":
        (folder / "lira" / "y_train.npy").unlink()
    elif what == "garbage":
        (experiment / "logits" / "0000000200.npy").write_bytes(b"\x93NUMPY garbage")
    elif what == "labels":
        np.save(folder / "lira" / "y_train.npy", np.zeros((30, 4)))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no mask", "experiment-3_11/keep.npy"),
        (
            "short mask",
            r"experiment-3_11/keep.npy has the shape \(4,\) for 30 examples",
        ),
        ("no logits", "experiment-3_11/logits holds no .npy file"),
        (
            "other shape",
            r"0000000200.npy has the shape \(7, 2, 4\), and .*10/|0_11/logits",
        ),
        ("flat", r"experiment-3_11/logits/0000000200.npy has the shape \(7,\)"),
        ("no labels", "y_train.npy"),
        ("garbage", "experiment-3_11/logits/0000000200.npy"),
        ("labels", r"y_train.npy has the shape \(30, 4\)"),
    ],
)
def test_a_malformed_lira_folder_is_refused_in_a_line_that_names_the_file(
    what, message, tmp_path
):
    write_lira(tmp_path / "lira")
    damage(tmp_path, what)
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path / "lira")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        ("models/memberships.npy", np.zeros((12, 9), bool), "audit.data_size"),
        ("models/memberships.npy", None, "memberships.npy"),
        ("signals/rmia_signals.npy", np.zeros(3), r"has the shape \(3,\)"),
        ("signals/rmia_signals.npy", np.full((40, 12), 1.5), "probabilities, in .0, 1"),
        ("signals/rmia_signals_pop.npy", np.zeros((5, 3)), r"\(5, 3\) for 12 models"),
        ("signals/loss_signals.npy", np.zeros((40, 12)), "must hold one ._signals.npy"),
    ],
)
def test_a_malformed_folder_of_privacy_meter_is_refused(file, array, message, tmp_path):
    export_signals(ONE_QUERY, tmp_path / "out", "privacy_meter")
    (tmp_path / "out" / file).unlink(missing_ok=True)
    if array is not None:
        np.save(tmp_path / "out" / file, array)
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path / "out")
    assert "\n" not in str(error.value) and re.search("out", str(error.value))


@pytest.mark.parametrize(
    ("signals", "tool", "message"),
    [
        (SIGNALS, "privacy_meter", "must be of one query for Privacy Meter, got 2"),
        (ONE_QUERY.select(examples=POOL), "privacy_meter", "examples that no model"),
    ],
)
def test_what_a_tool_cannot_hold_is_not_written(signals, tool, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_signals(signals, tmp_path / "out", tool)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep me")
    with pytest.raises(ValueError, match="must go to a new folder"):
        export_signals(SIGNALS, tmp_path / "out", "lira")
