"""Keeps an account of a build while it goes, and writes its report whatever happens."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

from imagebuilder import __version__, rpmdb
from imagebuilder.build.beside import Beside
from imagebuilder.disk.model import Layout
from imagebuilder.errors import BuildError, Interrupted
from imagebuilder.events import Event, Listener
from imagebuilder.formats.memory import Memory
from imagebuilder.formats.model import Artefact
from imagebuilder.plan.model import Draft
from imagebuilder.report import describe, packages, sizes
from imagebuilder.report.model import Output, Report
from imagebuilder.report.timeline import Timeline
from imagebuilder.report.write import directory_of, write

MANIFESTS = "dib-manifests"


class Contents(NamedTuple):
    """What is in a tree."""

    packages: tuple[packages.Package, ...]
    tree: sizes.Branch | None


@dataclass(slots=True)
class Account:
    """What is known of a build so far."""

    draft: Draft
    heard: Listener
    timeline: Timeline = field(default_factory=Timeline)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    looked: Callable[[], Contents] = lambda: Contents((), None)
    layout: tuple[str, ...] = ()
    artefacts: tuple[Artefact, ...] = ()
    recall: Callable[[], Memory] = Memory  # waits for what is known of earlier outputs
    memory: Memory = field(default_factory=Memory)  # that, and this build's outputs
    unchanged: bool = False  # the outputs are those of an earlier build, and so is its report

    def listen(self, event: Event) -> None:
        """Take note, and pass on."""
        self.timeline.listen(event)
        self.heard(event)

    def look_at(self, tree: Path) -> None:
        """Begin to note what is in the finished tree; `looked` waits for it."""
        look = Beside(lambda: Contents(_packages(tree), sizes.measure(tree)))
        self.looked = cache(look.result)

    def lay(self, layout: Layout) -> None:
        """Note where everything lies on a device."""
        self.layout += describe.layout_lines(layout)

    def report(self, error: BuildError | None) -> Report:
        """Everything noted so far."""
        request, tree = self.draft.request, self.draft.tree
        contents = self.looked()
        return Report(
            name=Path(request.output_name).name,
            version=__version__,
            architecture=request.arch,
            started=self.started,
            seconds=self.timeline.seconds,
            status=error.exit_status if error else 0,
            error=str(error) if error else "",
            hooks=len(tree.hooks),
            rows=self.timeline.rows,
            elements=describe.parts(self.draft.elements, tree, request.elements),
            packages=contents.packages,
            tree=contents.tree,
            outputs=tuple(
                Output(path=a.path.name, format=a.format, size=a.size, digests=a.digests)
                for a in self.artefacts
            ),
            layout=self.layout,
            log=self.timeline.tail if error else (),
        )


def _packages(tree: Path) -> tuple[packages.Package, ...]:
    """What dpkg and rpm say is installed."""
    by_rpm = (packages.Package(**each._asdict()) for each in rpmdb.installed(tree))
    return (*packages.load(tree), *by_rpm)


@contextmanager
def kept(draft: Draft, listen: Listener) -> Generator[Account, None, None]:
    """An account that is written to NAME.d/ when the build has ended, or failed.

    A failed build leaves no manifests there: their being there is taken for a sign of success.
    """
    account = Account(draft, listen)
    directory = directory_of(draft.request.output_name)
    try:
        yield account
    except BuildError as error:
        shutil.rmtree(directory / MANIFESTS, ignore_errors=True)
        if not isinstance(error, Interrupted):
            with suppress(BuildError):  # the first error is the one to tell
                write(account.report(error), directory)
        raise
    if not account.unchanged:
        write(account.report(None), directory)
