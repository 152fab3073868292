"""Attacks on pure noise, where there are no members to find.

    python -m experiments.null_attacks

attacks phi that does not depend on the mask, with each registered attack, on masks of
several designs and numbers of models: levels and standard deviations differ between
examples. Prints a Markdown table of AUC (1/2 is right) and TPR at 1 % FPR (0.01 is
right, or less where scores tie) with standard errors over draws, or that the attack is
refused. docs/reliability.md holds the result. A few minutes on 2 cores; writes nothing.
"""

import dataclasses
from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np

from sam_jax import metrics
from sam_jax._checks import ArgumentError
from sam_jax.attacks import ATTACKS, score_targets
from sam_jax.cli.errors import command_line
from sam_jax.cli.option_parsing import parse_options
from sam_jax.types import AttackFn, Signals

Mask = Literal["half", "tenth", "folds", "one in", "two out", "independent"]
NUM_POPULATION = 300
FPR = 0.01


@dataclasses.dataclass(frozen=True)
class Config:
    """Attacks pure noise."""

    attacks: tuple[str, ...] = tuple(ATTACKS)
    """Registered attacks."""
    masks: tuple[Mask, ...] = get_args(Mask)
    """Designs of the mask: members of half or a tenth of the models (two at least), of
    all but one (folds), of one, of all but two, or by independent coins."""
    num_models: tuple[int, ...] = (4, 16, 64)
    """Numbers of models."""
    num_pairs: int = 100_000
    """(Target, example) pairs of one draw."""
    num_draws: int = 8
    """Draws of noise and mask."""


@dataclasses.dataclass(frozen=True)
class NullResult:
    """An attack on noise: means over draws, with their standard errors."""

    auc: float
    auc_error: float
    tpr: float
    tpr_error: float

    def __str__(self) -> str:
        area = f"{self.auc:.4f} ({self.auc_error:.4f})"
        return f"{area}, {self.tpr:.4f} ({self.tpr_error:.4f})"


def main(config: Config) -> dict[tuple[str, str, int], NullResult | None]:
    """Prints a row for each attack and mask; returns results, None where refused."""
    results: dict[tuple[str, str, int], NullResult | None] = {}
    print(markdown_row(["attack", "mask", *(f"{m} models" for m in config.num_models)]))
    print(markdown_row(["---"] * (2 + len(config.num_models))))
    for name in config.attacks:
        for mask in config.masks:
            cells = []
            for num_models in config.num_models:
                num_examples = max(config.num_pairs // num_models, 200)
                draws = noise_draws(mask, num_models, num_examples, config.num_draws)
                result = attack_noise(ATTACKS[name], draws)
                results[name, mask, num_models] = result
                cells.append("refused" if result is None else str(result))
            print(markdown_row([f"`{name}`", mask, *cells]), flush=True)
    return results


def markdown_row(cells: list[str]) -> str:
    """Returns one row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def attack_noise(attack: AttackFn, draws: Iterator[Signals]) -> NullResult | None:
    """Returns AUC and TPR on noise, or None where the attack is refused."""
    values = []
    for signals in draws:
        try:
            scores = score_targets(attack, signals)
        except ArgumentError:
            return None
        keep = np.asarray(signals.keep)
        pool = metrics.varying_columns(keep)
        curve = metrics.roc_curve(scores[:, pool].ravel(), keep[:, pool].ravel())
        values.append([metrics.auc(curve), metrics.tpr_at_fpr(curve, FPR)])
    mean = np.mean(values, axis=0)
    error = np.std(values, axis=0, ddof=1) / np.sqrt(len(values))
    return NullResult(mean[0], error[0], mean[1], error[1])


def noise_draws(
    mask: str, num_models: int, num_examples: int, num_draws: int
) -> Iterator[Signals]:
    """Yields signals that know nothing of the mask."""
    for seed in range(num_draws):
        rng = np.random.default_rng(seed)
        keep = draw_mask(mask, num_models, num_examples, rng)
        yield draw_noise(np.pad(keep, ((0, 0), (0, NUM_POPULATION))), rng)


def draw_mask(
    mask: str, num_models: int, num_examples: int, rng: np.random.Generator
) -> np.ndarray:
    """Returns a mask [M, N] of the given design."""
    if mask == "independent":
        return rng.random((num_models, num_examples)) < 0.5
    num_in = {
        "half": num_models // 2,
        "tenth": max(num_models // 10, 2),
        "folds": num_models - 1,
        "one in": 1,
        "two out": num_models - 2,
    }[mask]
    return rng.random((num_models, num_examples)).argsort(axis=0) < num_in


def draw_noise(keep: np.ndarray, rng: np.random.Generator) -> Signals:
    """Returns Gaussian phi whose level and standard deviation depend on the example."""
    num_examples = keep.shape[1]
    level = rng.normal(0, 2, size=(1, num_examples))
    deviation = np.exp(rng.normal(size=(1, num_examples)))
    phi = (level + deviation * rng.normal(size=keep.shape)).astype(np.float32)
    # Of a binary classifier: entropies from phi alone.
    log_odds = np.clip(np.abs(phi), 0, 80)
    p = 1 / (1 + np.exp(-log_odds))
    entropy = log_odds * (1 - p) - np.log(p)
    # -2 (1 - p_y) log p_y; where the prediction is wrong p_y is 1 - p, whose logarithm
    # is log p minus the log odds.
    modified = np.where(phi > 0, 2, 2 * p / np.maximum(1 - p, 1e-30)) * (1 - p)
    modified = modified * np.where(phi > 0, -np.log(p), log_odds - np.log(p))
    return Signals(
        phi=phi[..., None],
        correct=phi > 0,
        entropy=entropy.astype(np.float32),
        modified_entropy=modified.astype(np.float32),
        keep=keep,
        labels=rng.integers(0, 5, num_examples).astype(np.int32),
    )


if __name__ == "__main__":
    with command_line():
        main(parse_options(Config, __doc__))
