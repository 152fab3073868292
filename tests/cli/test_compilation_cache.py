"""Compiled programs kept between runs."""

import os
import pathlib
import subprocess
import sys

import jax

from sam_jax.cli import compilation_cache

PROGRAM = """
import jax, jax.numpy as jnp
from sam_jax.cli.compilation_cache import use_compilation_cache
counts = {"cache_hits": 0, "cache_misses": 0}
def count(event, **_):
    name = event.rsplit("/", 1)[-1]
    if name in counts:
        counts[name] += 1
jax.monitoring.register_event_listener(count)
use_compilation_cache()
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((4, 4)))
print(counts["cache_hits"], counts["cache_misses"])
"""


def run(cache):
    environment = dict(os.environ, SAM_JAX_CACHE=str(cache), JAX_PLATFORMS="cpu")
    command = [sys.executable, "-c", PROGRAM]
    made = subprocess.run(command, env=environment, capture_output=True, text=True)
    return [int(n) for n in made.stdout.split()]


def test_a_second_run_of_the_same_shapes_compiles_nothing(tmp_path):
    hits, misses = run(tmp_path / "cache")
    assert hits == 0 and misses >= 1
    assert run(tmp_path / "cache") == [misses, 0]
    assert run("off") == [0, 0]


def test_the_folder_is_the_users_cache_unless_a_variable_says_otherwise(
    tmp_path, monkeypatch
):
    monkeypatch.delenv(compilation_cache.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compilation_cache.cache_folder() == tmp_path / "sam_jax" / "xla"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(pathlib.Path, "home", lambda: tmp_path)
    assert compilation_cache.cache_folder() == tmp_path / ".cache" / "sam_jax" / "xla"
    monkeypatch.setenv(compilation_cache.VARIABLE, "off")
    assert compilation_cache.cache_folder() is None


def test_a_folder_that_jax_was_told_of_stays(monkeypatch):
    told = []
    monkeypatch.setattr(jax.config, "update", lambda *pair: told.append(pair))
    monkeypatch.setenv(compilation_cache.VARIABLE, "/ours")
    before = jax.config.jax_compilation_cache_dir
    assert before  # the tests share a folder of their own
    compilation_cache.use_compilation_cache()
    assert told == []
