"""What do models that were trained elsewhere give away about their training sets?

    sam-jax attack --signals FILE --attacks all

attacks every model in a file with all the others as its shadow models. FILE is the
signals.npz of an audit, or an .npz with phi [models, examples] (or logits [models,
examples, classes] and labels) and keep, the mask of who trained on what; or phi in an
.npy file and the mask in another (--keep). Further files are further algorithms on the
same mask, compared with the first. runs/attack/NAME/ then holds report.html,
metrics.json, roc.csv, roc.svg, risk.csv and config.json.
"""

import dataclasses
import sys
import time
from collections.abc import Sequence

import numpy as np

import sam_jax
from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.attacks import ATTACKS, NEEDS, unmet_needs
from sam_jax.auditing.checks import check_attack_config
from sam_jax.auditing.evaluate import attack_signals, check_all
from sam_jax.cli import run_folder
from sam_jax.metrics import validity
from sam_jax.reporting import audit_tables, tables
from sam_jax.reporting.audit_numbers import metrics_json
from sam_jax.signals import files
from sam_jax.signals.conversions import SignalsAre
from sam_jax.types import AttackFn

ALL, MAIN = "all", "lira_online"
RUNS_WITHOUT = ("population", "queries")
"""Needs without which an attack still runs, as a simpler one."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Attacks models by their signals alone."""

    signals: tuple[str, ...]
    """Files or folders of signals, of one or more training algorithms; see above."""
    keep: str | None = None
    """Mask [models, examples] for files without one: .npy, or .npz that holds keep."""
    labels: str | None = None
    """Classes [examples] likewise; without, one threshold serves all classes."""
    signals_are: SignalsAre | None = None
    """What the outputs are, whatever their array is called: phi (the default of .npy
    files), logits, probabilities, log_probabilities or losses."""
    name: str = "default"
    """Folder of the results: runs/attack/NAME."""
    attacks: tuple[str, ...] = ("lira_online", "lira_offline", "rmia_online", "loss")
    """Registered attacks, the main one first; or all."""
    fprs: tuple[float, ...] = (0.01, 0.001)
    """False-positive rates at which to report the true-positive rate."""
    baseline: str | None = None
    """The algorithm that others are compared with; the first by default."""
    images: str | None = None
    """Inputs in the order of the columns, for pictures: .npy, or .npz that holds x."""
    allow_invalid: bool = False
    """Go on where the checks say that the figures will mean nothing."""
    overwrite: bool = False
    """Replace the results of an earlier run of the same name."""


def main(config: Config) -> sam_jax.AuditResult:
    """Runs the attacks and writes their folder; returns the result."""
    signals, settings, planted, ids = files.load_signals(
        config.signals, config.keep, config.labels, config.signals_are
    )
    first = next(iter(signals))
    baseline = config.baseline or first
    _checks.one_of(signals, baseline=baseline)
    attacks, skipped = choose_attacks(config.attacks, signals[baseline])
    attack_config = check_attack_config(
        sam_jax.AttackConfig(attacks=attacks, fprs=config.fprs, baseline=baseline),
        signals,
    )
    dataset = make_dataset(signals[baseline], config.images, ids)
    check(*check_all(signals, settings), config.allow_invalid)
    folder = run_folder.open_run("attack", config)
    num_models, num_examples = signals[baseline].keep.shape
    print(f"{', '.join(signals)}: {num_models} models, {num_examples:,} examples.")
    for name, why in skipped.items():
        print(f"{name} is left out: it needs {why}.")
    start = time.perf_counter()
    result = attack_signals(
        signals,
        dataset,
        attack_config,
        settings=settings,
        canaries=planted,
        on_attack=lambda name, attack: print(f"{name}: {attack}", file=sys.stderr),
    )
    seconds = {"attack": time.perf_counter() - start}
    result = dataclasses.replace(result, seconds=seconds)
    about = run_folder.read_config(folder)
    sam_jax.save_audit(result, folder, about, with_signals=False)
    numbers = metrics_json(result) | {"skipped": skipped}
    folder = run_folder.finish_run(folder, numbers)
    print(tables.text_table(*attack_table(result)))
    print("Balanced accuracy: at thresholds of the shadow models.")
    print(f"\n{sam_jax.verdict(result)}")
    print(f"\nIn {seconds['attack']:.0f} s. Report: {folder / 'report.html'}")
    return result


def choose_attacks(
    names: tuple[str, ...], signals: sam_jax.Signals
) -> tuple[dict[str, AttackFn], dict[str, str]]:
    """Returns the attacks by name, and of all those left out what they would need.

    Raises:
        ValueError: If an attack is unknown, or was chosen by name and cannot run.
    """
    if names == (ALL,):
        order = sorted(ATTACKS, key=lambda name: name != MAIN)
        unmet = {name: unmet_needs(ATTACKS[name], signals) for name in order}
        skipped = {
            name: " and ".join(NEEDS[need] for need in needs)
            for name, needs in unmet.items()
            if needs
        }
        return {name: ATTACKS[name] for name in order if name not in skipped}, skipped
    if not names:
        raise ArgumentError("attacks", "must name at least one, or all; got none.")
    chosen: dict[str, AttackFn] = {
        name: _checks.one_of(ATTACKS, attacks=name) for name in names
    }
    for name, attack in chosen.items():
        missing = [n for n in unmet_needs(attack, signals) if n not in RUNS_WITHOUT]
        if missing:
            needed = " and ".join(NEEDS[need] for need in missing)
            raise ArgumentError(
                "attacks", f"must be able to run, but {name} needs {needed}."
            )
    return chosen, {}


def check(
    checks: dict[str, list[validity.Check]],
    comparison: list[validity.Check],
    allow_invalid: bool,
) -> None:
    """Prints the checks that are not ok.

    Raises:
        ArgumentError: If the figures would mean nothing, unless allowed.
    """
    for name, made in (checks | {"comparison": comparison}).items():
        for result in made:
            if result.severity == "ok":
                continue
            if result.severity == "invalid" and not allow_invalid:
                raise ArgumentError(
                    "signals",
                    f"must be of models that are alike. {name}, {result.name}: "
                    f"{result.text} (--allow-invalid goes on.)",
                )
            print(f"{result.severity}: {name}, {result.name}: {result.text}")


def attack_table(result: sam_jax.AuditResult) -> audit_tables.Table:
    """Returns one attack a row, the strongest first, optimizers below each other."""
    shown = list(result[result.baseline].attacks[result.main_attack].metrics.pooled)
    shown.remove("balanced_accuracy")
    rows: list[list[tables.Cell]] = []
    for attack in audit_tables.attacks_by_strength(result):
        for name, optimizer in result.optimizers.items():
            reached = optimizer.attacks[attack]
            rows.append(
                [
                    f"{attack}, {name}" if result.compared else attack,
                    *(reached.metrics.pooled[metric] for metric in shown),
                    reached.decisions[0].balanced_accuracy,
                ]
            )
    labels = [tables.metric_label(metric) for metric in shown]
    return ["", *labels, "balanced accuracy"], rows


def make_dataset(
    signals: sam_jax.Signals, images: str | None, class_ids: np.ndarray
) -> sam_jax.Dataset:
    """Returns the columns as a data set, with inputs where a file has them.

    Classes are called by their ids, where labels were encoded.
    """
    labels = np.asarray(signals.labels)
    x = np.zeros((len(labels), 0), np.float32)
    if images is not None:
        x = files.read_array(images, "x")
        if x.ndim < 2 or x.dtype.kind not in "biuf":
            raise ArgumentError(
                "images",
                "must be numbers [examples, ...], got dtype "
                f"{x.dtype} and shape {x.shape}.",
            )
        if len(x) < np.flatnonzero(np.asarray(signals.keep).any(axis=0)).max() + 1:
            raise ArgumentError(
                "images",
                "must hold one x for each example in a training set, got "
                f"{len(x)} for {len(labels)} columns.",
            )
    examples = sam_jax.Examples(x, labels)
    nothing = sam_jax.Examples(x[:0], labels[:0])
    num_classes = max(int(labels.max()) + 1, 2)
    names = tuple(map(str, class_ids)) if len(class_ids) == num_classes else ()
    return sam_jax.Dataset("given signals", num_classes, examples, nothing, names)


def command(arguments: Sequence[str]) -> int:
    """Runs ``sam-jax attack`` with its options; returns the exit status."""
    text = __doc__ + run_folder.list_choices(attacks=ATTACKS)
    main(run_folder.parse_options("attack", Config, text, arguments))
    return 0
