"""Compiled programs kept between runs, in the user's cache folder."""

import os
import pathlib

import jax

VARIABLE = "SAM_JAX_CACHE"
"""Environment variable with another folder for the cache; ``off`` for none."""

OFF = "off"


def cache_folder() -> pathlib.Path | None:
    """Returns where compiled programs are kept; None where they are not."""
    chosen = os.environ.get(VARIABLE)
    if chosen == OFF:
        return None
    if chosen:
        return pathlib.Path(chosen)
    root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(root) / "sam_jax" / "xla"


def use_compilation_cache() -> None:
    """Makes JAX keep what it compiles, and look there before it compiles again.

    A folder that JAX is already configured with stays. A run of the same shapes,
    versions and devices then compiles nothing. The folder may be deleted at any time.
    """
    folder = cache_folder()
    if folder is None or jax.config.values["jax_compilation_cache_dir"]:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
