"""Several processes that train the models of one audit, each on its devices."""

import re

import jax
import numpy as np
from jaxtyping import Int

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.training import chunk_size
from sam_jax.types import TrainConfig


def parse_shard(text: str) -> tuple[int, int]:
    """Returns number and count of ``"i/n"``, as the tasks of a job array give it.

    Raises:
        ArgumentError: If it is no such text, or i is not in 0 to n - 1.

    Example:
        >>> parse_shard("2/4")
        (2, 4)
    """
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise ArgumentError(
            "shard", f"must be i/n with i from 0 to n - 1, got {text!r}."
        )
    return int(match[1]), int(match[2])


def shard_models(
    num_models: int, config: TrainConfig, shard: tuple[int, int]
) -> Int[np.ndarray, "k"]:
    """Returns the models of one of several processes that share the work.

    Whole chunks where there are as many as shards; then a model is the same bit for
    bit, whichever process trains it. A fixed ``models_per_chunk`` sees to that.

    Args:
        num_models: Models in all.
        config: Settings of the training.
        shard: Number of the process, from 0, and of all processes.

    Raises:
        ArgumentError: If the number is out of range.

    Example:
        >>> settings = TrainConfig(models_per_chunk=2)
        >>> [shard_models(8, settings, (i, 3)).tolist() for i in range(3)]
        [[0, 1, 6, 7], [2, 3], [4, 5]]
    """
    number, count = shard
    if not 0 <= number < count:
        raise ArgumentError(
            "shard", f"must be i/n with i from 0 to n - 1, got {number}/{count}."
        )
    devices = jax.local_devices()
    size = chunk_size.first_guess(config.models_per_chunk, num_models, devices)
    models = np.arange(num_models)
    # Chunk c goes to process c mod count.
    if -(-num_models // size) >= count:
        return models[models // size % count == number]
    # Too few chunks for all processes: even shares, which train in smaller chunks.
    return np.array_split(models, count)[number]


def join_processes(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> tuple[int, int]:
    """Connects this process with the others of a job; call it before JAX is used.

    Without arguments JAX finds them in the environment of SLURM, Open MPI, Kubernetes
    or a TPU pod.

    Args:
        coordinator: ``host:port`` of process 0.
        num_processes: Processes in all.
        process_id: Number of this one, from 0.

    Returns:
        Number of this process and of all processes, which are its shard.

    Raises:
        ArgumentError: If JAX cannot find the others.
    """
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except (ValueError, RuntimeError) as error:
        reason = _checks.first_line(error)
        raise ArgumentError(
            "coordinator",
            "must be host:port of process 0, with num_processes and process_id, where "
            f"the job's scheduler does not tell JAX: {reason}",
        ) from error
    return jax.process_index(), jax.process_count()


def wait_for_processes(name: str) -> None:
    """Returns once every process has come here with this name."""
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(name)
