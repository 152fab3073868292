"""Membership attacks on models that were trained elsewhere.

    sam-jax attack --signals FILE --attacks all

attacks every model in a file with all the others as its shadow models. FILE is the
signals.npz of an audit, or an .npz with phi [models, examples] (or logits [models,
examples, classes] and labels) and keep, the mask of who trained on what; or phi in an
.npy file and the mask in another (--keep). Further files are further algorithms on the
same mask, compared with the first. runs/attack/NAME/ then holds report.html,
metrics.json, results.csv, roc.csv, roc.svg, risk.csv, config.json, and the signals,
for sam_jax.load_audit.

    sam-jax attack --target MODEL --signals FILE

attacks one given model with those of FILE as its shadow models, or without --signals
with no shadow models at all. MODEL is an .npz with its phi [examples] (or logits
[examples, classes]), members [examples], and maybe labels and population, a mask of
examples to set aside.

    sam-jax attack --signals FILE --export lira FOLDER

writes signals as another tool reads them, and attacks nothing. FILE may be such a
folder too.
"""

import dataclasses
import time
from collections.abc import Sequence

import sam_jax
from sam_jax._checks import ArgumentError
from sam_jax.attacks import ATTACKS
from sam_jax.cli import attack_inputs, run_folder
from sam_jax.cli.attack_inputs import Config
from sam_jax.cli.named_code import ALL
from sam_jax.cli.option_parsing import parse_options
from sam_jax.cli.run_lock import locked_run
from sam_jax.data import mirrors
from sam_jax.reporting import audit_tables, tables


def main(config: Config) -> sam_jax.AuditResult:
    """Runs the attacks and writes their folder; returns the result."""
    if not (config.signals or config.target):
        raise ArgumentError(
            "signals", "must name a file, or --target one; got neither."
        )
    prepare = attack_inputs.prepare_target if config.target else attack_inputs.prepare
    prepared = prepare(config)
    with locked_run("attack", config.name, root=config.runs_dir):
        return _attack(config, prepared)


def _attack(config: Config, prepared: attack_inputs.Prepared) -> sam_jax.AuditResult:
    folder = run_folder.open_run("attack", config, root=config.runs_dir)
    print(prepared.summary)
    for name, why in prepared.skipped.items():
        print(f"{name} is left out: it needs {why}.")
    start = time.perf_counter()
    try:
        result = prepared.run(progress=True)
    except ArgumentError:
        # Nothing is done yet that the same command could go on with.
        mirrors.remove(folder)
        raise
    seconds = {"attack": time.perf_counter() - start}
    result = dataclasses.replace(result, seconds=seconds)
    folder = run_folder.save_result(folder, result, skipped=prepared.skipped)
    print(tables.text_table(*attack_table(result)))
    if result.given is None:
        print("Balanced accuracy: at thresholds of the shadow models.")
    print(f"\n{sam_jax.verdict(result)}")
    print(f"\nIn {seconds['attack']:.0f} s. Report: {folder / 'report.html'}")
    return result


def attack_table(result: sam_jax.AuditResult) -> tables.Table:
    """Returns one attack a row, the strongest first, optimizers below each other."""
    rows = []
    for attack in audit_tables.attacks_by_strength(result):
        for name, optimizer in result.optimizers.items():
            reached = optimizer.attacks[attack]
            label = f"{attack}, {name}" if len(result.optimizers) > 1 else attack
            values = dict(reached.metrics.pooled)
            del values["balanced_accuracy"]
            for made in reached.decisions[:1]:
                values[f"balanced accuracy, {made.rule}"] = made.balanced_accuracy
            rows.append(([label], values))
    return tables.metric_table([""], rows)


def command(arguments: Sequence[str]) -> int:
    """Runs ``sam-jax attack`` with its options; returns the exit status."""
    config = parse_options(
        Config,
        __doc__,
        arguments,
        prog="sam-jax attack",
        known={"attacks": [ALL, *ATTACKS]},
    )
    if config.export is None:
        main(config)
    else:
        attack_inputs.export(config)
    return 0
