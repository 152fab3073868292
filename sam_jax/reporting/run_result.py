"""What the results of a command have in common: rows, a data frame, and a folder."""

import abc
import pathlib
from collections.abc import Mapping
from typing import Any

from sam_jax.metrics import long_format
from sam_jax.reporting.plain_json import save_run


class RunResult(abc.ABC):
    """The result of a command, which a call has without a run of it."""

    @abc.abstractmethod
    def to_rows(self) -> list[dict[str, Any]]:
        """Returns what was measured in long format, one row a value."""

    @abc.abstractmethod
    def numbers(self) -> dict[str, Any]:
        """Returns what ``metrics.json`` holds."""

    @abc.abstractmethod
    def write_files(self, folder: pathlib.Path, about: Mapping[str, Any]) -> None:
        """Writes the report and what is beside it, but for settings and numbers.

        Args:
            folder: Where to; it must exist.
            about: Settings, versions, command and commit.
        """

    def to_frame(self) -> Any:
        """Returns ``to_rows`` as a pandas data frame.

        Raises:
            ImportError: If pandas is not installed.
        """
        return long_format.to_frame(self.to_rows())

    def save(
        self, folder: str | pathlib.Path, about: Mapping[str, Any] | None = None
    ) -> None:
        """Writes all that the command writes, ``metrics.json`` the last.

        Args:
            folder: Where to; made if it is missing.
            about: Settings, versions and the like, for the end of the report and
                ``config.json``.
        """
        save_run(folder, about, self.write_files, self.numbers())
