import subprocess
import sys

import numpy as np
import pytest

from sam_jax.metrics import attack_metrics
from sam_jax.metrics.estimate import Estimate
from sam_jax.reporting import audit_figures, example_plots


def _estimate(value):
    return Estimate(value, value - 0.01, value + 0.01, 0.005, 30.0, 0.0)


def _band(gain):
    fpr = np.geomspace(1e-3, 1, 9)
    tpr = fpr**gain
    return attack_metrics.RocBand(fpr, tpr, 0.9 * tpr, np.minimum(1, 1.1 * tpr), 1000)


def _texts(figure):
    labels = [t.get_text() for axes in figure.axes for t in axes.texts]
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    labels += [t.get_text() for legend in legends if legend for t in legend.get_texts()]
    return labels


def _all_figures():
    rng = np.random.default_rng(0)
    return {
        "roc": audit_figures.roc_figure({"sgd": _band(0.5), "sam": _band(0.4)}),
        "histogram": audit_figures.histogram_figure(
            {"sgd": (rng.normal(size=50), rng.normal(size=60))}
        ),
        "metric": audit_figures.metric_figure({"sgd": {"AUC": _estimate(0.7)}}),
        "training": audit_figures.training_figure(
            {"sgd": rng.random((3, 5))}, "Loss", "Loss"
        ),
        "shadow": audit_figures.shadow_model_figure(
            [4, 8], {"sgd": [_estimate(0.6), _estimate(0.7)]}
        ),
        "exposure": example_plots.exposure_figure(
            {"sgd": np.array([0.5, np.nan, 2.0])}, {"sgd": np.full(3, 0.1)}
        ),
        "pair": example_plots.pair_figure(rng.random(5), rng.random(5), "sgd", "sam"),
        "images": example_plots.image_strip(
            rng.random((3, 4, 4, 3)), ["a", "b", "c"], "Most"
        ),
    }


@pytest.mark.parametrize("name", sorted(_all_figures()))
def test_every_figure_has_a_title_and_draws(name, tmp_path):
    figure = _all_figures()[name]
    assert figure.get_suptitle()
    figure.savefig(tmp_path / "figure.png", dpi=100)
    if name != "images":
        assert all(axes.get_xlabel() or name == "metric" for axes in figure.axes)


def test_log_roc_starts_at_one_false_positive_and_names_its_curves():
    figure = audit_figures.roc_figure({"sgd": _band(0.5), "sam": _band(0.4)})
    (axes,) = figure.axes
    assert axes.get_xlim()[0] == axes.get_ylim()[0] == 1e-3
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert {"sgd", "sam", "guessing"} <= set(_texts(figure))


def test_a_metric_that_is_not_resolvable_is_written_out():
    missing = Estimate(*[float("nan")] * 6)
    figure = audit_figures.metric_figure({"sgd": {"TPR": missing}})
    assert "not resolvable" in _texts(figure)


def test_histograms_of_members_and_non_members_integrate_to_one():
    rng = np.random.default_rng(1)
    figure = audit_figures.histogram_figure(
        {"a": (rng.normal(size=500), rng.normal(size=300))}
    )
    for patch in figure.axes[0].patches:
        data = patch.get_data()
        np.testing.assert_allclose(np.diff(data.edges) @ data.values, 1)


def test_training_curves_show_the_median_over_models():
    values = np.array([[1.0, 2.0], [3.0, 5.0], [8.0, 9.0]])
    figure = audit_figures.training_figure({"sgd": values}, "Loss", "Loss")
    assert figure.axes[0].lines[0].get_ydata().tolist() == [3.0, 5.0]


def test_labels_of_curves_that_end_together_do_not_overlap():
    curves = {name: np.array([[0.0, 1.0]]) for name in "abc"}
    axes = audit_figures.training_figure(curves, "Loss", "Loss").axes[0]
    heights = sorted(text.xy[1] for text in axes.texts)
    assert min(np.diff(heights)) >= 0.06 * np.ptp(axes.get_ylim())


def test_empty_input_and_missing_captions_are_named():
    with pytest.raises(ValueError, match="bands must hold at least one"):
        audit_figures.roc_figure({})
    with pytest.raises(ValueError, match="one text per image"):
        example_plots.image_strip(np.zeros((2, 4, 4, 1)), ["a"], "Most")


def test_importing_figures_does_not_import_matplotlib():
    code = (
        "import sys, sam_jax.reporting.audit_figures; "
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
