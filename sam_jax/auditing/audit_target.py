"""The audit of given models without training any."""

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sam_jax._checks import ArgumentError
from sam_jax.attacks import ATTACKS
from sam_jax.auditing.checks import check_attack_config
from sam_jax.auditing.config import (
    ATTACKS_ALONE,
    DEFAULT_ATTACKS,
    WITHOUT_POPULATION,
    AttackConfig,
)
from sam_jax.auditing.given_models import attack_given
from sam_jax.auditing.plan import AuditPlan, make_plan
from sam_jax.auditing.result import AuditResult
from sam_jax.auditing.shadow_pairing import pair_names
from sam_jax.auditing.target import Queries, Target, signals_of_targets
from sam_jax.data.arrays import as_dataset
from sam_jax.signals.checks import check_signals
from sam_jax.types import AugmentFn, Dataset, Signals


def audit_target(
    target: Target | Sequence[Target],
    dataset: Dataset | tuple[Any, Any, Any, Any],
    attack_config: AttackConfig | None = None,
    *,
    shadows: Signals | Mapping[str, Signals] | None = None,
    augment: AugmentFn | None = None,
) -> AuditResult:
    """Attacks given models with shadow models from elsewhere, or without any.

    Args:
        target: One or several models whose members are known.
        dataset: A ``Dataset``, or arrays ``(x, y, x_test, y_test)``: a pool of members
            and non-members, and test examples as a population, maybe none.
        attack_config: Attacks and how they are evaluated; by default those of an audit,
            or ``ATTACKS_ALONE`` where there are no shadow models.
        shadows: Signals of shadow models on pool and test examples, or several by
            training algorithm; ``keep`` all False where they had none of them.
        augment: As in ``audit``, where ``num_queries`` is above 1.

    Returns:
        The result by target, with intervals over examples alone.

    Raises:
        ArgumentError: As in ``signals_of_targets`` and ``attack_given``.

    Example:
        >>> import numpy as np
        >>> import sam_jax
        >>> rng = np.random.default_rng(0)
        >>> x, members = rng.normal(size=(600, 3)), np.arange(600) < 200
        >>> y, logits = (x[:, 0] > 0).astype(int), rng.normal(size=(600, 2))
        >>> logits[np.arange(600), y] += 2 + 2 * members
        >>> dataset = x[:400], y[:400], x[400:], y[400:]
        >>> result = sam_jax.audit_target(sam_jax.Target(members, logits), dataset)
        >>> print(sam_jax.verdict(result).split(":")[0])
        target leaks
    """
    dataset = as_dataset(dataset)
    if isinstance(shadows, Signals):
        shadows = {"shadow models": shadows}
    by_algorithm = {k: check_signals(s) for k, s in (shadows or {}).items()}
    if attack_config is None:
        alone = ATTACKS_ALONE if len(dataset.test.y) else WITHOUT_POPULATION
        names = DEFAULT_ATTACKS if by_algorithm else alone
        attack_config = AttackConfig({name: ATTACKS[name] for name in names})
    # For its columns and the key of queries alone: no model is trained.
    plan = make_plan(dataset, num_models=4, seed=attack_config.seed)
    given = check_targets(target, by_algorithm, plan, attack_config, augment)
    is_test = np.arange(plan.keep.shape[1]) >= len(dataset.train.y)
    start = time.perf_counter()
    result = attack_given(given, by_algorithm, is_test, dataset, attack_config)
    return dataclasses.replace(result, seconds={"attack": time.perf_counter() - start})


def check_targets(
    target: Target | Sequence[Target],
    algorithms: Iterable[str],
    plan: AuditPlan,
    config: AttackConfig,
    augment: AugmentFn | None,
) -> dict[str, Signals]:
    """Returns the signals of targets, checked before anything is trained.

    Args:
        target: One or several.
        algorithms: Names of the training algorithms of the shadow models.
        plan: Data, and the key of the augmented queries.
        config: Settings.
        augment: Makes the further queries.

    Raises:
        ArgumentError: As in ``signals_of_targets``; for canaries; or if it is not clear
            which shadow models go with which target.
    """
    if config.num_canaries:
        rule = f"must be 0 with a target, got {config.num_canaries}."
        raise ArgumentError("num_canaries", rule)
    queries = Queries(config.num_queries, augment, plan.query_key)
    signals = signals_of_targets(target, plan.dataset, queries)
    # A baseline is the name of an optimizer, not of a target.
    check_attack_config(dataclasses.replace(config, baseline=None), signals)
    pair_names(signals, algorithms)
    return signals
