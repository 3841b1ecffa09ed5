"""Quantities as the page shows them: three digits, and a unit that stays with its number."""

from __future__ import annotations

SPACE = "\u00a0"
BINARY = ("B", "KiB", "MiB", "GiB", "TiB")
DECIMAL = ("B", "kB", "MB", "GB", "TB")


def duration(seconds: float) -> str:
    """`0.04 s`, `27.3 s`, `2 min 05 s` or `1 h 12 min`."""
    if seconds < 59.95:
        return f"{seconds:.{2 if seconds < 1 else 1}f}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min{SPACE}{rest:02}{SPACE}s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}{SPACE}h{SPACE}{minutes:02}{SPACE}min"


def clock(seconds: float) -> str:
    """A moment on the axis of time: `0.5 s`, `20 s`, `1:30` (minutes) or `1:05:00`."""
    if seconds < 60:
        return f"{seconds:g}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def amount(size: float, units: tuple[str, ...] = BINARY) -> str:
    """Bytes with a unit that counts in 1024s, or with DECIMAL in 1000s as apt does."""
    step = 1024 if units is BINARY else 1000
    value, unit = float(size), 0
    while value >= 999.5 and unit < len(units) - 1:
        value, unit = value / step, unit + 1
    digits = 0 if unit == 0 or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f}{SPACE}{units[unit]}"


def share(part: float, whole: float) -> str:
    """A percentage; what is there is never shown as nothing."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 0.1:
        return f"<0.1{SPACE}%"
    return f"{percent:.{1 if percent < 9.95 else 0}f}{SPACE}%"


def count(number: int, noun: str) -> str:
    """`1 hook`, `1,234 hooks`."""
    return f"{number:,}{SPACE}{noun}{'' if number == 1 else 's'}"
