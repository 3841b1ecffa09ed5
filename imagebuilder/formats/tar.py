"""tar and tgz: the root tree as one archive, the same for the same tree.

GNU tar reads the tree, because it alone keeps hard links, devices, capabilities, ACLs and other
extended attributes. Its `--sparse` is not used: it puts tar's process id into the archive.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import selectors
import stat
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

from imagebuilder import process
from imagebuilder.formats import place
from imagebuilder.formats.deflate import gzip
from imagebuilder.formats.model import Artefact, Output, Source
from imagebuilder.process import Command, Result, Runner

SOURCE = Source.TREE
SUFFIXES = {"tar": ".tar", "tgz": ".tgz"}
PACKERS: dict[str, Callable[[Iterable[bytes]], Iterator[bytes]]] = {"tar": iter, "tgz": gzip}
EMPTY = ("proc", "sys", "dev", "run")  # kept as directories; what is in them is the kernel's
PIPE = 2**20


def write(source: Path, output: Output, run: Runner) -> Artefact:
    """Pack the tree `source` into the output."""
    del run  # the archive never is a file, it is packed as tar reads the tree
    return place.place(output, lambda path: _pack(source, path, output), lambda: _allocated(source))


def archive(tree: Path, target: Path, epoch: int, empty: tuple[str, ...] = EMPTY) -> Command:
    """The command that writes `tree` to `target`; nothing in it is younger than `epoch`.

    Of the directories in `empty` there is nothing but themselves.
    """
    return Command((
        "tar", "--create",
        "--file", os.fspath(target),
        "--force-local",
        "--format", "posix",
        "--pax-option", "exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
        "--sort", "name",
        "--mtime", f"@{epoch}",
        "--clamp-mtime",
        "--numeric-owner",
        "--acls",
        "--xattrs", "--xattrs-include", "*",
        "--anchored",
        *(f"--exclude=./{name}/*" for name in empty),
        "--directory", os.fspath(tree),
        ".",
    ))  # fmt: skip


def _pack(tree: Path, target: Path, output: Output) -> Mapping[str, str]:
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in output.checksums}
    with (
        target.open("wb") as file,
        closing(archived(tree, output.epoch)) as chunks,
    ):
        for piece in PACKERS[output.format](chunks):
            file.write(piece)
            for digest in digests.values():
                digest.update(piece)
    return {name: digest.hexdigest() for name, digest in digests.items()}


def archived(
    tree: Path, epoch: int, empty: tuple[str, ...] = EMPTY
) -> Generator[bytes, None, None]:
    """The archive of `tree`, piece by piece; raise CommandError unless it is complete.

    tar writes into a pipe of its own, because its standard output carries its messages.
    """
    said: list[bytes] = []
    with ExitStack() as stack:
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        open_writer = stack.enter_context(ExitStack())
        open_writer.callback(os.close, writer)
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, PIPE)
        command = archive(tree, Path(f"/proc/{os.getpid()}/fd/{writer}"), epoch, empty)
        program = stack.enter_context(process.started(command))
        assert program.stdout
        yield from _drained(reader, program.stdout.fileno(), said, open_writer.close)
        status = program.wait()
    process.checked(Result(command, status, b"".join(said).decode(errors="replace")))


def _drained(
    data: int, messages: int, said: list[bytes], hang_up: Callable[[], None]
) -> Iterator[bytes]:
    """What comes through the pipe `data`, while `said` collects the program's messages.

    The end of the messages is the end of the program; after `hang_up` nobody can write to
    the pipe, which then ends too.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(data, selectors.EVENT_READ)
        selector.register(messages, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                chunk = os.read(key.fd, PIPE)
                if key.fd == messages:
                    if not chunk:
                        selector.unregister(messages)
                        hang_up()
                    said.append(chunk)
                elif chunk:
                    yield chunk
                else:
                    return


def _allocated(tree: Path) -> int:
    found = (path.lstat() for path in tree.rglob("*"))
    return sum(status.st_size for status in found if stat.S_ISREG(status.st_mode))
