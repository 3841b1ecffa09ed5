"""tar and tgz: the root tree as one archive, the same for the same tree.

GNU tar reads the tree, because it alone keeps hard links, devices, capabilities, ACLs and other
extended attributes. Its `--sparse` is not used: it puts tar's process id into the archive.

tgz is compressed on all cores, by zlib; equal trees give equal bytes on hosts with the same version
of it. `DIB_GZIP_BIN` names another program for it (`pigz`), which gets `-9 -n`.

`aci` is the archive with everything in `rootfs/`, and the file that `ACI_MANIFEST` names in front
as `manifest` (App Container Specification 0.8.11).
"""

from __future__ import annotations

import json
import os
import selectors
import shlex
import stat
import tarfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import chain, islice
from pathlib import Path

from imagebuilder import process
from imagebuilder.errors import ConfigError, ToolMissingError
from imagebuilder.formats import digests, place
from imagebuilder.formats.deflate import gzip
from imagebuilder.formats.model import Artefact, Output, Source
from imagebuilder.process import Command, Result, Runner, find

SOURCE = Source.TREE
SUFFIXES = {"tar": ".tar", "tgz": ".tgz", "aci": ".aci"}
FEATURES = ("tar",)
ROOTFS = ("--transform", "flags=rh;s,^\\.,rootfs,")  # not what symbolic links lead to
EMPTY = ("proc", "sys", "dev")  # kept as directories; what is in them is the kernel's


def write(source: Path, output: Output, run: Runner) -> Artefact:
    """Pack the tree `source` into the output."""
    del run  # the archive never is a file, it is packed as tar reads the tree
    return place.place(output, lambda path: _pack(source, path, output), lambda: allocated(source))


def check(output: Output) -> None:
    """Raise the error that the output's program or manifest would make later."""
    try:
        words = shlex.split(output.gzip)
    except ValueError as error:
        raise ConfigError(f"not words of a shell: {error}", where="DIB_GZIP_BIN") from error
    if output.format == "tgz" and words and find(words[0]) is None:
        raise ToolMissingError(
            f"{words[0]} is not installed",
            where="DIB_GZIP_BIN",
            hint="without the variable, tgz needs no program",
        )
    if output.format == "aci" and output.aci_manifest:
        _check_manifest(output.aci_manifest)


def archive(
    tree: Path,
    target: Path,
    epoch: int,
    options: Sequence[str] = (),
    empty: Sequence[str] = EMPTY,
) -> Command:
    """The command that writes `tree` to `target`; nothing in it is younger than `epoch`.

    Of the directories in `empty` there is nothing but themselves.
    """
    return Command((
        "tar", "--create",
        *options,
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


def archived(command: Callable[[Path], Command]) -> Generator[bytes, None, None]:
    """What tar writes, piece by piece; raise CommandError unless it is complete.

    `command` is told the file. tar writes into a pipe of its own, because its standard output
    carries its messages.
    """
    said: list[bytes] = []
    with ExitStack() as stack:
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        open_writer = stack.enter_context(ExitStack())
        open_writer.callback(os.close, writer)
        process.widen(reader)
        started = command(Path(f"/proc/{os.getpid()}/fd/{writer}"))
        program = stack.enter_context(process.started(started))
        assert program.stdout
        yield from _drained(reader, program.stdout.fileno(), said, open_writer.close)
        status = program.wait()
    process.checked(Result(started, status, b"".join(said).decode(errors="replace")))


def save(pieces: Iterable[bytes], target: Path, output: Output) -> Mapping[str, str]:
    """Write a file from its beginning to its end; its digests, worked out on the way.

    The first piece is taken before any thread starts: what it forks, it forks alone.
    """
    rest = iter(pieces)
    first = tuple(islice(rest, 1))
    with target.open("wb") as file, digests.running(output.checksums) as known:
        for piece in filter(None, chain(first, rest)):
            file.write(piece)
            known.add(piece)
        return known.end()


def allocated(tree: Path) -> int:
    """The bytes of all files of a tree."""
    found = (path.lstat() for path in tree.rglob("*"))
    return sum(status.st_size for status in found if stat.S_ISREG(status.st_mode))


def _pack(tree: Path, target: Path, output: Output) -> Mapping[str, str]:
    options = {"aci": ROOTFS, "tgz": _compressor(output.gzip)}.get(output.format, ())
    pieces = archived(lambda pipe: archive(tree, pipe, output.epoch, options))
    with closing(pieces):
        if output.format == "tgz" and not output.gzip:
            return save(gzip(pieces), target, output)
        return save(chain(_manifest(output), pieces), target, output)


def _compressor(program: str) -> tuple[str, ...]:
    """How tar is told to compress; neither a name nor a time goes into the file."""
    return ("--use-compress-program", f"{program} -9 -n") if program else ()


def _manifest(output: Output) -> Iterator[bytes]:
    """The first member of an aci."""
    if output.format == "aci" and output.aci_manifest:
        yield member("manifest", output.aci_manifest.read_bytes(), output.epoch)


def member(name: str, content: bytes, epoch: int) -> bytes:
    """A file as a member of an archive."""
    return header(name, len(content), epoch) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def header(name: str, size: int, epoch: int) -> bytes:
    """What comes before a member's content: 512 bytes, if the name is shorter than 100."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, epoch, 0o644
    return info.tobuf(tarfile.GNU_FORMAT)


def _check_manifest(path: Path) -> None:
    try:
        json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except ValueError as error:
        raise ConfigError(f"is not JSON: {error}", where=str(path)) from error


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
                chunk = os.read(key.fd, process.PIPE)
                if key.fd == messages:
                    if not chunk:
                        selector.unregister(messages)
                        hang_up()
                    said.append(chunk)
                elif chunk:
                    yield chunk
                else:
                    return
