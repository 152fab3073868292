"""Estimates in long format, one row a value, as results hand them out."""

from collections.abc import Mapping, Sequence
from typing import Any


def estimate_rows(
    place: Mapping[str, Any], estimates: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Returns a row for each estimate: its place, metric, value, low and high."""
    rows = []
    for metric, estimate in estimates.items():
        limits = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
        rows.append({**place, "metric": metric, **limits})
    return rows


def to_frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Returns rows as a pandas data frame, if pandas is installed."""
    try:
        import pandas  # pyrefly: ignore[missing-import]
    except ImportError as error:
        raise ImportError(
            "to_frame needs pandas (pip install pandas); to_rows gives the same "
            "without it."
        ) from error
    return pandas.DataFrame(rows)
