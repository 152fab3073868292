"""A folder of compiled programs, and what is kept beside them, for one test."""

import jax
import pytest


@pytest.fixture
def cache_folder(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)
