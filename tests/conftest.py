"""Strict numerics for every test, and two CPU devices so that sharding is exercised."""

import atexit
import os
import shutil
import tempfile

import fsspec
import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Tests that compile the same program share it, in all workers, within this run only.
CACHE = "SAM_JAX_TESTS_CACHE"
if CACHE not in os.environ:
    os.environ[CACHE] = tempfile.mkdtemp(prefix="sam_jax_tests_")
    atexit.register(shutil.rmtree, os.environ[CACHE], ignore_errors=True)
jax.config.update("jax_compilation_cache_dir", os.environ[CACHE])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """Calls with a name go to a machine with its own mirrors of memory:// buckets."""
    # Not above: pytest reads this file before jaxtyping's checks are in place.
    from sam_jax.data import buckets

    memory = fsspec.filesystem("memory")
    monkeypatch.setitem(buckets.PACKAGES, "memory", "fsspec")

    def use_machine(name):
        monkeypatch.setenv(buckets.VARIABLE, str(tmp_path / name))
        return memory

    use_machine("first")
    yield use_machine
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
