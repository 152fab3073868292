"""The most that any training could gain on a PyTorch process, from its products alone.

python -m benchmarks.cpu_limit

On one core, for each workload of ``benchmarks.shadow_training``: a training step of the
lean PyTorch loop, and only the matrix products and convolutions that the step needs
(forward and both gradients, none for the images), in PyTorch's kernels (MKL, oneDNN) on
data that lies in the cache if it fits there. Their ratio is how many times as fast a
step could be that does everything else in no time with the same products. CPU seconds,
the least of many short runs in turn, as others may use the machine.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.machine import in_words, machine
from benchmarks.shadow import torch_contestants
from benchmarks.shadow.workloads import WORKLOADS, make_examples

NAMES = ("mlp-128", "mlp-256-128", "small-cnn", "resnet18-16")


def main(rounds: int) -> None:
    """Prints a row for each workload."""
    torch.set_num_threads(1)
    print(f"one core; {in_words(machine('cpu'))}\n")
    heads = ("workload", "step, ms", "products, ms", "their GFLOP/s", "step / products")
    print(f"| {' | '.join(heads)} |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in NAMES:
        step, run_products, operations = make_runs(name)
        whole, alone = shortest([step, run_products], rounds)
        rate = 1e-9 * operations / alone
        print(
            f"| {name} | {1e3 * whole:.3f} | {1e3 * alone:.3f} | {rate:.0f} | "
            f"{whole / alone:.2f} |",
            flush=True,
        )


def make_runs(name: str) -> tuple[Callable[[], None], Callable[[], None], int]:
    """Returns a step, its products alone, and their operations."""
    workload = WORKLOADS[name]
    network = torch_contestants.make_network(workload)
    data = make_examples(workload, workload.batch_size, seed=1)
    x, y = torch_contestants.on_device(workload, *data, "cpu")
    optimizer = torch_contestants.make_optimizer(workload, network.parameters())

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()

    return step, *products(network, x)


def products(network: nn.Module, x: torch.Tensor) -> tuple[Callable[[], None], int]:
    """Returns what runs a step's products alone, and its operations."""
    layers: list[tuple[Any, torch.Tensor, torch.Tensor]] = []
    hooks = [
        module.register_forward_hook(
            lambda layer, inputs, out: layers.append(
                (layer, inputs[0].detach(), torch.randn_like(out))
            )
        )
        for module in network.modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    network(x)
    for hook in hooks:
        hook.remove()
    operations = 0
    for number, (layer, _, g) in enumerate(layers):
        # Each output element is one product with a row of weights; three times, or
        # twice where the images need no gradient.
        row = layer.weight[0].numel()
        operations += 2 * g.numel() * row * (3 if number else 2)

    def run() -> None:
        with torch.no_grad():
            for number, (layer, seen, g) in enumerate(layers):
                if isinstance(layer, nn.Linear):
                    torch.mm(seen, layer.weight.t())
                    torch.mm(g.t(), seen)
                    if number:
                        torch.mm(g, layer.weight)
                    continue
                settings = (layer.stride, layer.padding, layer.dilation)
                F.conv2d(seen, layer.weight, None, *settings)
                torch.ops.aten.convolution_backward(
                    *(g, seen, layer.weight, None, *settings, False, [0, 0], 1),
                    [number > 0, True, False],
                )

    return run, operations


def shortest(runs: list[Callable[[], None]], rounds: int) -> list[float]:
    """Returns the least CPU seconds of each, the runs in turn."""
    seconds = np.full((rounds, len(runs)), np.inf)
    for row in seconds:
        for column, run in enumerate(runs):
            begin = time.process_time()
            run()
            row[column] = time.process_time() - begin
    return [float(s) for s in seconds.min(axis=0)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    main(**vars(parser.parse_args()))
