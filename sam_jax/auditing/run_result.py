"""What the results of all commands have in common: rows, a data frame, and a folder."""

import abc
import pathlib
from collections.abc import Mapping
from typing import Any

from sam_jax.data import buckets, mirrors
from sam_jax.data.result_files import write_csv, write_json


class RunResult(abc.ABC):
    """The result of a command, which a call has without a run of it."""

    @abc.abstractmethod
    def to_rows(self) -> list[dict[str, Any]]:
        """Returns what was measured in long format, one row a value."""

    @abc.abstractmethod
    def numbers(self) -> dict[str, Any]:
        """Returns what ``metrics.json`` holds."""

    @abc.abstractmethod
    def write_report(self, folder: pathlib.Path, about: Mapping[str, Any]) -> None:
        """Writes the report and what is beside it, but for settings and numbers.

        Args:
            folder: Where to; it must exist.
            about: Settings, versions, command and commit, for the end of the report.
        """

    def write_files(self, folder: pathlib.Path, about: Mapping[str, Any]) -> None:
        """Writes all but settings and numbers: also ``to_rows``, as ``results.csv``.

        Args:
            folder: Where to; it must exist.
            about: As in ``write_report``.
        """
        self.write_report(folder, about)
        rows = self.to_rows()
        values = [list(row.values()) for row in rows]
        write_csv(folder / "results.csv", list(rows[0]), values)

    def to_frame(self) -> Any:
        """Returns ``to_rows`` as a pandas data frame.

        Raises:
            ImportError: If pandas is not installed.
        """
        try:
            import pandas  # pyrefly: ignore[missing-import]
        except ImportError as error:
            text = "to_frame needs pandas (pip install pandas); to_rows gives the same."
            raise ImportError(text) from error
        return pandas.DataFrame(self.to_rows())

    def save(
        self, folder: str | pathlib.Path, about: Mapping[str, Any] | None = None
    ) -> None:
        """Writes all that the command writes, ``metrics.json`` the last.

        Args:
            folder: Where to, in a bucket too; made if it is missing. Files of these
                names are replaced.
            about: Settings, versions and the like, for the end of the report and
                ``config.json``; what it has under ``"settings"`` is kept with the
                signals of an audit, to be compared with others'.
        """
        folder, about = buckets.local_path(folder, "folder"), dict(about or {})
        folder.mkdir(parents=True, exist_ok=True)
        # It marks a finished run: the first file to go, and the last to be written.
        mirrors.remove(folder / "metrics.json")
        self.write_files(folder, about)
        write_json(folder / "config.json", about)
        write_json(folder / "metrics.json", self.numbers())
