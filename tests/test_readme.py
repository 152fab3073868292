"""The code that README.md and pages of docs show, run as it stands.

A ``python`` block runs if the line before it is ``<!-- test -->``; with ``<!-- test:
continue -->`` it goes on from the block before.
"""

import pathlib
import re

import jax
import pytest

ROOT = pathlib.Path(__file__).parent.parent
BLOCK = re.compile(r"<!-- test(: continue)? -->\n```python\n(.*?)```", re.DOTALL)


def programs(path):
    """Runnable programs of a page: lists of blocks, each ``(line, code)``."""
    text, found = path.read_text(), []
    for match in BLOCK.finditer(text):
        block = (text.count("\n", 0, match.start(2)), match.group(2))
        if match.group(1):
            found[-1].append(block)
        else:
            found.append([block])
    return found


PROGRAMS = [
    pytest.param(path, blocks, id=f"{path.name}:{blocks[0][0]}")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for blocks in programs(path)
]


def run(path, blocks):
    names = {}
    # Users run with JAX's defaults, not with the strict settings of these tests.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        for line, code in blocks:
            exec(compile("\n" * line + code, str(path), "exec"), names)
    return names


@pytest.mark.parametrize(("path", "blocks"), PROGRAMS)
def test_the_code_shown_runs_and_trains(path, blocks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run(path, blocks)
    if "loss" in names:
        assert names["loss"] < 0.4  # log(2) = 0.69 at the start


@pytest.mark.parametrize(("path", "blocks"), PROGRAMS)
def test_each_block_shown_is_short(path, blocks):
    for _, code in blocks:
        assert len(code.splitlines()) <= 25


def test_both_flax_interfaces_are_shown():
    shown = "".join(code for p in PROGRAMS for _, code in p.values[1])
    assert "flax.linen" in shown and "nnx" in shown
