"""Files of any arrays at all: read, or refused by name, and nothing else."""

import warnings

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np

from sam_jax._checks import ArgumentError
from sam_jax.signals import load_signals
from sam_jax.signals.conversions import OUTPUTS
from tests.signals.made_outputs import balanced_keep

RNG = np.random.default_rng(0)
SOUND = {
    "phi": RNG.normal(1, 2, (4, 6)).astype("f4"),
    "keep": balanced_keep(RNG, 4, 6),
    "labels": np.arange(6) % 2,
}
DTYPES = st.sampled_from(
    "f2 f4 f8 >f4 c8 ?1 i1 >i4 i8 u1 u8 U3 S2".replace("?1", "?").split()
)
SHAPES = st.sampled_from(
    [(), (0,), (4,), (6,), (4, 6), (6, 4), (4, 0), (4, 6, 1), (4, 6, 2), (4, 6, 0)]
    + [(4, 6, 2, 3), (1, 6), (4, 1), (2, 3, 1, 1, 1)]
)
NAMES = (*OUTPUTS, "keep", "labels", "correct", "entropy", "modified_entropy")
OTHERS = ("canaries", "metadata", "sgd/phi", "sgd/keep", "a$b/phi", "/phi", "x")


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(data=st.data())
def test_any_arrays_are_read_or_refused_by_name(data, tmp_path_factory):
    arrays = dict(SOUND)
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(NAMES + OTHERS))
        if name in arrays and data.draw(st.booleans()):
            del arrays[name]
            continue
        dtype, shape = data.draw(DTYPES), data.draw(SHAPES)
        arrays[name] = data.draw(hnp.arrays(np.dtype(dtype), shape))
    path = tmp_path_factory.getbasetemp() / "any.npz"
    np.savez(path, **arrays)
    signals_are = data.draw(st.sampled_from([None, *OUTPUTS]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            loaded = load_signals([path], signals_are=signals_are)
        except ArgumentError as error:
            assert "\n" not in str(error) and len(str(error)) < 800
            return
    for signals in loaded.signals.values():
        assert signals.phi.ndim == 3 and signals.phi.size
        assert not np.isnan(signals.phi).any()
        assert signals.keep.shape == signals.phi.shape[:2] == signals.correct.shape
        assert signals.keep.dtype == signals.correct.dtype == bool
