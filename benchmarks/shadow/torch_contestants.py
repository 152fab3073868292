"""Contestants in PyTorch: lean loops with the data in memory, and ``torch.func``."""

import copy

import numpy as np
import torch
import torch._dynamo  # noqa: F401  # the first optimizer would import it, timed
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F

from benchmarks.shadow import torch_networks
from benchmarks.shadow.workloads import Data, Workload


def use_cores(number: int) -> None:
    """Sets the threads of one process."""
    torch.set_num_threads(number)


def sequential(workload: Workload, data: Data, device: str):
    """One model after the other, nothing in the loop but the step."""
    x, y = on_device(workload, data.x, data.y, device)

    def train(number: int) -> nn.Module:
        torch.manual_seed(number)
        network = make_network(workload).to(device)
        optimizer = make_optimizer(workload, network.parameters())
        own = torch.from_numpy(np.flatnonzero(data.keep[number])).to(device)
        for _ in range(workload.num_epochs):
            for batch in epoch_batches(workload, own):
                optimizer.zero_grad()
                F.cross_entropy(network(x[batch]), y[batch]).backward()
                optimizer.step()
        synchronize(device)
        return network

    return train, evaluator(workload, data, device)


def compiled(workload: Workload, data: Data, device: str):
    """As ``sequential``, through ``torch.compile`` in the workload's precision."""
    x, y = on_device(workload, data.x, data.y, device)
    network = make_network(workload).to(device)
    dtype = getattr(torch, workload.precision)

    @torch.compile
    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            return F.cross_entropy(network(x), y)

    def train(number: int) -> nn.Module:
        torch.manual_seed(number)
        # One network with new weights for each model, so that it compiles once.
        network.load_state_dict(make_network(workload).state_dict())
        optimizer = make_optimizer(workload, network.parameters())
        own = torch.from_numpy(np.flatnonzero(data.keep[number])).to(device)
        for _ in range(workload.num_epochs):
            for batch in epoch_batches(workload, own):
                optimizer.zero_grad()
                loss(x[batch], y[batch]).backward()
                optimizer.step()
        synchronize(device)
        return copy.deepcopy(network)

    return train, evaluator(workload, data, device)


def vmapped(workload: Workload, data: Data, device: str):
    """All models at once, as in the tutorial on ensembles of ``torch.func``."""
    x, y = on_device(workload, data.x, data.y, device)
    base = make_network(workload).to("meta")

    def loss(params, buffers, x, y):
        return F.cross_entropy(functional_call(base, (params, buffers), (x,)), y)

    def train(chosen: np.ndarray) -> list[nn.Module]:
        torch.manual_seed(0)
        networks = [make_network(workload).to(device) for _ in chosen]
        params, buffers = stack_module_state(networks)
        params = {name: value.detach() for name, value in params.items()}
        optimizer = make_optimizer(workload, params.values())
        own = [
            torch.from_numpy(np.flatnonzero(data.keep[i])).to(device) for i in chosen
        ]
        for _ in range(workload.num_epochs):
            orders = torch.stack([epoch_batches(workload, o) for o in own], dim=1)
            for batch in orders:
                grads = vmap(grad(loss))(params, buffers, x[batch], y[batch])
                for name, value in params.items():
                    value.grad = grads[name]
                optimizer.step()
        synchronize(device)
        for i, network in enumerate(networks):
            state = {k: v[i] for k, v in (params | buffers).items()}  # noqa: B023
            network.load_state_dict(state)
        return networks

    return train, evaluator(workload, data, device)


def make_network(workload: Workload) -> nn.Module:
    """The network of the workload, initialised as flax does it."""
    if workload.network == "mlp":
        sizes = (*workload.features, *workload.widths)
        layers = []
        for size, width in zip(sizes[:-1], sizes[1:], strict=True):
            layers += [nn.Linear(size, width), nn.ReLU()]
        network = nn.Sequential(*layers, nn.Linear(sizes[-1], workload.num_classes))
    else:
        options = {"widths": workload.widths, "hidden": 128}
        if workload.network in ("resnet18", "fast_cifar"):
            options = {"width": workload.widths[0]}
        network = torch_networks.make(workload.network, workload.features, options)
        network = network.to(memory_format=torch.channels_last)
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            # lecun_normal: variance 1 / fan_in after truncation at 2 deviations.
            std = module.weight[0].numel() ** -0.5 / 0.87962566103423978
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def make_optimizer(workload: Workload, params) -> torch.optim.SGD:
    """SGD with momentum; the fused form is the fastest that PyTorch has."""
    return torch.optim.SGD(params, workload.learning_rate, momentum=0.9, fused=True)


def epoch_batches(workload: Workload, own: torch.Tensor) -> torch.Tensor:
    """A model's own examples in random order [steps, batch]; wraps around."""
    order = own[torch.randperm(len(own), device=own.device)]
    size = workload.steps_per_epoch * workload.batch_size
    if size > len(own):
        order = order.repeat(-(-size // len(own)))
    return order[:size].view(-1, workload.batch_size)


def on_device(workload: Workload, x: np.ndarray, y: np.ndarray, device: str):
    """Inputs and labels as tensors; images channels-last."""
    inputs = torch.from_numpy(x)
    if workload.network != "mlp":
        inputs = inputs.permute(0, 3, 1, 2).to(memory_format=torch.channels_last)
    return inputs.to(device), torch.from_numpy(y).long().to(device)


def evaluator(workload: Workload, data: Data, device: str):
    """``evaluate(network, number) -> (train accuracy, test accuracy)``."""
    pool = on_device(workload, data.x, data.y, device)
    test = on_device(workload, data.x_test, data.y_test, device)

    @torch.no_grad()
    def correct(network, x, y):
        parts = [network(part).argmax(-1) for part in x.split(256)]
        return (torch.cat(parts) == y).cpu().numpy()

    def evaluate(network: nn.Module, number: int) -> tuple[float, float]:
        network = copy.deepcopy(network).eval()
        own = correct(network, *pool)[data.keep[number]]
        return float(own.mean()), float(correct(network, *test).mean())

    return evaluate


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def device_peak_mib() -> float | None:
    """Most memory held on an accelerator so far; None on a CPU."""
    if not torch.cuda.is_initialized():
        return None
    return torch.cuda.max_memory_allocated() / 2**20
