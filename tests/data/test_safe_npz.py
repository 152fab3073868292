"""Files that lie about their size, that hold code, and that are damaged anywhere."""

import io
import json
import struct
import time
import tracemalloc
import zipfile

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from sam_jax._checks import ArgumentError
from sam_jax.data import safe_npz

ARRAYS = {
    "x": np.arange(12, dtype=np.float32).reshape(3, 4),
    "keep": np.eye(3, dtype=bool),
    "labels": np.array([2, 0, 1], ">i8"),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "metadata": np.asarray(json.dumps({"rho": 0.1})),
    "scalar": np.asarray(7),
    "empty": np.zeros((0, 3), np.float16),
}


class Bomb:
    """Leaves a file behind if it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def npy(descr="'<f4'", shape="(3,)", data=b"\0" * 12, version=(1, 0), order="False"):
    """An .npy file of any header."""
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(header))
    return b"\x93NUMPY" + bytes(version) + length + header.encode("latin1") + data


def archive(**members):
    """A zip of raw members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        for name, data in members.items():
            target.writestr(f"{name}.npy", data)
    return file.getvalue()


def patched(data, offset_in_entry, value):
    """An archive with two bytes of its one directory entry changed."""
    start = data.index(b"PK\x01\x02") + offset_in_entry
    return data[:start] + struct.pack("<H", value) + data[start + 2 :]


def saved(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


WHOLE = saved(**ARRAYS)
PACKED = saved(np.savez_compressed, **ARRAYS)


@pytest.mark.parametrize("data", [WHOLE, PACKED], ids=["stored", "compressed"])
def test_arrays_are_those_that_numpy_reads(data, tmp_path):
    (tmp_path / "a.npz").write_bytes(data)
    arrays = safe_npz.read_npz(tmp_path / "a.npz")
    assert list(arrays) == list(ARRAYS)
    for name, expected in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], expected)
        assert arrays[name].dtype == expected.dtype
        np.save(tmp_path / "a.npy", expected)
        np.testing.assert_array_equal(safe_npz.read_npy(tmp_path / "a.npy"), expected)


def test_constants_may_compress_as_well_as_they_do(tmp_path):
    unknown = np.full((64, 10_000), np.nan, np.float32)
    np.savez_compressed(tmp_path / "a.npz", entropy=unknown)
    assert (tmp_path / "a.npz").stat().st_size < unknown.nbytes / 500
    arrays = safe_npz.read_npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(arrays["entropy"], unknown)


def bomb():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for k in range(4):
            with target.open(f"{k}.npy", "w") as member:
                member.write(npy("'|u1'", f"({2**27},)", b""))
                for _ in range(2**7):
                    member.write(bytes(2**20))
    return file.getvalue()


BROKEN = {
    "text": (b"phi", "not a zip"),
    "nothing": (b"", "not a zip"),
    "npy": (npy(), "is an .npy file of one array"),
    "other_file": (
        saved(x=ARRAYS["x"]).replace(b"x.npy", b"x.txt"),
        "'x.txt' in it is no array",
    ),
    "twice": (saved(x=ARRAYS["x"], y=ARRAYS["x"]).replace(b"y.npy", b"x.npy"), "twice"),
    "encrypted": (patched(archive(x=npy()), 8, 1), "encrypted"),
    "lzma": (patched(archive(x=npy()), 10, 14), "compressed by method 14"),
    "unknown_method": (patched(archive(x=npy()), 10, 99), "compressed by method 99"),
    "cut": (WHOLE[: len(WHOLE) // 2], "not a zip"),
    "flipped": (WHOLE.replace(ARRAYS["x"].tobytes(), bytes(48)), "Bad CRC"),
    "claim_8e9": (archive(x=npy(shape="(8000000000,)")), "claims 8,000,000,000 ent"),
    "claim_8e12": (archive(x=npy(shape="(2000000, 4000000)")), "claims 8,000,000,000"),
    "claim_wide": (archive(x=npy("'<U500000000'", "()")), "claims 1 entries of <U5"),
    "too_short": (archive(x=npy(data=b"\0" * 11)), "11 bytes are there"),
    "too_long": (archive(x=npy(data=b"\0" * 13)), "13 bytes are there"),
    "negative": (archive(x=npy(shape="(-3, -1)")), r"claims the shape \(-3, -1\)"),
    "deep": (archive(x=npy(shape="(" * 3000)), "'x.npy' in it"),
    "long_header": (archive(x=npy(shape="(3," + " " * 20_000 + ")")), "'x.npy' in it"),
    "record": (archive(x=npy("[('a', '<f4')]")), "dtype"),
    "zero_size": (archive(x=npy("'|S0'", "(8000000000,)", b"")), "dtype"),
    "version": (archive(x=npy(version=(9, 0))), "format"),
    "dates": (saved(x=np.array(["2020-01-01"], "M8[D]")), "datetime64"),
    "bomb": (bomb(), "unpacks to 536,871,"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_at_once_in_one_line_without_memory(name, tmp_path):
    data, message = BROKEN[name]
    path = tmp_path / "broken.npz"
    path.write_bytes(data)
    start = time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(ArgumentError, match=message) as caught:
            safe_npz.read_npz(path, argument="signals")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert text.startswith("signals must be") and "broken.npz" in text
    assert "\n" not in text
    assert time.perf_counter() - start < 2 and peak < 2**25


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_pickles_are_refused_unopened(kind, tmp_path):
    made = tmp_path / "executed"
    array = np.array([Bomb(made)], dtype=object)
    path = tmp_path / f"a.{kind}"
    if kind == "npz":
        np.savez(path, x=array)
    else:
        np.save(path, array)
    read = {"npz": safe_npz.read_npz, "npy": safe_npz.read_npy}[kind]
    with pytest.raises(ArgumentError, match="Python objects"):
        read(path)
    assert not made.exists()


def test_an_npy_file_is_held_to_the_same_rules(tmp_path):
    path = tmp_path / "a.npy"
    cases = [
        (npy(shape="(8000000000000,)"), "claims 8,000,000,000,000 entries"),
        (b"phi", "magic"),
        (b"", "is not"),
        (npy()[:9], "is not"),
        (WHOLE, "is an .npz archive"),
    ]
    for data, message in cases:
        path.write_bytes(data)
        with pytest.raises(ArgumentError, match=message):
            safe_npz.read_npy(path)
    with pytest.raises(ArgumentError, match="no '.*none.npy'"):
        safe_npz.read_npy(tmp_path / "none.npy")
    with pytest.raises(ArgumentError, match="mask must name a file"):
        safe_npz.read_npz(tmp_path, argument="mask")


@st.composite
def damaged(draw):
    """A sound file with bytes changed, cut out, doubled, or its end cut off."""
    data = bytearray(draw(st.sampled_from([WHOLE, PACKED])))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.sampled_from(["flip", "set", "cut", "double", "end"])):
            case "flip":
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "set":
                data[at] = draw(st.sampled_from([0, 1, 255, 0x28, 0x50]))
            case "cut":
                del data[at : at + draw(st.integers(1, 64))]
            case "double":
                data[at:at] = data[at : at + draw(st.integers(1, 64))]
            case "end":
                del data[at:]
        if not data:
            break
    return bytes(data)


@hypothesis.settings(max_examples=400, deadline=2000)
@hypothesis.given(data=damaged())
def test_damage_is_refused_or_leaves_every_array_as_it_was(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(data)
    try:
        arrays = safe_npz.read_npz(path)
    except ArgumentError as error:
        assert "damaged.npz" in str(error) and "\n" not in str(error)
        return
    # Damage to a name or to a time stamp is no damage to an array.
    wanted = list(ARRAYS.values())
    for array in arrays.values():
        assert any(
            array.dtype == other.dtype and np.array_equal(array, other)
            for other in wanted
        )
