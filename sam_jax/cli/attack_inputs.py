"""The options of ``sam-jax attack``, and what they name: signals, attacks, targets."""

import dataclasses
import functools
import pathlib
import typing
from collections.abc import Callable

import numpy as np

import sam_jax
from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.attacks import ATTACKS, missing_needs, unmet_needs
from sam_jax.auditing.checks import check_attack_config
from sam_jax.auditing.config import ATTACKS_ALONE
from sam_jax.auditing.evaluate import attack_signals
from sam_jax.auditing.given_models import attack_given, check_given
from sam_jax.auditing.shadow_pairing import (
    SHADOW_NEEDS,
    join_target,
    match_models,
    shadows_of,
)
from sam_jax.cli.errors import as_option
from sam_jax.cli.named_code import choose_attacks
from sam_jax.metrics import model_checks
from sam_jax.reporting.given_scope import shadow_models
from sam_jax.signals import exchange, files
from sam_jax.signals.conversions import SignalsAre
from sam_jax.signals.exchange import ExportTo
from sam_jax.signals.targets import load_targets

DEFAULT = ("lira_online", "lira_offline", "rmia_online", "loss")
DEFAULT_OUT = ("lira_offline", "attack_r", "calibrated_loss", "loss")
"""Attacks by default, and those where shadow models trained on none of the examples."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Attacks models by their signals alone."""

    signals: tuple[str, ...] = ()
    """Files or folders of signals, of one or more training algorithms; see above."""
    target: tuple[str, ...] = ()
    """Files of given models to attack instead of each model in turn; see above."""
    keep: str | None = None
    """Mask [models, examples] for files without one: .npy, or .npz that holds keep."""
    labels: str | None = None
    """Classes [examples] likewise; without, one threshold serves all classes."""
    signals_are: SignalsAre | None = None
    """What the outputs are, whatever their array is called: phi (the default of .npy
    files), logits, probabilities, log_probabilities or losses."""
    export: tuple[str, ...] | None = None
    """lira, privacy_meter or npy, and a new folder: write the signals there as that
    tool reads them, instead of attacking."""
    name: str = "default"
    """Folder of the results: runs/attack/NAME."""
    runs_dir: str = "runs"
    """Folder of all runs, or s3://... or gs://... (see docs/scale.md)."""
    attacks: tuple[str, ...] | None = None
    """Registered attacks or module:attack, the main one first, and all: those
    that the signals have the means for. By default
    lira_online, lira_offline, rmia_online and loss; offline ones, or attack_p, loss,
    modified_entropy and entropy, where a target's shadow models allow no more."""
    fprs: tuple[float, ...] = (0.01, 0.001)
    """False-positive rates at which to report the true-positive rate."""
    baseline: str | None = None
    """The algorithm that others are compared with; the first by default."""
    images: str | None = None
    """Inputs in the order of the columns, for pictures: .npy, or .npz that holds x."""
    allow_invalid: bool = False
    """Go on where the checks say that the figures will mean nothing."""
    config: pathlib.Path | None = None
    """config.json of a run, or its folder, for settings that no option gives."""
    overwrite: bool = False
    """Replace the results of an earlier run of the same name."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A run of ``sam-jax attack`` that has been checked.

    Attributes:
        summary: What is attacked, in one line.
        skipped: Attacks left out of all, and what they would need.
        run: Attacks; called with ``progress``.
    """

    summary: str
    skipped: dict[str, str]
    run: Callable[..., sam_jax.AuditResult]


def prepare(config: Config) -> Prepared:
    """Reads and checks models that are each a target in turn."""
    signals, settings, planted, ids, _ = files.load_signals(
        config.signals, config.keep, config.labels, config.signals_are
    )
    first = next(iter(signals))
    baseline = config.baseline or first
    _checks.one_of(signals, baseline=baseline)
    names = DEFAULT if config.attacks is None else config.attacks
    attacks, skipped = choose_attacks(names, signals[baseline])
    attack_config = check_attack_config(
        sam_jax.AttackConfig(attacks=attacks, fprs=config.fprs, baseline=baseline),
        signals,
    )
    dataset = make_dataset(signals[baseline], config.images, ids)
    check(*model_checks.check_all(signals, settings), config.allow_invalid)
    num_models, num_examples = signals[baseline].keep.shape
    summary = f"{', '.join(signals)}: {num_models} models, {num_examples:,} examples."
    run = functools.partial(
        attack_signals,
        signals,
        dataset,
        attack_config,
        settings=settings,
        canaries=planted,
    )
    return Prepared(summary, skipped, run)


def prepare_target(config: Config) -> Prepared:
    """Reads and checks given models, and their shadow models if there are any."""
    shadows, ids, labels = {}, np.zeros(0, np.int64), None
    if config.signals:
        shadows, _, _, ids, _ = files.load_signals(
            config.signals, config.keep, config.labels, config.signals_are, True
        )
        labels = np.asarray(next(iter(shadows.values())).labels)
    elif config.labels is not None:
        labels = files.read_array(config.labels, "labels")
    # Targets come second: they may take their labels from the shadow models.
    loaded = load_targets(config.target, labels, config.signals_are)
    if ids.size and loaded.class_ids.size and not np.array_equal(ids, loaded.class_ids):
        raise ArgumentError(
            "target",
            f"must have the class ids of the signals, {ids[:5]}..., got "
            f"{loaded.class_ids[:5]}...",
        )
    targets = loaded.signals
    if config.baseline is not None:
        first = _checks.one_of(targets, baseline=config.baseline)
        targets = {config.baseline: first} | targets
    given, question = match_models(targets, shadows, loaded.population)
    name = next(iter(targets))
    joined = join_target(targets[name], shadows_of(given, name), question)
    # The attacks that these shadow models allow.
    names = config.attacks
    if names is None:
        by_mode = {"in and out": DEFAULT, "out": DEFAULT_OUT, "none": ATTACKS_ALONE}
        # Without a population some would be the confidence under another name.
        unmet = unmet_needs if given.mode == "none" else missing_needs
        names = [n for n in by_mode[given.mode] if not unmet(ATTACKS[n], joined)]
    attacks, skipped = choose_attacks(names, joined, SHADOW_NEEDS)
    attack_config = check_attack_config(
        sam_jax.AttackConfig(attacks=attacks, fprs=config.fprs), targets
    )
    ids = ids if ids.size else loaded.class_ids
    dataset = make_dataset(joined, config.images, ids)
    checks = {
        n: check_given(t, shadows_of(given, n), question) for n, t in targets.items()
    }
    check(checks, [], config.allow_invalid)
    summary = (
        f"{', '.join(targets)}: given, {shadow_models(given)}; "
        f"{int(question.counted.sum()):,} examples, {int(given.population.sum()):,} "
        "more as a population."
    )
    arguments = (targets, shadows, loaded.population, dataset, attack_config)
    run = functools.partial(attack_given, *arguments, checks=checks)
    return Prepared(summary, skipped, run)


def export(config: Config) -> None:
    """Writes the signals for another tool, each algorithm to its folder."""
    assert config.export is not None
    tools = typing.get_args(ExportTo)
    if len(config.export) != 2 or config.export[0] not in tools:
        raise ArgumentError(
            "export",
            f"must be one of {', '.join(tools)} and a new folder, got "
            f"{' '.join(config.export)!r}.",
        )
    tool, path = typing.cast(ExportTo, config.export[0]), config.export[1]
    given = config.signals, config.keep, config.labels, config.signals_are
    signals, *_, logits = files.load_signals(*given, True, tool == "lira")
    for name, of_algorithm in signals.items():
        folder = pathlib.Path(path)
        if len(signals) > 1:
            folder = folder / name
        exchange.export_signals(of_algorithm, folder, tool, name, logits.get(name))
        print(f"{name}: {len(of_algorithm.keep)} models, written to {folder}.")
        if tool == "lira" and name not in logits:
            print(
                "Without logits/, which score.py reads: the file holds none. plot.py "
                "needs scores/ alone."
            )


def check(
    checks: dict[str, list[model_checks.Check]],
    comparison: list[model_checks.Check],
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


def make_dataset(
    signals: sam_jax.Signals, images: str | None, class_ids: np.ndarray
) -> sam_jax.Dataset:
    """Returns the columns as a data set, with inputs where a file has them.

    Classes are called by their ids, where labels were encoded.
    """
    labels = np.asarray(signals.labels)
    x = np.zeros((len(labels), 0), np.float32)
    if images is not None:
        with as_option("x", "images"):
            x = files.read_array(images, "x")
        if x.ndim < 2 or x.dtype.kind not in "biuf":
            raise ArgumentError(
                "images",
                "must be numbers [examples, ...], got dtype "
                f"{x.dtype} and shape {x.shape}.",
            )
        trained = np.flatnonzero(np.asarray(signals.keep).any(axis=0))
        if len(x) < trained.max() + 1:
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
