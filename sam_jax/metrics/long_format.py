"""Estimates in long format, one row a value, as results hand them out."""

from collections.abc import Mapping
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
