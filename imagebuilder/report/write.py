"""Puts a report beside the image: as JSON for programs, and as a page for people."""

from __future__ import annotations

from pathlib import Path

from imagebuilder.errors import PublishError
from imagebuilder.report.model import Report, as_json
from imagebuilder.report.page import as_html

DATA = "report.json"
PAGE = "report.html"


def directory_of(name: str) -> Path:
    """The directory beside the outputs called `name`: for the report, and for manifests."""
    return Path(f"{name}.d")


def write(report: Report, directory: Path) -> tuple[Path, Path]:
    """Write both into `directory`, made if need be; raise PublishError if that cannot be done."""
    data, page = directory / DATA, directory / PAGE
    texts = {data: as_json(report), page: as_html(report)}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            _replace(path, text)
    except OSError as error:
        raise PublishError(
            f"the report cannot be written: {error.strerror}", where=str(directory)
        ) from error
    return data, page


def _replace(path: Path, text: str) -> None:
    """Write beside the final name and rename, so that there is an old file or a whole new one."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8", errors="replace")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
