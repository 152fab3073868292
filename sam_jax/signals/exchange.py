"""Folders of signals that other tools write and read.

| tool | file | holds |
| --- | --- | --- |
| the LiRA scripts | ``y_train.npy`` | labels [N] |
| | ``experiment*/keep.npy`` | mask [N] |
| | ``experiment*/logits/*.npy`` | [N, 1, queries, C] |
| | ``experiment*/scores/*.npy`` | phi [N, queries] |
| Privacy Meter | ``signals/*_signals.npy`` | probabilities of the label [N, M] |
| | ``signals/*_signals_pop.npy`` | of a population [P, M] |
| | ``models/memberships.npy`` | mask [M, N] |

Of several epochs the last file by name is read, as the LiRA scripts do; they have no
population, and what is written for them leaves it out. ``logits`` are written where a
file holds them; signals, as an audit keeps them, have phi alone. Privacy Meter
keeps no labels, and does not say which examples an audit on a sample of its data
(``audit.data_size``) was on: such a folder is refused.

References:
    ``research/mi_lira_2021`` of https://github.com/tensorflow/privacy (score.py,
    plot.py, train.py, inference.py).
    ``get_signals.py``, ``audit.py`` and ``models/utils.py`` of
    https://github.com/privacytrustlab/ml_privacy_meter, April 2025.
"""

import json
import pathlib
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy import special

from sam_jax._checks import ArgumentError
from sam_jax.data import safe_npz
from sam_jax.data.atomic_files import make_folder
from sam_jax.metrics.roc import varying_columns
from sam_jax.types import Signals

ExportTo = Literal["lira", "privacy_meter", "npy"]
"""Tools that signals can be written for."""

Arrays = dict[str, np.ndarray]


def read_folder(folder: pathlib.Path, argument: str = "signals") -> Arrays | None:
    """Returns the arrays of another tool's folder, by the names of files of signals.

    Args:
        folder: To look into.
        argument: What to call it in an error.

    Returns:
        None for a folder of neither tool.

    Raises:
        ArgumentError: If a file of the folder is missing, damaged, or of another shape
            than the others; names it.
    """
    experiments = [p for p in folder.glob("experiment*") if p.is_dir()]
    if experiments:
        return _read_lira(folder, sorted(experiments, key=_number), argument)
    if (folder / "models" / "memberships.npy").exists() or list(_meter_files(folder)):
        return _read_privacy_meter(folder, argument)
    return None


def export_signals(
    signals: Signals,
    folder: pathlib.Path,
    to: ExportTo,
    name: str = "signals",
    logits: Float[np.ndarray, "..."] | None = None,
) -> None:
    """Writes signals as another tool reads them.

    Args:
        signals: Of M models.
        folder: Where to; must be new or empty.
        to: The tool. ``"npy"``: the fields of ``Signals``, an ``.npy`` file each.
        name: Of the training algorithm, for what the tool says about its models.
        logits: [M, N, C] or [M, N, Q, C] behind the signals, where they are known; for
            ``logits/`` of the LiRA scripts.

    Raises:
        ArgumentError: If the folder holds something, or for Privacy Meter where there
            is no population or more than one query.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        rule = f"must go to a new folder, but {folder} is there."
        raise ArgumentError("export", rule)
    if to == "lira":
        _write_lira(signals, folder, name, logits)
    elif to == "privacy_meter":
        _write_privacy_meter(signals, folder)
    else:
        make_folder(folder)
        for field, array in signals._asdict().items():
            np.save(folder / f"{field}.npy", np.asarray(array))


def _read_lira(
    folder: pathlib.Path, experiments: list[pathlib.Path], argument: str
) -> Arrays:
    """Logits where every experiment has them, phi of ``scores`` otherwise."""
    has_logits = all((path / "logits").is_dir() for path in experiments)
    outputs, masks, first = [], [], None
    for path in experiments:
        file = _last_file(path / ("logits" if has_logits else "scores"), argument)
        array = safe_npz.read_npy(file, argument=argument)
        # The scripts' second axis, of one entry.
        if has_logits and array.ndim == 4 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim not in ((2, 3) if has_logits else (1, 2)) or not len(array):
            raise _error(argument, file, f"has the shape {array.shape}")
        if array.dtype.kind != "f":
            raise _error(argument, file, f"holds {array.dtype}, no floats")
        first = first or (file, array.shape)
        if array.shape != first[1]:
            text = f"has the shape {array.shape}, and {first[0]} has {first[1]}"
            raise _error(argument, file, text)
        outputs.append(array)
        masks.append(_read_rows(path / "keep.npy", len(array), argument))
    arrays = {"logits" if has_logits else "phi": np.stack(outputs)}
    arrays["keep"] = np.stack(masks)
    labels = folder / "y_train.npy"
    if has_logits or labels.exists():
        arrays["labels"] = _read_rows(labels, len(masks[0]), argument)
    return arrays


def _read_rows(path: pathlib.Path, num_examples: int, argument: str) -> np.ndarray:
    """A mask or labels, which may cover more examples than outputs, as in plot.py."""
    array = safe_npz.read_npy(path, argument=argument)
    if array.ndim != 1 or len(array) < num_examples:
        text = f"has the shape {array.shape} for {num_examples} examples"
        raise _error(argument, path, text)
    return array[:num_examples]


def _write_lira(
    signals: Signals, folder: pathlib.Path, name: str, logits: np.ndarray | None
) -> None:
    """What plot.py, or score.py, reads of examples that some models had."""
    columns = varying_columns(np.asarray(signals.keep))
    pool = signals.select(examples=columns)
    make_folder(folder)
    np.save(folder / "y_train.npy", np.asarray(pool.labels))
    num_models = len(pool.keep)
    for model in range(num_models):
        path = folder / f"experiment-{model}_{num_models}"
        make_folder(path / "scores")
        settings = {"arch": name, "expid": model, "num_experiments": num_models}
        (path / "hparams.json").write_text(json.dumps(settings))
        np.save(path / "keep.npy", np.asarray(pool.keep)[model])
        np.save(path / "scores" / "0000000001.npy", np.asarray(pool.phi)[model])
        if logits is not None:
            make_folder(path / "logits")
            of_model = np.asarray(logits)[model, columns]
            # The scripts' axes: examples, one, queries, classes.
            of_model = of_model.reshape(len(of_model), 1, -1, of_model.shape[-1])
            np.save(path / "logits" / "0000000001.npy", of_model)


def _read_privacy_meter(folder: pathlib.Path, argument: str) -> Arrays:
    files = list(_meter_files(folder))
    if len(files) != 1:
        named = ", ".join(str(file) for file in files) or "none"
        text = f"must hold one *_signals.npy, holds {named}"
        raise _error(argument, folder / "signals", text)
    signals = safe_npz.read_npy(files[0], argument=argument)
    path = folder / "models" / "memberships.npy"
    keep = safe_npz.read_npy(path, argument=argument)
    if signals.ndim != 2:
        raise _error(argument, files[0], f"has the shape {signals.shape}")
    if keep.shape != signals.shape[::-1]:
        text = (
            f"has the shape {keep.shape}, and {files[0]} has {signals.shape}, not its "
            "transpose, as after an audit on a sample (audit.data_size), which is not "
            "saved"
        )
        raise _error(argument, path, text)
    arrays, population = [signals], files[0].with_name(f"{files[0].stem}_pop.npy")
    if population.exists():
        aside = safe_npz.read_npy(population, argument=argument)
        if aside.ndim != 2 or aside.shape[1] != len(keep):
            text = f"has the shape {aside.shape} for {len(keep)} models"
            raise _error(argument, population, text)
        arrays.append(aside)
    # Models first; no model trained on the population, which comes last.
    joined = np.concatenate(arrays).T
    num_aside = joined.shape[1] - keep.shape[1]
    return {"probabilities": joined, "keep": np.pad(keep, ((0, 0), (0, num_aside)))}


def _write_privacy_meter(signals: Signals, folder: pathlib.Path) -> None:
    pool = varying_columns(np.asarray(signals.keep))
    aside = ~np.asarray(signals.keep).any(axis=0)
    if signals.phi.shape[-1] > 1:
        rule = f"must be of one query for Privacy Meter, got {signals.phi.shape[-1]}."
        raise ArgumentError("export", rule)
    if not aside.any():
        rule = "must have examples that no model trained on for Privacy Meter:"
        raise ArgumentError("export", f"{rule} they are its population.")
    # In double precision: single precision rounds p to 1 for phi beyond 17.
    p = special.expit(np.asarray(signals.phi)[..., 0].astype(np.float64)).T
    for name in ("signals", "models"):
        make_folder(folder / name)
    np.save(folder / "signals" / "rmia_signals.npy", p[pool])
    np.save(folder / "signals" / "rmia_signals_pop.npy", p[aside])
    np.save(folder / "models" / "memberships.npy", np.asarray(signals.keep)[:, pool])


def _meter_files(folder: pathlib.Path) -> Any:
    return sorted((folder / "signals").glob("*_signals.npy"))


def _number(path: pathlib.Path) -> tuple[int, str]:
    """The order of experiments: ``experiment-10_16`` after ``experiment-9_16``."""
    digits = path.name.removeprefix("experiment").strip("-_").split("_")[0]
    return (int(digits) if digits.isdigit() else -1, path.name)


def _last_file(folder: pathlib.Path, argument: str) -> pathlib.Path:
    files = sorted(folder.glob("*.npy"))
    if not files:
        raise _error(argument, folder, "holds no .npy file (run inference.py first)")
    return files[-1]


def _error(argument: str, path: pathlib.Path, text: str) -> ArgumentError:
    return ArgumentError(argument, f"must be a sound folder, but {path} {text}.")
