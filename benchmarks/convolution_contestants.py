"""The contestants of ``benchmarks.convolution``: one task in one interpreter.

Reads the settings as JSON, prints seconds for each model and step as JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

NETWORKS = {
    "cnn": ((28, 28, 1), {"widths": (16, 32), "hidden": 128}),
    "resnet18": ((32, 32, 3), {"width": 16}),
    "fast_cifar": ((32, 32, 3), {"width": 16}),
    "smallest": ((8, 8, 3), {"widths": (4,), "hidden": 8}),  # to try the script
}
LAYERS = {
    # image, window, input and output channels
    "28x28, 3x3, 1 to 16": (28, 3, 1, 16),
    "32x32, 3x3, 16 to 16": (32, 3, 16, 16),
    "16x16, 3x3, 32 to 32": (16, 3, 32, 32),
    "8x8, 5x5, 64 to 64": (8, 5, 64, 64),
}


def main(settings: dict[str, Any]) -> dict[str, float]:
    name = settings["contestant"]
    if name == "torch":
        return torch_loop(settings)
    if name == "ours" and settings["device"] == "cpu":
        from sam_jax.training.vmap_models import use_all_cores

        use_all_cores()
    if name == "peak":
        return {"gflops_per_second": peak_rate(settings)}
    return jax_contestant(settings)


def peak_rate(settings: dict[str, Any], size: int = 4096) -> float:
    """GFLOP/s of a product of square matrices in the networks' precision."""
    import jax
    import jax.numpy as jnp

    if settings["device"] == "cpu":
        size //= 2
    from sam_jax.models import compute_dtype

    x = jnp.ones((size, size), compute_dtype(settings["precision"]))
    product = jax.jit(lambda x: x @ x).lower(x).compile()
    seconds = timed(lambda: jax.block_until_ready(product(x)), repeats=5)
    return 2e-9 * size**3 / seconds


def timed(run: Callable[[], Any], repeats: int = 3) -> float:
    """Median seconds of a call, after one that is not timed where there are more."""
    seconds = []
    for _ in range(repeats + (repeats > 1)):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds[-repeats:]))


def make_data(settings: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Batches [steps, B, H, W, C] of noise, and labels [steps, B]."""
    rng = np.random.default_rng(0)
    shape = (settings["num_steps"], settings["batch_size"])
    features = (
        NETWORKS[settings["task"]][0]
        if settings["task"] in NETWORKS
        else (LAYERS[settings["task"]][0],) * 2 + (LAYERS[settings["task"]][2],)
    )
    x = rng.normal(size=(*shape, *features)).astype(np.float32)
    return x, rng.integers(10, size=shape, dtype=np.int32)


def jax_contestant(settings: dict[str, Any]) -> dict[str, float]:
    """One of the contestants in JAX, all of which take the same steps."""
    import jax
    import jax.numpy as jnp

    name, models = settings["contestant"], settings["num_models"]
    needed = gflops(settings)
    if name != "ours":
        use_flax_convolutions()
    init, train = jax_training(settings)
    data = jax.tree.map(jnp.asarray, make_data(settings))
    one = jax.jit(init)(jax.random.key(0), data[0][0, :1])
    many = jax.tree.map(lambda a: jnp.stack([a] * models), one)
    begin = time.perf_counter()
    if name == "loop":
        # A step a call: inside of a scan XLA's convolutions are slower on a CPU.
        batches = [
            jax.tree.map(lambda a: a[i : i + 1], data)  # noqa: B023
            for i in range(settings["num_steps"])
        ]
        program = jax.jit(train).lower(batches[0], one).compile()

        def run():
            for _ in range(models):
                state = one
                for batch in batches:
                    state = program(batch, state)
                jax.block_until_ready(state)
    else:
        lift = {
            "vmap": lambda data, m: jax.vmap(lambda s: train(data, s))(m),
            "lax.map": lambda data, m: jax.lax.map(lambda s: train(data, s), m),
        }.get(name)
        if name == "ours":
            from sam_jax.training.vmap_models import over_models

            lifted = over_models(train)
        else:
            lifted = jax.jit(lift)
        program = lifted.lower(data, many).compile()
        if name == "ours":
            many, data = jax.device_put(
                (many, data),
                (program.input_shardings[0][1], program.input_shardings[0][0]),
            )
        run = lambda: jax.block_until_ready(program(data, many))
    compile_seconds = time.perf_counter() - begin
    slow = name in SLOW_ON_CPU and settings["device"] == "cpu"
    seconds = timed(run, repeats=1 if slow else 3)
    return {
        "seconds": seconds / models / settings["num_steps"],
        "gflops": needed,
        "compiled_gflops": program_gflops(train, data, one),
        "compile_seconds": compile_seconds,
    }


def use_flax_convolutions() -> None:
    """Replaces the library's layers by flax's own, whose parameters are the same."""
    import flax.linen as nn
    import jax.lax

    from sam_jax.models import cnn, fast_cifar, layers, vgg
    from sam_jax.models.ensemble_conv import conv

    def max_pool(x, window_shape=2):
        return nn.max_pool(x, (window_shape,) * 2, (window_shape,) * 2)

    conv.conv = lambda x, kernel, strides=1, padding="SAME": (
        jax.lax.conv_general_dilated(
            x,
            kernel,
            conv._pair(strides),
            padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
    )
    for module in (cnn, fast_cifar, vgg):
        module.max_pool = max_pool
    layers.BatchNorm = nn.BatchNorm
    assert layers.Conv is conv.Conv


def jax_training(settings: dict[str, Any]):
    """``init(key, x) -> state`` and ``train(batches, state) -> state`` of one model."""
    import jax
    import jax.numpy as jnp
    import optax

    from sam_jax import models
    from sam_jax.models.ensemble_conv.conv import Conv
    from sam_jax.training.trainer import cross_entropy

    tx = optax.sgd(0.01, momentum=0.9)
    if settings["task"] in LAYERS:
        _, size, _, features = LAYERS[settings["task"]]
        layer = Conv(features, (size, size), use_bias=False)

        def layer_loss(params, x):
            return jnp.mean(jnp.square(layer.apply(params, x)))

        def layer_step(params, x):
            # Both gradients, as inside a network.
            grads, x_grads = jax.grad(layer_loss, (0, 1))(params, x)
            step = 1e-2 + 1e-6 * jnp.mean(x_grads)
            return jax.tree.map(lambda p, g: p - step * g, params, grads), None

        return layer.init, lambda data, p: steps(layer_step, p, data[0])

    network = "cnn" if settings["task"] == "smallest" else settings["task"]
    dtype = models.compute_dtype(settings["precision"])
    options = NETWORKS[settings["task"]][1]
    model = models.MODELS[network](10, dtype=dtype, **options)

    def init(key, x):
        params, state = model.init(key, x)
        return params, state, tx.init(params)

    def step(carry, batch):
        params, state, opt_state = carry

        def loss(params):
            logits, new = model.apply(params, state, batch[0], True, jax.random.key(0))
            return jnp.mean(cross_entropy(logits, batch[1])), new

        grads, new = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), new, opt_state), None

    return init, lambda data, carry: steps(step, carry, data)


def steps(step: Any, carry: Any, batches: Any) -> Any:
    """The steps on batches in turn; a single one stands outside of any loop."""
    import jax

    if len(jax.tree.leaves(batches)[0]) == 1:
        return step(carry, jax.tree.map(lambda a: a[0], batches))[0]
    return jax.lax.scan(step, carry, batches)[0]


def gflops(settings: dict[str, Any]) -> float:
    """Of a training step's convolutions and products: three times the forward ones."""
    batch, task = settings["batch_size"], settings["task"]
    if task in LAYERS:
        side, size, channels, features = LAYERS[task]
        return 6e-9 * batch * side**2 * size**2 * channels * features
    return 6e-9 * batch * multiply_adds(task)


def multiply_adds(task: str) -> int:
    """Of the forward pass of one example, from the shapes of layers."""
    import jax

    from sam_jax import models

    shape, options = NETWORKS[task]
    model = models.MODELS["cnn" if task == "smallest" else task](10, **options)
    x = jax.ShapeDtypeStruct((1, *shape), "float32")
    params, state = jax.eval_shape(model.init, jax.random.key(0), x)
    lowered = (
        jax.jit(lambda p, s, x: model.apply(p, s, x, False, jax.random.key(0))[0])
        .trace(params, state, x)
        .lower(lowering_platforms=("cuda",))
    )
    text = lowered.compiler_ir("hlo").as_hlo_text()
    return sum(product_sizes(text))


def product_sizes(text: str) -> list[int]:
    """Multiply-adds of every ``dot`` of a program: the output times the contraction."""
    import re

    shapes = dict(re.findall(r"(\S+) = \w+\[([\d,]*)\]", text))
    sizes = lambda name: [int(n) for n in shapes[name].split(",") if n]
    found = []
    pattern = r"(\S+) = \S+ dot\((\S+), \S+\).*lhs_contracting_dims=\{([\d,]+)\}"
    for out, left, axes in re.findall(pattern, text):
        contracted = [sizes(left)[int(axis)] for axis in axes.split(",")]
        found.append(int(np.prod(sizes(out)) * np.prod(contracted)))
    return found


def program_gflops(train: Any, data: Any, state: Any) -> float:
    """What XLA counts for one model's scan, whose body it counts once."""
    import jax

    cost = jax.jit(train).lower(data, state).cost_analysis() or {}
    return 1e-9 * cost.get("flops", float("nan"))


def torch_loop(settings: dict[str, Any]) -> dict[str, float]:
    """PyTorch, one model after the other, channels-last, all cores."""
    import torch
    from torch.nn import functional as F

    from benchmarks.shadow import torch_networks

    device = settings["device"]
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    x, y = make_data(settings)
    x = torch.from_numpy(x).permute(0, 1, 4, 2, 3).to(device)
    y = torch.from_numpy(y).long().to(device)
    batches = [part.to(memory_format=torch.channels_last) for part in x]
    half = device == "cuda" and settings["precision"] != "float32"

    def make():
        if settings["task"] in LAYERS:
            _, size, channels, features = LAYERS[settings["task"]]
            return torch.nn.Conv2d(
                channels, features, size, padding=size // 2, bias=False
            )
        shape, options = NETWORKS[settings["task"]]
        return torch_networks.make(settings["task"], shape, options)

    networks = [
        make().to(device).to(memory_format=torch.channels_last)
        for _ in range(settings["num_models"])
    ]
    optimizers = [
        torch.optim.SGD(n.parameters(), 0.01, momentum=0.9, fused=True)
        for n in networks
    ]

    def loss(network, x, y):
        with torch.autocast(device, torch.bfloat16, enabled=half):
            out = network(x)
        if settings["task"] in LAYERS:
            return out.square().mean()
        return F.cross_entropy(out.float(), y)

    def run():
        for network, optimizer in zip(networks, optimizers, strict=True):
            for x, labels in zip(batches, y, strict=True):
                if settings["task"] in LAYERS:
                    x = x.detach().requires_grad_()
                optimizer.zero_grad()
                loss(network, x, labels).backward()
                optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    seconds = timed(run)
    return {
        "seconds": seconds / settings["num_models"] / settings["num_steps"],
        "gflops": gflops(settings),
        "compiled_gflops": float("nan"),
        "compile_seconds": 0.0,
    }


CONTESTANTS = ("ours", "torch", "loop", "lax.map", "vmap")
SLOW_ON_CPU = ("lax.map", "vmap")


if __name__ == "__main__":
    print(json.dumps(main(json.load(sys.stdin))))
