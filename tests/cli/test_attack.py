import csv
import json
import pathlib
import re
import time
import zipfile

import numpy as np
import pytest
import tyro

import sam_jax
from sam_jax import metrics
from sam_jax.attacks import ATTACKS
from sam_jax.cli import attack as experiment
from sam_jax.cli import named_code
from sam_jax.cli.errors import usage_errors
from sam_jax.cli.run_lock import locked_run
from sam_jax.reporting.risk_sections import NUM_SHOWN
from tests.attacks.examples import planted_signals
from tests.auditing.given import make_given

SIGNALS = planted_signals(2.0, 1.0, num_models=8, num_examples=60, num_population=20)
CHEAP = ("--attacks", "calibrated_loss", "confidence")


def run(*arguments):
    with usage_errors(experiment.Config):
        return experiment.main(tyro.cli(experiment.Config, args=list(arguments)))


def save(path, **changes):
    arrays = {"phi": SIGNALS.phi[..., 0], "keep": SIGNALS.keep} | changes
    np.savez(path, **arrays)


def write_broken_files():
    """Files in the working folder that no run may take."""
    save("one.npz")
    pathlib.Path("one.npz").rename("one.npy")
    np.save("array.npy", np.zeros((4, 6)))
    header = np.lib.format.header_data_from_array_1_0(np.zeros(0, np.float32))
    with zipfile.ZipFile("claim.npz", "w") as archive:
        with archive.open("phi.npy", "w") as member:
            shape = {"shape": (2_000_000, 4_000_000)}
            np.lib.format.write_array_header_1_0(member, header | shape)
        with archive.open("keep.npy", "w") as member:
            np.lib.format.write_array(member, SIGNALS.keep)
    pathlib.Path("array.npy").rename("array.npz")
    np.save("text.npy", np.array([["a"]]))
    np.save("scalar.npy", np.float32(1))
    save("pickle.npz", phi=np.array([{}], dtype=object))
    save("$x$.npz")
    save(f"{'x' * 200}.npz")
    save("p.npz", phi=1 / (1 + np.exp(-SIGNALS.phi[..., 0])))
    save("canaries.npz", canaries=np.array([-1]))
    save("text.npz", metadata=np.array("[" * 10_000))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save("mine.npz")
    return tmp_path


def test_a_foreign_file_gives_a_run_with_report_numbers_and_curves(here, capsys):
    images = np.random.default_rng(0).random((60, 8, 8, 1))
    save("other.npz", phi=SIGNALS.phi[..., 0] * 0.5)
    np.save("x.npy", images)
    result = run("--signals", "mine.npz", "other.npz", "--images", "x.npy", *CHEAP)
    loaded = sam_jax.load_audit("runs/attack/default")
    assert str(loaded.to_rows()) == str(result.to_rows())
    assert repr(loaded) == repr(result)
    folder = here / "runs" / "attack" / "default"
    assert {path.name for path in folder.iterdir()} == {
        "report.html",
        "metrics.json",
        "results.csv",
        "roc.csv",
        "roc.svg",
        "risk.csv",
        "config.json",
        "signals.npz",
    }
    found = json.loads((folder / "metrics.json").read_text())
    phi, pool = SIGNALS.phi[:, :60, 0], SIGNALS.keep[:, :60]
    expected = metrics.auc(metrics.roc_curve(phi.ravel(), pool.ravel()))
    auc = found["metrics"]["mine"]["confidence"]["pooled"]["auc"]["value"]
    assert auc == pytest.approx(expected)
    assessment = found["assessment"]
    assert assessment["number_of_models"]["mine"]["num_models"] == [4, 8]
    decisions = assessment["shadow_model_thresholds"]["mine"]["confidence"][0]
    assert set(decisions["precision"]) == {"0.01", "0.1", "0.5"}
    assert len(assessment["risk"]["mine"]) == 20
    bounds = [bound[0] for bound in assessment["epsilon"]["mine"].values()]
    assert max(bound["epsilon_independent"] for bound in bounds) > 0
    assert all(0 <= b["epsilon"] <= b["epsilon_independent"] for b in bounds)
    page = (folder / "report.html").read_text()
    for words in ("Exposed examples", "Number of models", "precision at 1 %"):
        assert words in page
    assert page.count("data:image/png") == NUM_SHOWN  # a picture of each record shown
    with open(folder / "risk.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 60 and {row["optimizer"] for row in rows} == {
        "mine",
        "other",
    }
    table = capsys.readouterr().out
    assert f"{expected:.3f}" in table and found["verdict"] in table


def test_a_run_that_another_process_is_making_is_not_begun(here, capsys):
    save("signals.npz")
    with locked_run("attack", "default"), pytest.raises(SystemExit, match="2"):
        run("--signals", "signals.npz")
    assert "at work" in capsys.readouterr().err
    assert not pathlib.Path("runs/attack/default").exists()


def test_all_are_those_that_the_file_has_the_means_for():
    chosen, skipped = named_code.choose_attacks(("all",), SIGNALS)
    assert next(iter(chosen)) == "lira_online"
    first, _ = named_code.choose_attacks(("loss", "all"), SIGNALS)
    assert next(iter(first)) == "loss" and set(first) == set(chosen)
    assert set(chosen) | set(skipped) == set(ATTACKS)
    assert set(skipped) == {
        name for name, attack in ATTACKS.items() if "queries" in attack.needs
    }
    unknown = np.full_like(SIGNALS.entropy, np.nan)
    foreign = SIGNALS._replace(entropy=unknown, keep=SIGNALS.keep | (np.arange(80) < 1))
    _, skipped = named_code.choose_attacks(("all",), foreign)
    assert "probabilities" in skipped["entropy"] and "rmia_online" not in skipped
    pool = SIGNALS._replace(keep=SIGNALS.keep[:, :60], phi=SIGNALS.phi[:, :60])
    _, skipped = named_code.choose_attacks(("all",), pool)
    assert "no model trained on" in skipped["rmia_online"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--signals", "none.npz"), "there is no 'none.npz'"),
        (("--signals", "mine.npz", "--attacks", "entropy"), "needs all of the target"),
        (("--signals", "mine.npz", "--attacks", "guess"), "--attacks must be one of"),
        (
            ("--signals", "mine.npz", "--baseline", "sgd"),
            "--baseline must be one of mine",
        ),
        (("--signals", "copies.npz"), "models 0 and 1 have identical outputs"),
        (("--signals", "mine.npz", "mask.npz", *CHEAP), "different keep masks"),
        (("--signals", "mine.npz", "--images", "few.npy"), "--images must hold one x"),
        (("--signals", "mine.npz", "--images", "no.npy"), "--images must name a file"),
        (("--signals", "mine.npz", "--name", "a\x00b"), "--name must be that of one"),
        (("--signals", f"{'x' * 5000}.npz"), "--signals must name a file that exists"),
        (("--signals", "mine.npz", "--images", "text.npy"), "images must be numbers"),
        (("--signals", "mine.npz", "--images", "scalar.npy"), "images must be numbers"),
        (("--signals", "one.npy", "--keep", "mine.npz"), "an .npz archive"),
        (("--signals", "array.npz"), "is an .npy file of one array"),
        (("--signals", "claim.npz"), "claims 8,000,000,000,000 entries"),
        (("--signals", "pickle.npz"), "Python objects (a pickle)"),
        (("--signals", "$x$.npz"), "printable characters without '$', got '$x$'"),
        (("--signals", f"{'x' * 200}.npz"), "a name of 1 to 100 printable characters"),
        (("--signals", "p.npz"), "or --signals-are probabilities"),
        (("--signals", "mine.npz", "--signals-are", "losses"), "must be losses"),
        (("--signals", "canaries.npz"), "canaries must be different columns"),
        (("--signals", "text.npz"), "metadata must be the text of a JSON object"),
        (("--signals", "mine.npz", "--fprs", "2", *CHEAP), "--fprs must lie in"),
    ],
)
def test_bad_input_is_a_usage_error_that_says_what_to_fix(
    arguments, message, here, capsys
):
    phi = SIGNALS.phi[..., 0].copy()
    phi[1] = phi[0]
    save("copies.npz", phi=phi)
    save("mask.npz", keep=SIGNALS.keep[::-1])
    np.save("few.npy", np.zeros((5, 2)))
    write_broken_files()
    start = time.perf_counter()
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2 and time.perf_counter() - start < 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (here / "runs").exists()


def test_invalid_models_are_attacked_on_demand_and_the_report_says_so(here):
    phi = SIGNALS.phi[..., 0].copy()
    phi[1] = phi[0]
    save("copies.npz", phi=phi)
    with pytest.warns(
        UserWarning, match="copies are not valid: models 0 and 1 have identical outputs"
    ):
        run("--signals", "copies.npz", "--allow-invalid", "--attacks", "confidence")
    folder = here / "runs" / "attack" / "default"
    assert "These figures are not valid." in (folder / "report.html").read_text()
    checks = json.loads((folder / "metrics.json").read_text())["assessment"]["validity"]
    assert checks["copies"][0]["severity"] == "invalid"


GIVEN, SHADOWS = make_given()


def save_target(path, target=GIVEN, **changes):
    arrays = {
        "phi": target.phi[0, :, 0],
        "members": target.keep[0],
        "labels": target.labels,
    }
    np.savez(path, **{k: v for k, v in (arrays | changes).items() if v is not None})


def save_shadows(path, **changes):
    arrays = {"phi": SHADOWS.phi[..., 0], "keep": SHADOWS.keep}
    np.savez(path, **(arrays | {"labels": SHADOWS.labels} | changes))


def test_a_given_model_is_attacked_with_shadow_models_from_elsewhere(here, capsys):
    save_target("model.npz")
    save_shadows("shadows.npz")
    result = run("--target", "model.npz", "--signals", "shadows.npz")
    assert result.given.mode == "in and out"
    assert repr(sam_jax.load_audit("runs/attack/default")) == repr(result)
    printed = capsys.readouterr().out
    assert "model: given, 16 shadow models trained with and without" in printed
    assert "300 examples, 100 more as a population" in printed
    assert "Intervals are over examples alone" in printed
    numbers = json.loads(pathlib.Path("runs/attack/default/metrics.json").read_text())
    assert numbers["given"]["shadows_of"] == {"model": "shadows"}
    report = pathlib.Path("runs/attack/default/report.html").read_text()
    assert "16 shadow models trained with and without the examples" in report


def test_a_given_model_is_attacked_without_shadow_models(here, capsys):
    aside = np.arange(400) >= 300
    save_target("model.npz", population=aside)
    result = run("--target", "model.npz", "--attacks", "all")
    assert result.given.mode == "none" and "attack_p" in result.attack_names
    assert "lira_online is left out: it needs shadow models" in capsys.readouterr().out
    phi = GIVEN.phi[0, :300, 0]
    expected = metrics.auc(metrics.roc_curve(phi, GIVEN.keep[0, :300]))
    auc = result["model"].attacks["attack_p"].metrics.pooled["auc"].value
    assert auc == pytest.approx(expected)
    # Without a population some would be the confidence under another name.
    save_target("model.npz")
    result = run("--target", "model.npz", "--overwrite")
    assert result.attack_names == ["loss"]
    rows = np.arange(400)
    logits = np.stack([GIVEN.phi[0, :, 0], *np.zeros((3, 400))], 1)
    order = (np.arange(4) - GIVEN.labels[:, None]) % 4
    save_target("model.npz", phi=None, logits=logits[rows[:, None], order])
    result = run("--target", "model.npz", "--overwrite")
    assert result.attack_names == ["loss", "modified_entropy", "entropy"]


def test_class_ids_of_a_target_are_encoded_and_kept(here):
    ids = np.array([7, -3, 900_000_007])
    shown = np.sort(ids)
    save_target("model.npz", labels=ids[GIVEN.labels])
    save_shadows("shadows.npz", labels=ids[SHADOWS.labels])
    for signals in ((), ("--signals", "shadows.npz")):
        result = run(
            "--target", "model.npz", *signals, "--attacks", "loss", "--overwrite"
        )
        assert result.dataset.class_names == tuple(map(str, shown))
        labels = np.asarray(result["model"].signals.labels)
        np.testing.assert_array_equal(shown[labels], ids[GIVEN.labels])


def test_several_targets_in_one_file_are_compared(here):
    phi = GIVEN.phi[0, :, 0]
    arrays = {"members": GIVEN.keep[0], "labels": GIVEN.labels}
    np.savez("two.npz", **arrays, **{"a/phi": phi, "b/phi": phi + 2 * GIVEN.keep[0]})
    result = run("--target", "two.npz", "--attacks", "loss", "--baseline", "b")
    assert list(result.optimizers) == ["b", "a"]
    assert "a leaks less than b" in sam_jax.verdict(result)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(members=None), "--target must say what the model trained on, members"),
        (dict(members=None, keep=SHADOWS.keep), "A keep mask .* goes to --signals"),
        (dict(members=np.ones(400, bool)), "members must be .* with 400 members"),
        (dict(members=GIVEN.keep[0, :50]), "phi must be .* with the 50 examples of"),
        (dict(members=GIVEN.keep[0] * 3), "members must be a mask"),
        (dict(phi=np.full(400, np.nan)), "phi must not hold NaN: 400 values do"),
        (dict(phi=None), "must hold keep .* and phi or logits"),
        (dict(population=GIVEN.keep[0]), "population must be examples that no model"),
        (dict(population=np.zeros(3, bool)), r"population must be \[400\]"),
        (dict(labels=1 - (GIVEN.labels > 0)), "--labels must be those of the shadow"),
        (dict(labels=GIVEN.labels[:9]), "--labels must be .400."),
    ],
)
def test_a_malformed_target_ends_in_one_line_that_says_why(
    here, capsys, changes, message
):
    save_target("model.npz", **changes)
    save_shadows("shadows.npz")
    with pytest.raises(SystemExit, match="2"):
        run("--target", "model.npz", "--signals", "shadows.npz")
    printed = capsys.readouterr().err.strip()
    assert "\n" not in printed and re.search(message, printed), printed
    assert not (here / "runs").exists()


def test_a_target_of_other_examples_or_unlike_its_shadow_models_is_refused(
    here, capsys
):
    save_target("short.npz", GIVEN.select(examples=slice(390)))
    save_target("copy.npz", SHADOWS.select(models=[2]))
    save_shadows("shadows.npz")
    for name, message in (
        ("short", "must have the examples and queries of the shadow models"),
        ("copy", "the target is among its own shadow models"),
    ):
        with pytest.raises(SystemExit, match="2"):
            run("--target", f"{name}.npz", "--signals", "shadows.npz")
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run("--attacks", "loss")
    assert "--signals must name a file, or --target one" in capsys.readouterr().err
    save_target("model.npz")
    turned = {"phi": SHADOWS.phi[..., 0].T, "keep": SHADOWS.keep.T}
    np.savez("turned.npz", **turned, labels=SHADOWS.labels)
    for name, message in (
        ("model", "members of one model goes to --target"),
        ("turned", "phi looks transposed: models come first"),
    ):
        with pytest.raises(SystemExit, match="2"):
            run("--signals", f"{name}.npz")
        assert message in capsys.readouterr().err
