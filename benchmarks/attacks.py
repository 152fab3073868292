"""LiRA and RMIA on every target: ours against the naive loops.

    python -m benchmarks.attacks

Signals: 256 models x 60,000 examples x 2 queries, and 10,000 population points, made
from Gaussians; every model is a target. The rivals are a SciPy loop over targets and
examples (LiRA), the same vectorised over the examples of a target in NumPy, and the
pairwise comparison of every example with every population point (RMIA, vectorised in
NumPy). They would take up to hours: the loop and the pairs are timed on 500 examples of
one target, the vectorised form on all examples of one target, and scaled to all by
proportion (RMIA's ratios of the population, needed once a target, by the number of
targets; LiRA's pooled variances are given to it for nothing). Scores are compared where
both exist. Contestants alternate; compile time is in our first round and told apart.
Prints a Markdown table and writes JSON; about a minute on 2 CPU cores, 1.3 GiB.
"""

import argparse
import json
import pathlib
import resource
import statistics
import time

import jax
import numpy as np
from scipy import stats

from benchmarks.machine import in_words, machine
from sam_jax.attacks import lira_online, rmia_online, score_targets
from sam_jax.types import Signals

PRIOR_COUNT = 4.0
LIRA = lira_online(prior_count=PRIOR_COUNT)
RMIA = rmia_online(tie_break=False)


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


def vectorised_lira(signals, target, pooled):
    """The loop over targets alone: all examples of one at once, in NumPy."""
    keep = np.delete(signals.keep, target, 0)[..., None]
    phi = np.delete(signals.phi, target, 0)
    log_density = []
    for group, variance in zip((keep, ~keep), pooled, strict=True):
        count = group.sum(0)
        mean = np.sum(phi, axis=0, where=group) / np.maximum(count, 1)
        scatter = np.sum(np.square(phi - mean), axis=0, where=group)
        spread = PRIOR_COUNT * variance + scatter
        sigma = np.sqrt(spread / (PRIOR_COUNT + np.maximum(count - 1, 0)))
        log_density.append(stats.norm.logpdf(signals.phi[target], mean, sigma).mean(1))
    return log_density[0] - log_density[1]


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
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=pathlib.Path("benchmarks/results/attacks.json"),
    )
    args = parser.parse_args()
    sizes = args.num_models, args.num_examples, args.num_queries, args.num_population
    signals = make_signals(*sizes)
    columns = np.arange(0, args.num_examples, max(args.num_examples // 500, 1))
    pooled = pooled_variances(signals, target=0)
    loop, whole = f"SciPy loop, {len(columns)} examples", "NumPy, all of a target"
    seconds = {name: {} for name in ("lira_online", "rmia_online")}
    errors = {}
    for _ in range(args.rounds):
        ours, scores = timed(score_targets, LIRA, signals)
        rival, expected = timed(naive_lira, signals, 0, columns, pooled)
        vectorised, _ = timed(vectorised_lira, signals, 0, pooled)
        per_example = args.num_models * args.num_examples / len(columns)
        record(seconds["lira_online"], "ours", ours)
        record(seconds["lira_online"], loop, rival * per_example)
        record(seconds["lira_online"], whole, vectorised * args.num_models)
        errors["lira_online"] = relative_error(scores[0, columns], expected)
        ours, scores = timed(score_targets, RMIA, signals)
        population = np.flatnonzero(~signals.keep.any(axis=0))
        once, ratio_z = timed(naive_ratios, signals, 0, population)
        rival, expected = timed(naive_rmia, signals, 0, columns, ratio_z)
        pairs = rival * per_example + once * args.num_models
        record(seconds["rmia_online"], "ours", ours)
        record(seconds["rmia_online"], f"pairwise, {len(columns)} examples", pairs)
        errors["rmia_online"] = relative_error(scores[0, columns], expected)
    result = {
        "sizes": sizes,
        "machine": machine(jax.devices()[0].device_kind),
        "seconds": seconds,
        "relative_error": errors,
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    print_table(result)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\nWritten to {args.output}")


def record(rivals, name, value):
    rivals.setdefault(name, []).append(value)


def relative_error(ours, expected):
    """Median and greatest error; a pair within float32 of a tie may fall either way."""
    error = np.abs(ours - expected) / (1 + np.abs(expected))
    return {"median": float(np.median(error)), "max": float(error.max())}


def print_table(result):
    num_models, num_examples, num_queries, num_population = result["sizes"]
    print(in_words(result["machine"]))
    print(
        f"{num_models} models and targets x {num_examples:,} examples x {num_queries} "
        f"queries, {num_population:,} population points\n"
    )
    print("| attack | form | seconds, all targets | times ours | first call |")
    print("| --- | --- | --- | --- | --- |")
    for attack, rivals in result["seconds"].items():
        ours = statistics.median(rivals["ours"][1:] or rivals["ours"])
        for name, values in rivals.items():
            if name == "ours":
                cells = [f"{ours:.1f}", "1", f"{values[0]:.1f} s with compilation"]
            else:
                median = statistics.median(values)
                cells = [f"{median:,.0f} (scaled)", f"{median / ours:.0f}", ""]
            print(f"| {attack} | {name} | {' | '.join(cells)} |")
    print(f"\nPeak memory {result['peak_memory_gib']:.2f} GiB, rivals included.")
    for attack, error in result["relative_error"].items():
        print(f"{attack}: error median {error['median']:.1e}, max {error['max']:.1e}")


if __name__ == "__main__":
    main()
