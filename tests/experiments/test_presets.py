"""The presets of every question: names, and paper scale compiled at full size."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common import presets
from experiments.common.cells import Perturbation, make_task
from experiments.common.cost import INPUTS
from sam_jax.training.compiled_training import epoch_shapes, tree_bytes
from sam_jax.training.lifted_training import lift_training
from sam_jax.types import Examples

QUESTIONS = {
    "where_it_begins": presets.SCALES,
    "sam_variants": presets.VARIANTS,
    "mitigations": presets.MITIGATIONS,
}
DESIGNS = [scales["paper"] for scales in QUESTIONS.values()]
PAPER_CELLS = {cell.name: cell for design in DESIGNS for cell, _ in design}


def paper_programs():
    """Cell and method of each training that compiles to a program of another form."""
    programs = {}
    for design in DESIGNS:
        for cell, perturbations in design:
            change = "" if cell.mitigation == "temperature" else cell.mitigation
            if change in ("", "none"):
                change = "plain"
            for method in {p.method for p in perturbations}:
                # SAM's program holds SGD's loss, augmentation and average too.
                if method == "sgd" and change not in ("plain", "dp"):
                    continue
                name = f"{cell.dataset} {cell.network} {method} {change}"
                programs.setdefault(name, (cell, method))
    return programs


PAPER = paper_programs()


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_has_every_scale_and_names_tell_its_cells_apart(question):
    assert set(QUESTIONS[question]) == {"laptop", "gpu", "paper"}
    for preset in QUESTIONS[question].values():
        names = [cell.name for cell, _ in preset]
        assert len(set(names)) == len(names)
        for cell, perturbations in preset:
            assert perturbations[0] == Perturbation()
            assert cell.dataset in INPUTS


def test_the_paper_scale_has_256_models_and_the_whole_pool():
    pools = {"purchase100": 157_859, "texas100": 53_864, "eyepacs": 35_126}
    assert pools.keys() <= {cell.dataset for cell in PAPER_CELLS.values()}
    for cell in PAPER_CELLS.values():
        pool_size = pools.get(cell.dataset, 50_000)
        assert (cell.num_models, cell.pool_size) == (256, pool_size)


@functools.lru_cache(maxsize=2)
def _lifted(cell, method, num_classes):
    return lift_training(make_task(cell, method, num_classes)[0], _one_device())


def _one_device():
    return (jax.local_devices()[0],)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER)
def test_a_paper_scale_epoch_compiles_at_full_size(name, record_property):
    cell, method = PAPER[name]
    shape, num_classes = INPUTS[cell.dataset]
    pool = Examples(
        jax.ShapeDtypeStruct((cell.pool_size, *shape), jnp.float32),
        jax.ShapeDtypeStruct((cell.pool_size,), jnp.int32),
    )
    with jax.numpy_dtype_promotion("standard"):
        lifted = _lifted(cell, method, num_classes)
        shapes = epoch_shapes(lifted, {"rho": 0.05}, pool, 1, _one_device())
        program = lifted.epoch.lower(*shapes).compile()
    memory = program.memory_analysis()
    images = cell.pool_size * np.prod(shape) * 4
    weights = tree_bytes(shapes[4].params)
    # The pool is held once; the program needs the state of a model beside it.
    assert memory.argument_size_in_bytes >= images + weights
    assert memory.temp_size_in_bytes > 0
    total = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    record_property("gibibytes", round(total / 2**30, 2))
    # One model at a time fits on a GPU of 80 GiB.
    assert total < 80 * 2**30


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sgd", "sam"])
def test_the_first_step_of_the_papers_network_runs_at_full_width(method):
    cell = presets._PAPER
    rng = np.random.default_rng(0)
    x = rng.random((256, 32, 32, 3), np.float32)
    pool = Examples(jnp.asarray(x), jnp.asarray(rng.integers(0, 10, 256, np.int32)))
    with jax.numpy_dtype_promotion("standard"):
        small = dataclasses.replace(cell, pool_size=256)
        lifted = _lifted(small, method, 10)
        models, rho = jnp.arange(1, dtype=jnp.int32), jnp.full(1, 0.05)
        key = jax.random.key(0)
        keep = jnp.arange(256)[None] < 128
        variables = lifted.init((key, pool.x[:1]), models)
        state = lifted.init_optimizer((), models, {"rho": rho}, variables)
        shared = pool, key, jnp.zeros((), jnp.int32)
        state, loss, _ = lifted.epoch(shared, models, {"rho": rho}, keep, state)
    assert np.isfinite(loss).all()
    assert 1 < float(loss[0]) < 10
