"""Log lines of Python programs in elements, which call `setup` when they start."""

from __future__ import annotations

import json
import logging.config
import os
from pathlib import Path

FORMAT = "%(levelname)s %(name)s [-] %(message)s"
DETAILS = " %(funcName)s %(pathname)s:%(lineno)d"


class DibFormatter(logging.Formatter):
    """A formatter with a suffix for debugging messages; configuration files name it."""

    def __init__(
        self, fmt: str = FORMAT, datefmt: str | None = None, debug_suffix: str = DETAILS
    ) -> None:
        super().__init__(fmt, datefmt)
        self.debugging = logging.Formatter(fmt + debug_suffix, datefmt)

    def format(self, record: logging.LogRecord) -> str:
        """The line for a record."""
        if record.levelno == logging.DEBUG:
            return self.debugging.format(record)
        return super().format(record)


def setup() -> None:
    """Log to standard error, or as the file in DIB_PYTHON_LOGGING_CONFIG_FILE says."""
    file = os.environ.get("DIB_PYTHON_LOGGING_CONFIG_FILE")
    if file:
        logging.config.dictConfig(json.loads(Path(file).read_text()))
        return
    trace = os.environ.get("DIB_DEBUG_TRACE") or "0"
    handler = logging.StreamHandler()
    handler.setFormatter(DibFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.DEBUG if int(trace) > 0 else logging.INFO)
