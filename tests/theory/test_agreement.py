import math

import numpy as np
import pytest
from scipy import stats

from sam_jax.theory import agreement


def cell_at(deviation):
    return agreement.GridCell("", 1.0 + 0.5 * deviation, 1.0, 0.5)


def test_the_deviation_is_in_standard_errors_beyond_the_allowance():
    assert agreement.GridCell("", 3.0, 1.0, 0.5).deviation == 4
    assert agreement.GridCell("", 3.0, 1.0, 0.5, allowance=1.5).deviation == 1
    assert agreement.GridCell("", 1.1, 1.0, 0.5, allowance=0.2).deviation == 0
    assert agreement.GridCell("", math.nan, 1.0, 0.5).deviation == math.inf


def test_the_limit_keeps_the_chance_of_a_false_alarm_over_the_grid():
    for cells in (1, 10, 1000):
        alarm = cells * 2 * stats.norm.sf(agreement.critical_deviation(cells))
        assert alarm == pytest.approx(2 * stats.norm.sf(4))


def test_one_bad_cell_fails_a_claim():
    assert agreement.agrees([cell_at(3.9)])
    assert not agreement.agrees([cell_at(4.1)])
    assert agreement.agrees([cell_at(4.1), cell_at(0.0)])
    assert not agreement.agrees([cell_at(-5.0), cell_at(0.0)])
    assert not agreement.agrees([cell_at(math.nan), cell_at(0.0)])


def test_paired_differences_set_the_standard_error():
    rng = np.random.default_rng(0)
    theory = rng.standard_normal(400)
    samples = theory + 0.1 * rng.standard_normal(400)
    paired = agreement.paired_cell("", samples, theory, 1e-9)
    assert paired.standard_error == pytest.approx(0.1 / 20, rel=0.15)
    alone = agreement.paired_cell("", samples, theory.mean(), 1e-9, 0.5)
    assert alone.standard_error == pytest.approx(1 / 20, rel=0.15)
    assert alone.allowance == abs(theory.mean()) / 2


def test_rates_without_events_have_the_smallest_error():
    cell = agreement.paired_cell("", np.ones(10), 0.999, smallest_error=1e-3)
    assert cell.deviation == pytest.approx(1.0)


def test_the_limit_of_sizes_is_recovered_and_a_wrong_one_rejected():
    rng = np.random.default_rng(0)
    sizes = np.array([25, 50, 100, 200])
    means = 2.0 + 3.0 / sizes
    samples = means[:, None] + 0.2 * rng.standard_normal((4, 400))
    right = agreement.limit_cell("", sizes, samples, 2.0)
    assert agreement.agrees([right])
    assert right.standard_error < 0.03
    assert not agreement.agrees([agreement.limit_cell("", sizes, samples, 2.2)])


def test_bad_samples_are_refused():
    with pytest.raises(ValueError, match="num_samples must be .* >= 2, got 1"):
        agreement.paired_cell("", [1.0], 1.0, 1e-9)
    with pytest.raises(ValueError, match="smallest_error must be finite and > 0"):
        agreement.paired_cell("", [1.0, 2.0], 1.0, 0.0)
    with pytest.raises(ValueError, match="num_sizes must be .* >= 3, got 2"):
        agreement.limit_cell("", [1, 2], np.ones((2, 3)), 1.0)
