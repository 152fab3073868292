"""10,000 training sets of n = 100, d = 400: trained by descent, attacked, and checked.

Command: python -m benchmarks.theory

Each set is drawn, descended to interpolation from zero at every eta and attacked on
sampled members and non-members (``sam_jax.theory.simulation.simulate``). Seconds
include the compilation. The mean variance is shown beside its high-dimensional
equivalent, so that the time is that of a right answer.
"""

import argparse
import os
import platform
import time

import jax
import numpy as np

from sam_jax import theory
from sam_jax.theory import sampling, simulation

SPECTRA = {"isotropic": theory.isotropic, "power law": theory.power_law}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-sets", type=int, default=10_000)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--d", type=int, default=400)
    parser.add_argument("--etas", type=float, nargs="+", default=[1.0])
    args = parser.parse_args()
    etas = np.array(args.etas)
    print(
        f"{args.num_sets:,} training sets, n = {args.n}, d = {args.d}, "
        f"eta = {args.etas}; {os.cpu_count()} cores, {platform.machine()}, "
        f"jax {jax.__version__}\n"
    )
    print("| spectrum | seconds | sets a second | largest residual |", end="")
    print(" variance, simulation | equivalent |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, make in SPECTRA.items():
        population = make(args.d)
        problem = sampling.random_labels(population)
        counts = sampling.group_counts(population, args.n)
        keys = jax.random.split(jax.random.key(0), args.num_sets)
        start = time.perf_counter()
        outcome = simulation.simulate(keys, problem, counts, etas)
        seconds = time.perf_counter() - start
        samples = outcome.expected_variance[:, -1, 0]
        error = samples.std(ddof=1) / np.sqrt(len(samples))
        equivalent = theory.deterministic_equivalent(
            population, args.n, float(etas[-1]), noise=1.0
        ).variance
        print(
            f"| {name} | {seconds:.1f} | "
            f"{args.num_sets / seconds:.0f} | {outcome.residual.max():.1e} | "
            f"{samples.mean():.4f} ± {1.96 * error:.4f} | {equivalent:.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
