"""LiRA and RMIA on every target: ours against the naive loops.

Command: python -m benchmarks.attacks
Signals: 256 models x 60,000 examples x 2 queries, and 10,000 population points, made
from Gaussians. The rivals are a SciPy loop over targets and examples (LiRA) and the
pairwise comparison of every example with every population point (RMIA, vectorised in
NumPy). They would take hours, so each is timed on 500 examples of one target and
scaled to all by proportion (RMIA's ratios of the population, needed once a target, by
the number of targets; LiRA's pooled variances are given to it for nothing); scores are
compared where both exist. Contestants alternate; compile time is in our first round and
told apart.
"""

import argparse
import json
import pathlib
import platform
import resource
import statistics
import time

import jax
import numpy as np
from scipy import stats

from sam_jax.attacks import lira_online, rmia_online, score_targets
from sam_jax.types import Signals

PRIOR_COUNT = 4.0


def make_signals(num_models, num_examples, num_queries, num_population):
    rng = np.random.default_rng(0)
    shape = (num_models, num_examples + num_population)
    keep = rng.random(shape, np.float32) < 0.5
    keep[:, num_examples:] = False
    level = rng.normal(2, 3, size=(1, shape[1], 1)).astype(np.float32)
    phi = rng.standard_normal((*shape, num_queries), np.float32)
    phi += level + keep[..., None]
    zeros = np.zeros(shape, np.float32)
    labels = np.zeros(shape[1], np.int32)
    return Signals(phi, phi[..., 0] > 0, zeros, zeros, keep, labels)


def pooled_variances(signals, target):
    """Residual variance of each side per query, without the target (not timed)."""
    phi, keep = np.delete(signals.phi, target, 0), np.delete(signals.keep, target, 0)
    variances = []
    for group in (keep, ~keep):
        weight = group[..., None]
        count = weight.sum(0)
        mean = (phi * weight).sum(0) / np.maximum(count, 1)
        scatter = (np.square(phi - mean) * weight).sum((0, 1), dtype=np.float64)
        variances.append(scatter / np.maximum(count - 1, 0).sum())
    return variances


def naive_lira(signals, target, columns, pooled):
    """The loop over examples: two Gaussians each, shrunk, by scipy.stats."""
    others = np.arange(len(signals.phi)) != target
    scores = np.empty(len(columns))
    for k, i in enumerate(columns):
        log_density = []
        for group, variance in zip(
            (signals.keep[:, i], ~signals.keep[:, i]), pooled, strict=True
        ):
            x = np.float64(signals.phi[others & group, i])
            freedom = len(x) - 1
            spread = PRIOR_COUNT * variance + freedom * x.var(0, ddof=1)
            sigma = np.sqrt(spread / (PRIOR_COUNT + freedom))
            density = stats.norm.logpdf(signals.phi[target, i], x.mean(0), sigma)
            log_density.append(density.mean())
        scores[k] = log_density[0] - log_density[1]
    return scores


def naive_ratios(signals, target, chosen):
    """Log-ratios of the chosen columns, over all reference models."""
    log_p = -np.logaddexp(0, -np.float64(signals.phi[:, chosen]))
    p = np.delete(np.exp(log_p), target, 0)
    keep = np.delete(signals.keep[:, chosen], target, 0)[..., None]
    mean_out = (p * ~keep).sum(0) / (~keep).sum(0)
    mean_in = (p * keep).sum(0) / np.maximum(keep.sum(0), 1)
    mean_in = np.where(keep.any(0), mean_in, mean_out)
    return (log_p[target] - np.log((mean_in + mean_out) / 2)).mean(-1)


def naive_rmia(signals, target, columns, ratio_z):
    """Every pair (x, z)."""
    ratio_x = naive_ratios(signals, target, columns)
    return np.array([(ratio > ratio_z).mean() for ratio in ratio_x])


def timed(function, *args):
    start = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - start, result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-models", type=int, default=256)
    parser.add_argument("--num-examples", type=int, default=60_000)
    parser.add_argument("--num-queries", type=int, default=2)
    parser.add_argument("--num-population", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, default=None)
    args = parser.parse_args()
    sizes = args.num_models, args.num_examples, args.num_queries, args.num_population
    signals = make_signals(*sizes)
    columns = np.arange(0, args.num_examples, max(args.num_examples // 500, 1))
    is_population = ~signals.keep.any(axis=0)
    pooled = pooled_variances(signals, target=0)
    scale = args.num_models * args.num_examples / len(columns)
    contests = {
        "lira_online": (
            lira_online(prior_count=PRIOR_COUNT),
            lambda: None,
            lambda _: naive_lira(signals, 0, columns, pooled),
        ),
        "rmia_online": (
            rmia_online(tie_break=False),
            lambda: naive_ratios(signals, 0, np.flatnonzero(is_population)),
            lambda ratio_z: naive_rmia(signals, 0, columns, ratio_z),
        ),
    }
    results = dict(
        sizes=sizes,
        jax=jax.__version__,
        device=str(jax.devices()[0].device_kind),
        machine=f"{platform.machine()}, Python {platform.python_version()}",
    )
    seconds = {name: ([], []) for name in contests}
    for _ in range(args.rounds):
        for name, (attack, per_target, per_example) in contests.items():
            ours, scores = timed(score_targets, attack, signals)
            once, prepared = timed(per_target)
            rival, expected = timed(per_example, prepared)
            seconds[name][0].append(ours)
            seconds[name][1].append(rival * scale + once * args.num_models)
            error = np.abs(scores[0, columns] - expected) / (1 + np.abs(expected))
            results[name] = dict(median_error=float(np.median(error)))
            results[name]["max_error"] = float(error.max())
    for name, (ours, rival) in seconds.items():
        after_compile = ours[1:] or ours
        ours_median = statistics.median(after_compile)
        results[name] |= dict(
            first_seconds=ours[0],
            seconds=after_compile,
            median_seconds=ours_median,
            naive_seconds_scaled=rival,
            times_faster=statistics.median(rival) / ours_median,
            times_faster_with_compile=statistics.median(rival) / ours[0],
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    results["peak_memory_gib"] = peak
    print(json.dumps(results, indent=2))
    if args.out:
        args.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
