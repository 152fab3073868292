"""The reader and writer of files of targets: given models whose members are known.

One ``.npz``, a folder of ``.npy``, or several of them, a model each:

| array | shape | |
| --- | --- | --- |
| ``members`` | [examples] | True where the model trained on the example |
| ``logits``, ``phi`` or another of ``conversions.OUTPUTS`` | [examples, classes] or \
[examples, queries, classes]; phi [examples] or [examples, queries] | of that model |
| ``labels`` | [examples] | optional where the shadow models' files have them |
| ``population`` | [examples] | optional: True for examples to set aside, which no \
model trained on |

Several models in one file are ``NAME/logits``, ``NAME/members``; arrays without a name
belong to all.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Integer

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.signals import files
from sam_jax.signals.arrays import listed, signals_from_arrays
from sam_jax.signals.conversions import OUTPUTS
from sam_jax.types import Signals

OF_MODEL = (*OUTPUTS, "correct", "entropy", "modified_entropy")
"""Arrays that hold one model's outputs."""


class LoadedTargets(NamedTuple):
    """What files of targets hold.

    Attributes:
        signals: Of each target alone, [1, N]; ``keep`` is its members.
        population: Examples set aside; all False where no file says.
        class_ids: The user's id of each class, where labels were encoded; or empty.
    """

    signals: dict[str, Signals]
    population: Bool[np.ndarray, " n"]
    class_ids: Integer[np.ndarray, " k"]


def load_targets(
    paths: Sequence[str | pathlib.Path],
    labels: Int[np.ndarray, " n"] | None = None,
    signals_are: str | None = None,
) -> LoadedTargets:
    """Returns checked signals of targets, by name: as in the file, or the file's.

    Args:
        paths: Files or folders; see above.
        labels: Encoded classes for files without any, those of the shadow models.
        signals_are: As in ``load_signals``.

    Raises:
        ArgumentError: If a file cannot be read, members are not known, shapes disagree,
            or values mean something else than their names; the message says what to
            fix.
    """
    signals: dict[str, Signals] = {}
    population, class_ids = None, np.zeros(0, np.int64)
    for name, source, arrays in files.read_algorithms(paths, signals_are, "target"):
        if labels is not None:
            arrays = {"labels": labels} | arrays
        signals[name] = target_from_arrays(arrays, source, signals_are)
        class_ids = files.ids_of_labels(arrays, signals[name], class_ids)
        population = _population(arrays, signals[name], source, population)
    num_examples = next(iter(signals.values())).keep.shape[1]
    if population is None:
        population = np.zeros(num_examples, np.bool_)
    return LoadedTargets(signals, population, class_ids)


def target_from_arrays(
    arrays: Mapping[str, Any], source: str, signals_are: str | None = None
) -> Signals:
    """Returns one target's checked signals [1, N] from arrays without model axis.

    Args:
        arrays: By name, as a file holds them.
        source: What to call them in an error.
        signals_are: What the outputs are; by default what their name says.

    Raises:
        ArgumentError: As in ``load_targets``.
    """
    if "members" not in arrays:
        hint = ""
        if "keep" in arrays:
            hint = " A keep mask is of shadow models, whose file goes to --signals."
        elif source.endswith(".npy"):
            hint = (
                " It has one array: np.savez(file, logits=..., members=...) has both."
            )
        rule = "must say what the model trained on, members [examples];"
        raise ArgumentError("target", f"{rule} {source} holds {listed(arrays)}.{hint}")
    members = _checks.mask(members=arrays["members"])
    if members.ndim != 1 or members.all() or not members.any():
        raise ArgumentError(
            "members",
            "must be [examples], True for some and False for others, got shape "
            f"{members.shape} with {int(members.sum()):,} members. (File: {source})",
        )
    of_model = {k: np.asarray(v)[None] for k, v in arrays.items() if k in OF_MODEL}
    for name, array in of_model.items():
        if array.shape[1:2] != members.shape:
            raise ArgumentError(
                name,
                f"must be [examples, ...] with the {len(members)} examples of members, "
                f"got shape {array.shape[1:]}. (File: {source})",
            )
    try:
        return signals_from_arrays(
            {**arrays, **of_model, "keep": members[None]}, source, signals_are
        )
    except ArgumentError as error:
        # The reader speaks of masks of many models.
        argument = "members" if error.argument == "keep" else error.argument
        raise ArgumentError(argument, error.rule) from error


def save_targets(
    path: str | pathlib.Path,
    targets: Mapping[str, Signals],
    population: Bool[np.ndarray, " n"],
) -> None:
    """Writes targets to an ``.npz`` file, for ``load_targets``.

    Args:
        path: The file; replaced if it is there.
        targets: Signals [1, N] by name.
        population: Examples set aside.
    """
    first = next(iter(targets.values()))
    arrays = {"labels": np.asarray(first.labels), "population": population}
    for name, signals in targets.items():
        arrays[f"{name}/members"] = np.asarray(signals.keep)[0]
        for field in ("phi", "correct", "entropy", "modified_entropy"):
            arrays[f"{name}/{field}"] = np.asarray(getattr(signals, field))[0]
    files.write_npz(pathlib.Path(path), arrays)


def _population(
    arrays: Mapping[str, np.ndarray],
    signals: Signals,
    source: str,
    before: np.ndarray | None,
) -> np.ndarray | None:
    if "population" not in arrays:
        return before
    population = _checks.mask(population=arrays["population"])
    members = np.asarray(signals.keep)[0]
    if population.shape != members.shape:
        rule = f"must be [{len(members)}], got shape {population.shape}."
        raise ArgumentError("population", f"{rule} (File: {source})")
    if num_members := int((population & members).sum()):
        rule = "must be examples that no model trained on,"
        hint = f"but {num_members:,} are members. (File: {source})"
        raise ArgumentError("population", f"{rule} {hint}")
    if before is not None and not np.array_equal(before, population):
        rule = f"must be the same in all files, but differs. ({source})"
        raise ArgumentError("population", rule)
    return population
