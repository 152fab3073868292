"""Messages of the library on standard error, above a progress bar if there is one."""

import logging
import sys

from tqdm import tqdm


class AboveBars(logging.Handler):
    """Writes each message as a line that a bar does not overwrite."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a message."""
        tqdm.write(self.format(record), file=sys.stderr)


def show_logs() -> None:
    """Shows what ``sam_jax`` logs, from INFO on; once, however often it is called."""
    logger = logging.getLogger("sam_jax")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, AboveBars) for handler in logger.handlers):
        logger.addHandler(AboveBars())
        # absl, which TFDS loads, shows whatever reaches the root logger.
        logger.propagate = False
