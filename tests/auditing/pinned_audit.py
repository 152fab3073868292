"""The tiny audit whose figures are pinned, and the program that pinned them.

Run at commit d036dfb, before the library was split into rooms and ``audit`` took its
settings as a ``TrainConfig`` and an ``AttackConfig``:

    git worktree add ../before d036dfb
    PYTHONPATH=../before python tests/auditing/pinned_audit.py
"""

import json
import pathlib

import numpy as np

NUM_CLASSES, HIDDEN, NUM_MODELS, SEED = 4, (16,), 4, 3
NUM_EPOCHS, BATCH_SIZE, LEARNING_RATE, RHO = 6, 8, 0.1, 0.5
ATTACKS = ("loss", "modified_entropy")
PINNED = pathlib.Path(__file__).with_name("pinned_figures.json")


def make_arrays():
    """Classes with clear centres, a fifth of the labels drawn at random."""
    rng = np.random.default_rng(7)
    y = rng.integers(0, NUM_CLASSES, 160).astype(np.int32)
    centres = rng.normal(size=(NUM_CLASSES, 12))
    x = (centres[y] + rng.normal(size=(160, 12))).astype(np.float32)
    noisy = rng.random(160) < 0.2
    y[noisy] = rng.integers(0, NUM_CLASSES, noisy.sum())
    return x[:120], y[:120], x[120:], y[120:]


def main():
    import jax
    import optax

    jax.config.update("jax_num_cpu_devices", 2)  # as the tests' conftest.py does
    import sam_jax
    from sam_jax import attacks, models

    model, sgd = models.mlp(NUM_CLASSES, hidden=HIDDEN), optax.sgd(LEARNING_RATE)
    result = sam_jax.audit(
        model.init,
        model.apply,
        {"sgd": sgd, "sam": sam_jax.sam(sgd, rho=RHO)},
        make_arrays(),
        num_models=NUM_MODELS,
        config=sam_jax.TrainConfig(num_epochs=NUM_EPOCHS, batch_size=BATCH_SIZE),
        attacks={name: attacks.ATTACKS[name] for name in ATTACKS},
        fprs=(0.05,),
        seed=SEED,
        progress=False,
    )
    figures = {
        name: {
            "accuracy": [estimate.value for estimate in result.accuracy[name]],
            **{
                attack: {metric: e.value for metric, e in metrics.pooled.items()}
                for attack, metrics in result.metrics[name].items()
            },
        }
        for name in result.metrics
    }
    command = "PYTHONPATH=../before python tests/auditing/pinned_audit.py"
    pinned = {"commit": "d036dfb", "command": command, "figures": figures}
    PINNED.write_text(json.dumps(pinned, indent=2) + "\n")


if __name__ == "__main__":
    main()
