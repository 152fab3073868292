"""The rule that turns the UCI set Diabetes 130-US Hospitals into ``hospital100``.

Stays are sorted by ``encounter_id`` and each patient's first one is kept; of these,
the stays whose ``diag_1`` (ICD-9) is one of the 100 most frequent codes, ties by code.
Class 0 is the most frequent one. Each remaining column gives one token
``column=value`` and each token one binary feature, in sorted order, except for:

- the ids and ``diag_1``, left out;
- ``num_lab_procedures // 10`` and ``num_medications // 5``, both at most 9;
- ``number_outpatient``, ``_emergency`` and ``_inpatient``, at most 3;
  ``number_diagnoses``, at most 9;
- ``diag_2`` and ``diag_3``, both as ``other_diag=<code>``, unless ``?``;
- tokens in fewer than 5 of the kept rows, dropped.

References:
    Strack et al., "Impact of HbA1c Measurement on Hospital Readmission Rates", BioMed
    Research International, 2014, https://doi.org/10.24432/C5230J. CC BY 4.0.
"""

import collections
import csv
import io
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

URL = (
    "https://archive.ics.uci.edu/static/public/296/"
    "diabetes+130-us+hospitals+for+years+1999-2008.zip"
)
NUM_FEATURES = 782
SHA256 = "eb77b1cef9b53aed01645802b309f169fe29c75ab60c93c81aaee3709e1f1c38"
"""Digest of the features, one byte each, that the published file gives."""

_MEMBER = "diabetic_data.csv"
_LEFT_OUT = frozenset({"encounter_id", "patient_nbr", "diag_1", "diag_2", "diag_3"})
_BIN_WIDTH_AND_CAP = {
    "num_lab_procedures": (10, 9),
    "num_medications": (5, 9),
    "number_outpatient": (1, 3),
    "number_emergency": (1, 3),
    "number_inpatient": (1, 3),
    "number_diagnoses": (1, 9),
}


class HospitalTable(NamedTuple):
    """Binary features of hospital stays and the class of each."""

    x: Bool[np.ndarray, "n f"]
    y: Int[np.ndarray, "n"]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]


def read_stays(path: pathlib.Path) -> list[dict[str, str]]:
    """Reads ``diabetic_data.csv``, or the zip file that UCI publishes it in.

    Raises:
        ValueError: If a zip file does not hold exactly one such table.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.namelist() if m.endswith(_MEMBER)]
            if len(members) != 1:
                raise ValueError(f"{path} must hold one {_MEMBER}, got {members}.")
            text = archive.read(members[0]).decode("utf-8")
    else:
        text = path.read_text("utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def hospital_table(
    stays: Sequence[Mapping[str, str]], num_classes: int = 100, min_count: int = 5
) -> HospitalTable:
    """Applies the rule of this module to the rows of ``diabetic_data.csv``.

    Args:
        stays: One mapping a stay, column name to text.
        num_classes: Number of primary diagnoses kept.
        min_count: Rows in which a token must occur to become a feature.
    """
    first = {}
    for stay in sorted(stays, key=lambda s: int(s["encounter_id"])):
        first.setdefault(stay["patient_nbr"], stay)
    counts = collections.Counter(stay["diag_1"] for stay in first.values())
    del counts["?"]
    ranked = sorted(counts, key=lambda code: (-counts[code], code))
    class_of = {code: label for label, code in enumerate(ranked[:num_classes])}
    kept = [stay for stay in first.values() if stay["diag_1"] in class_of]
    rows = [_tokens(stay) for stay in kept]
    token_counts = collections.Counter(token for row in rows for token in row)
    names = sorted(t for t, count in token_counts.items() if count >= min_count)
    column_of = {token: column for column, token in enumerate(names)}
    x = np.zeros((len(rows), len(names)), np.bool_)
    for i, row in enumerate(rows):
        x[i, [column_of[token] for token in row if token in column_of]] = True
    y = np.array([class_of[stay["diag_1"]] for stay in kept])
    return HospitalTable(x, y, tuple(names), tuple(class_of))


def _tokens(stay: Mapping[str, str]) -> set[str]:
    """The tokens of one stay."""
    tokens = {
        f"other_diag={stay[column]}"
        for column in ("diag_2", "diag_3")
        if stay[column] != "?"
    }
    for column, value in stay.items():
        if column in _BIN_WIDTH_AND_CAP:
            width, cap = _BIN_WIDTH_AND_CAP[column]
            value = str(min(int(value) // width, cap))
        if column not in _LEFT_OUT:
            tokens.add(f"{column}={value}")
    return tokens
