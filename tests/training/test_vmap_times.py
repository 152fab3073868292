import json
import multiprocessing

import jax
import jax.numpy as jnp
import pytest

from sam_jax.training import vmap_times
from sam_jax.training.vmap_times import VmapTimes, candidate_widths, time_widths


class Device:
    """A clock, and a device on which every candidate costs what it is told."""

    def __init__(self, steps, cost=1.0, most=1000):
        self.now, self.steps, self.cost, self.most = 100.0, steps, cost, most
        self.tried = []

    def time_width(self, width):
        self.tried.append(width)
        self.now += self.cost
        return self.steps[width] if width <= self.most else None

    def choose(self, widths, budget, each=1.0):
        return time_widths(
            widths, self.time_width, budget=budget, each=each, clock=lambda: self.now
        )


STEPS = {1: 0.020, 2: 0.014, 4: 0.010, 8: 0.011}


def test_the_fastest_width_is_kept_and_named_beside_one_after_the_other():
    times = Device(STEPS).choose([1, 2, 4, 8], budget=100.0)
    assert times.seconds == STEPS and times.fastest == 4
    assert str(times) == "4 models under one vmap: 2 times one after the other"


@pytest.mark.parametrize("budget", [0.0, 2.9, 3.0, 4.9, 5.0, 5.5, 100.0])
@pytest.mark.parametrize("cost", [0.3, 1.0, 1.6])
def test_no_more_than_the_budget_is_spent_with_the_program_of_the_fastest(budget, cost):
    """As long as no candidate takes longer than expected before it."""
    device = Device(STEPS, cost)
    times = device.choose([1, 2, 4, 8], budget, each=cost)
    spent = device.now - 100 + cost
    assert spent <= budget + 1e-9 or not device.tried
    assert (times is None) == (budget < 3 * cost)
    if times is not None:
        assert device.tried == [1, 2, 4, 8][: int(budget / cost + 1e-9) - 1]


def test_a_slow_candidate_counts_for_the_next():
    device = Device(STEPS, cost=6.0)
    assert device.choose([1, 2, 4, 8], budget=20.0).fastest == 2
    assert device.tried == [1, 2]


def test_what_does_not_fit_is_left_out_and_so_is_what_is_wider():
    device = Device(STEPS, most=2)
    assert device.choose([2, 1, 4, 8], budget=100.0).seconds.keys() == {1, 2}
    assert device.tried == [2, 1, 4]


def test_candidates_divide_the_models_and_begin_with_the_default():
    for models in (1, 2, 6, 13, 48, 256):
        for default in (1, models):
            widths = candidate_widths(models, default)
            assert widths[0] == default and {1, models} <= set(widths)
            assert all(models % w == 0 for w in widths)
    assert sorted(candidate_widths(256, 1)) == [2**k for k in range(9)]
    assert Device(STEPS).choose(candidate_widths(1, 1), budget=100.0) is None


def test_times_are_read_as_they_were_written_and_not_where_nothing_is_kept(
    cache_folder,
):
    device, times = jax.devices()[0], VmapTimes(STEPS)
    assert vmap_times.read_times("a") is None
    vmap_times.write_times("a", times, device)
    assert vmap_times.read_times("a") == times
    (path,) = (cache_folder / "models_per_vmap").iterdir()
    assert json.loads(path.read_text())["device"] == device.device_kind
    jax.config.update("jax_compilation_cache_dir", None)
    vmap_times.write_times("b", times, device)
    assert vmap_times.read_times("a") is None
    assert [p.name for p in cache_folder.rglob("*.json")] == ["a.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"seconds": 3}',
        '{"seconds": {"1": 1.0}}',
        '{"seconds": {"1": 1.0, "x": 2.0}}',
        '{"seconds": {"1": NaN, "2": 1.0}}',
        '{"seconds": {"0": 1.0, "2": 1.0}}',
        '{"seconds": {"1": 1.0, "2": "fast"}}',
        '{"seconds": {"1": -1.0, "2": 1.0}}',
        "\udcff",
    ],
    ids=range(12),
)
def test_a_damaged_file_is_no_file(cache_folder, text):
    path = cache_folder / "models_per_vmap" / "a.json"
    path.parent.mkdir()
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert vmap_times.read_times("a") is None
    vmap_times.write_times("a", VmapTimes(STEPS), jax.devices()[0])
    assert vmap_times.read_times("a") == VmapTimes(STEPS)


def test_a_folder_that_cannot_be_written_is_no_error(cache_folder):
    (cache_folder / "models_per_vmap").write_text("a file")
    vmap_times.write_times("a", VmapTimes(STEPS), jax.devices()[0])
    assert vmap_times.read_times("a") is None


def write_often(cache_folder, width):
    jax.config.update("jax_compilation_cache_dir", cache_folder)
    for _ in range(50):
        times = VmapTimes({1: 1.0, width: 0.5})
        vmap_times.write_times("a", times, jax.devices()[0])


@pytest.mark.slow
def test_two_processes_that_write_leave_one_whole_file(cache_folder):
    context = multiprocessing.get_context("spawn")
    both = [
        context.Process(target=write_often, args=(str(cache_folder), w)) for w in (2, 4)
    ]
    for process in both:
        process.start()
    seen = set()
    while any(process.is_alive() for process in both):
        if (cache_folder / "models_per_vmap" / "a.json").exists():
            seen.add(vmap_times.read_times("a").fastest)
    assert [process.exitcode for process in both] == [0, 0]
    assert seen <= {2, 4} and vmap_times.read_times("a").fastest in (2, 4)


def test_the_key_is_that_of_the_program_without_its_constants():
    def key(rate, size=3, fn=jnp.sin):
        shape = jax.ShapeDtypeStruct((size,), jnp.float32)
        lowered = jax.jit(lambda x: rate * fn(x)).lower(shape)
        return vmap_times.times_key(lowered, jax.devices()[0])

    assert key(0.5) == key(0.25)
    assert len({key(0.5), key(0.5, size=4), key(0.5, fn=jnp.cos)}) == 3
