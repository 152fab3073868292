"""How often 95 % intervals hold the truth, and how often verdicts are false alarms.

    python -m benchmarks.coverage --num-audits 400 --num-models 4 8 16 32

Simulated audits of two equal optimizers: phi is the example's difficulty, plus a
membership effect that differs by example and by model, plus a shift of the model, plus
noise. A single metric's truth is its mean over the audits; that of a paired difference
is 0. 400 audits know a coverage of 95 % to 1.1 points. About 0.6 s an audit and number
of models (64 models 3 s) on one core of a CPU.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Iterator

import numpy as np
import tyro
from jaxtyping import Bool, Float

from benchmarks.machine import in_words, machine
from sam_jax.attacks import ATTACKS, score_targets
from sam_jax.auditing.config import DEFAULT_ATTACKS
from sam_jax.metrics import Bootstrap, Estimate, IntervalConfig, bootstrap_attack
from sam_jax.metrics.attack_metrics import attack_metrics, paired_difference
from sam_jax.metrics.multiple_tests import change_test, leak_test
from sam_jax.metrics.refits import leave_models_out
from sam_jax.types import Signals


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        num_audits: Simulated audits for each number of models.
        num_models: Numbers of models.
        num_examples: Examples in an audit, each in half of the models.
        effect: Mean membership effect, in standard deviations of the noise; 0 for
            models that leak nothing.
        attacks: Names of the attacks.
        seed: Seed of the audits.
        output: Also write the tables to this file.
    """

    num_audits: int = 200
    num_models: tuple[int, ...] = (4, 8, 16, 32)
    num_examples: int = 400
    effect: float = 0.75
    attacks: tuple[str, ...] = DEFAULT_ATTACKS
    seed: int = 0
    output: pathlib.Path | None = None


def main(config: Config) -> None:
    """Prints the coverage of intervals and the shares of verdicts."""
    lines = [in_words(machine("cpu")), ""]
    for num_models in config.num_models:
        covered, verdicts = measure(config, num_models)
        lines += [f"{num_models} models, {config.num_audits} audits:", ""]
        lines += ["| attack | metric | mean | single | paired |"]
        lines += ["| --- | --- | --- | --- | --- |"]
        for (attack, metric), (mean, single, paired) in covered.items():
            row = f"| {attack} | {metric} | {mean:.3f} | {single:.3f} | {paired:.3f} |"
            lines.append(row)
        shares = [f"{name} {100 * share:.1f} %" for name, share in verdicts.items()]
        lines += ["", f"Verdicts over all attacks: {', '.join(shares)}.", ""]
        print("\n".join(lines), flush=True)
        if config.output is not None:
            with config.output.open("a") as file:
                file.write("\n".join(lines) + "\n")
        lines = []


def measure(
    config: Config, num_models: int
) -> tuple[dict[tuple[str, str], tuple[float, float, float]], dict[str, float]]:
    """Returns means and coverages, single and paired; shares of verdicts."""
    single, paired = collections.defaultdict(list), collections.defaultdict(list)
    verdicts = collections.Counter({"leak": 0, "difference": 0})
    for seed, pair in enumerate(simulate(config, num_models)):
        metrics, differences = {}, {}
        for attack in config.attacks:
            first, second = (measure_attack(attack, s, seed) for s in pair)
            metrics[attack] = attack_metrics(first)
            differences[attack] = paired_difference(second, first)
            for metric, estimate in metrics[attack].pooled.items():
                single[attack, metric].append(estimate)
                change = differences[attack].pooled[metric]
                paired[attack, metric].append(change)
        leaks = any(f.outcome == "leak" for f in leak_test(metrics))
        moves = any(f.outcome in ("more", "less") for f in change_test(differences))
        verdicts.update({"leak": leaks, "difference": moves})
    covered = {}
    for key, estimates in single.items():
        mean = float(np.mean([estimate.value for estimate in estimates]))
        covered[key] = mean, coverage(estimates, mean), coverage(paired[key], 0.0)
    return covered, {k: n / config.num_audits for k, n in verdicts.items()}


def measure_attack(name: str, signals: Signals, seed: int) -> Bootstrap:
    """Returns the bootstrap of an attack as an audit makes it, on fewer replicates."""
    scores = score_targets(ATTACKS[name], signals)
    return bootstrap_attack(
        scores,
        signals.keep,
        fprs=(0.01,),
        intervals=IntervalConfig(num_replicates=100, seed=seed),
        refits=leave_models_out(ATTACKS[name], signals, scores),
    )


def coverage(estimates: list[Estimate], truth: float) -> float:
    """Returns the share of the intervals that hold the truth."""
    low, high = np.array([e[1:3] for e in estimates]).T
    return float(np.mean((low <= truth) & (truth <= high)))


def simulate(config: Config, num_models: int) -> Iterator[tuple[Signals, Signals]]:
    """Yields audits of two optimizers on one mask, which share half of all noise."""
    rng = np.random.default_rng((num_models, config.seed))
    shape = (num_models, config.num_examples)
    for _ in range(config.num_audits):
        keep = np.argsort(rng.random(shape), axis=0) < num_models // 2
        level = rng.normal(2, 1.5, shape[1])
        effect = config.effect * rng.exponential(size=shape[1])
        deviation = np.exp(0.3 * rng.normal(size=shape[1]))
        common = [rng.normal(size=(num_models, 1)) for _ in range(2)]
        noise, pair = rng.normal(size=shape), []
        for _ in range(2):
            fresh = [rng.normal(size=(num_models, 1)) for _ in range(2)]
            shift, overfit = (
                np.sqrt(0.5) * (c + f) for c, f in zip(common, fresh, strict=True)
            )
            drawn = np.sqrt(0.5) * (noise + rng.normal(size=shape))
            members = keep * effect * (1 + 0.3 * overfit)
            pair.append(
                make_signals(level + members + 0.3 * shift + deviation * drawn, keep)
            )
        yield pair[0], pair[1]


def make_signals(phi: Float[np.ndarray, "m n"], keep: Bool[np.ndarray, "m n"]):
    """Returns the signals of a classifier of two classes with this phi."""
    phi = phi.astype(np.float32)
    right, wrong = np.logaddexp(0, -phi), np.logaddexp(0, phi)  # -log p, -log(1 - p)
    p = np.exp(-right)
    return Signals(
        phi=phi[..., None],
        correct=phi > 0,
        entropy=p * right + (1 - p) * wrong,
        modified_entropy=2 * (1 - p) * right,
        keep=keep,
        labels=np.zeros(phi.shape[1], np.int32),
    )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
