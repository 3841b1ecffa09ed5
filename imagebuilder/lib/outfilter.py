#!/usr/bin/env python3
"""Puts the time (UTC) before lines on their way from standard input to a terminal or a log.

For scripts of others that call it as `$_LIB/outfilter.py`; it needs nothing but Python.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from datetime import UTC, datetime


def main() -> int:
    """Filter standard input to its end."""
    parser = argparse.ArgumentParser(description="Puts the time before every line.")
    parser.add_argument("-o", "--outfile", help="append to this file, always with times")
    parser.add_argument("-v", "--verbose", action="store_true", help="write to standard output")
    parser.add_argument(
        "-b", "--no-timestamp", action="store_true", help="no times on standard output"
    )
    given = parser.parse_args()
    with ExitStack() as stack:
        file = stack.enter_context(open(given.outfile, "ab", 0)) if given.outfile else None  # ruff: ignore[builtin-open]
        for line in sys.stdin.buffer:
            if b"set +o" in line or b"xtrace" in line:  # a shell about its own tracing
                continue
            stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3].encode()
            if given.verbose:
                sys.stdout.buffer.write(line if given.no_timestamp else stamp + b" | " + line)
                sys.stdout.flush()
            if file:
                file.write(stamp + b" | " + line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
