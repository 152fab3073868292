import numpy as np
import pytest

from sam_jax.signals import compute, files

RNG = np.random.default_rng(0)
KEEP = RNG.permuted(np.tile(np.arange(6)[:, None] < 3, 20), axis=0)
PHI = RNG.normal(size=(6, 20)).astype(np.float32)
LABELS = np.arange(20) % 3


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "phi.npy", PHI)
    np.save(tmp_path / "keep.npy", KEEP)
    np.save(tmp_path / "labels.npy", LABELS)
    np.savez(tmp_path / "mask.npz", keep=KEEP, labels=LABELS)
    return tmp_path


def test_an_audits_file_holds_its_algorithms_with_their_shared_mask(tmp_path):
    unknown = np.zeros(PHI.shape, np.float32)
    fields = {"entropy": unknown, "modified_entropy": unknown}
    arrays = {
        f"{name}/{field}": array
        for name, phi in (("sgd", PHI), ("sam rho=0.1", PHI + 1))
        for field, array in (
            fields | {"phi": phi[..., None], "correct": phi > 0}
        ).items()
    }
    np.savez(tmp_path / "s.npz", keep=KEEP, labels=LABELS, canaries=[3], **arrays)
    found = files.load_signals([tmp_path / "s.npz"])
    assert list(found.signals) == ["sgd", "sam rho=0.1"]
    np.testing.assert_array_equal(found.signals["sam rho=0.1"].phi[..., 0], PHI + 1)
    np.testing.assert_array_equal(found.signals["sgd"].labels, LABELS)
    np.testing.assert_array_equal(found.canaries, [3])


@pytest.mark.parametrize("mask", ["keep.npy", "mask.npz"])
def test_a_bare_array_takes_mask_and_labels_from_other_files(folder, mask):
    found = files.load_signals(
        [folder / "phi.npy"], folder / mask, folder / "labels.npy"
    )
    own = found.signals["phi"]
    np.testing.assert_array_equal(own.keep, KEEP)
    np.testing.assert_array_equal(own.labels, LABELS)
    np.testing.assert_array_equal(own.phi[..., 0], PHI)
    assert found.canaries.size == 0


def test_bare_logits_are_told_apart_by_name(folder):
    logits = RNG.normal(size=(6, 20, 3))
    np.save(folder / "z.npy", logits)
    (own,) = files.load_signals(
        [folder / "z.npy"], folder / "keep.npy", folder / "labels.npy", "logits"
    ).signals.values()
    expected = compute.signals_from_logits(logits, LABELS, KEEP)
    for ours, theirs in zip(own, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_further_files_are_further_algorithms_with_their_settings(folder):
    loaded = files.load_signals([folder / "phi.npy"], folder / "keep.npy")
    files.save_signals(
        folder / "other.npz", {"other": loaded.signals["phi"]}, settings={"rho": 0.1}
    )
    found = files.load_signals(
        [folder / "phi.npy", folder / "other.npz"], folder / "keep.npy"
    )
    assert list(found.signals) == ["phi", "other"]
    assert found.settings == {"other": {"rho": 0.1}}


def test_each_failure_says_what_to_fix(folder):
    phi, keep = folder / "phi.npy", folder / "keep.npy"
    (folder / "again").mkdir()
    np.save(folder / "again" / "phi.npy", PHI)
    (folder / "text.npy").write_text("phi")
    np.save(folder / "object.npy", np.array([{}], dtype=object))
    np.savez(folder / "empty.npz", x=PHI)
    np.save(folder / "half.npy", np.full(PHI.shape, np.inf, np.float16))
    np.save(folder / "wide.npy", KEEP.T)
    cases = [
        (([phi],), "pass --keep"),
        (([phi, folder / "again" / "phi.npy"], keep), "'phi' twice"),
        (([folder / "none.npy"], keep), "no .*none.npy"),
        (([folder / "text.npy"], keep), "no pickles"),
        (([folder / "object.npy"], keep), "no pickles"),
        (
            ([phi], folder / "empty.npz"),
            r"keep must be an array in .*empty.npz', which holds 'x'",
        ),
        (([folder / "empty.npz"],), "must hold keep"),
        (([folder / "half.npy"], keep), "overflows float16"),
        (([phi], folder / "wide.npy"), "looks transposed"),
        (([], keep), "at least one file"),
        (([phi], keep, None, "softmax"), "signals_are must be one of phi, logits"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            files.load_signals(*arguments)
