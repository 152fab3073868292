"""SAM beside the SGD of equal training loss: another decay or length, same data."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from experiments.common.cells import Cell
from experiments.common.measure import ATTACK_NAMES, Row, leakage_rows
from sam_jax.attacks import ATTACKS, score_targets
from sam_jax.types import Signals

TOLERANCE = 0.05
"""Training losses that differ by a smaller share count as equal."""


@dataclasses.dataclass(frozen=True)
class Match:
    """A SAM run and the SGD run whose training loss is nearest.

    Attributes:
        cell: Cell of the SAM run.
        optimizer: Method and radius.
        sgd_cell: Cell of the SGD run.
        loss_ratio: Training loss of the SAM run over that of the SGD run.
    """

    cell: str
    optimizer: str
    sgd_cell: str
    loss_ratio: float


def comparable(cell: Cell, other: Cell) -> bool:
    """Whether two cells share everything but the length and the decay of training."""
    free = {"num_epochs": 0, "weight_decay": 0.0}
    return dataclasses.replace(cell, **free) == dataclasses.replace(other, **free)


def match_losses(
    cells: Mapping[str, Cell], losses: Mapping[tuple[str, str], float]
) -> list[Match]:
    """Returns the nearest SGD run of every SAM run, where one is near enough.

    Args:
        cells: By name.
        losses: Training loss by cell and optimizer.
    """
    matches = []
    for (name, optimizer), loss in losses.items():
        if optimizer == "sgd":
            continue
        ratios = {
            other: loss / other_loss
            for (other, method), other_loss in losses.items()
            if method == "sgd" and comparable(cells[name], cells[other])
        }
        nearest = min(ratios, key=lambda other: abs(np.log(ratios[other])))
        if abs(np.log(ratios[nearest])) <= TOLERANCE:
            matches.append(Match(name, optimizer, nearest, ratios[nearest]))
    return matches


def measure_match(match: Match, sam: Signals, sgd: Signals) -> list[Row]:
    """Returns the leakage of a SAM run minus that of its SGD run, paired by model."""
    rows = []
    for attack in ATTACK_NAMES:
        scores, baseline = (score_targets(ATTACKS[attack], s) for s in (sam, sgd))
        rows += leakage_rows(match.cell, match.optimizer, attack, scores, baseline, sam)
    return rows
