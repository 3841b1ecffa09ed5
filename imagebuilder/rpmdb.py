"""The databases of rpm and dnf in a tree: what is installed, and when.

What says when a package was installed becomes the image's time: without it no two builds of the
same packages would have the same bytes. A package's header is, as rpm's `lib/header.c` writes it:
two numbers (how many entries, how many bytes of data), entries of 16 bytes (tag, type, offset,
count), data; all big-endian. What is changed is not covered by the header's own digest and
signature.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from imagebuilder.errors import BuildError

PACKAGES = ("var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite")
HISTORIES = (
    "var/lib/dnf/history.sqlite",
    "usr/lib/sysimage/libdnf5/transaction_history.sqlite",
)
INSTALL_TIMES = (1008, 1128)  # RPMTAG_INSTALLTIME, RPMTAG_INSTALLTID
NAME, VERSION, RELEASE, EPOCH, SIZE, ARCH, LONG_SIZE = 1000, 1001, 1002, 1003, 1009, 1022, 5009
PUBLIC_KEY = "gpg-pubkey"  # not a package, though rpm keeps keys as such
INT32, INT64, STRING = 4, 5, 6
SIZES, ENTRY = struct.Struct(">II"), struct.Struct(">IIII")
KEY = struct.Struct("=I")  # rpm keeps it in the machine's own order
OF_ONE_BUILD = {"cmdline": "''", "description": "''"}  # has paths of the build host


class Installed(NamedTuple):
    """A package; `version` is `[epoch:]version-release`, `size` in bytes."""

    name: str
    version: str
    architecture: str
    size: int


def installed(tree: Path) -> tuple[Installed, ...]:
    """The packages that are installed in the tree, by name; none where there is no database."""
    found: list[Installed] = []
    for path in PACKAGES:
        file = tree / path
        if file.is_file() and not _leads_out(tree, file):
            address = f"{file.absolute().as_uri()}?immutable=1"
            with (
                suppress(sqlite3.Error, struct.error, ValueError),
                closing(sqlite3.connect(address, uri=True)) as database,
            ):
                rows = database.execute("SELECT blob FROM Packages").fetchall()
                found += [_installed(_values(header)) for (header,) in rows]
    return tuple(sorted(each for each in found if each.name != PUBLIC_KEY))


def settle(tree: Path, epoch: int) -> None:
    """Make `epoch` (seconds) the latest time in the tree's databases; raise BuildError."""
    for paths, change in ((PACKAGES, _settle_packages), (HISTORIES, _settle_history)):
        for path in paths:
            file = tree / path
            if file.is_file() and not _leads_out(tree, file):
                try:
                    with closing(sqlite3.connect(file)) as database:
                        change(database, epoch)
                        database.commit()
                        _write_anew(database, file)
                except sqlite3.Error as error:
                    raise BuildError(f"the database is damaged: {error}", where=path) from error


def header_at(header: bytes, epoch: int) -> bytes:
    """A package's header with no time of installation after `epoch`."""
    changed = bytearray(header)
    for tag, kind, place, count in _entries(header):
        if tag in INSTALL_TIMES and kind == INT32 and count == 1:
            (time,) = struct.unpack_from(">I", header, place)
            struct.pack_into(">I", changed, place, min(time, epoch))
    return bytes(changed)


def _entries(header: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Each entry as its tag, its type, where in the header its data is, and how many there are."""
    entries, _ = SIZES.unpack_from(header)
    data = SIZES.size + entries * ENTRY.size
    for number in range(entries):
        tag, kind, offset, count = ENTRY.unpack_from(header, SIZES.size + number * ENTRY.size)
        yield tag, kind, data + offset, count


def _values(header: bytes) -> dict[int, str | int]:
    """The first value of each entry that is a text or a number, by its tag."""
    found: dict[int, str | int] = {}
    for tag, kind, place, _ in _entries(header):
        if kind == STRING:
            found[tag] = header[place : header.index(b"\0", place)].decode(errors="replace")
        elif kind in {INT32, INT64}:
            (found[tag],) = struct.unpack_from(">I" if kind == INT32 else ">Q", header, place)
    return found


def _installed(values: Mapping[int, str | int]) -> Installed:
    prefix = f"{values[EPOCH]}:" if EPOCH in values else ""
    return Installed(
        name=str(values.get(NAME, "")),
        version=f"{prefix}{values.get(VERSION, '')}-{values.get(RELEASE, '')}",
        architecture=str(values.get(ARCH, "")),
        size=int(values.get(LONG_SIZE, values.get(SIZE, 0))),
    )


def _settle_packages(database: sqlite3.Connection, epoch: int) -> None:
    for number, header in database.execute("SELECT hnum, blob FROM Packages").fetchall():
        changed = header_at(header, epoch)
        database.execute("UPDATE Packages SET blob = ? WHERE hnum = ?", (changed, number))
    for row, key in database.execute("SELECT rowid, key FROM Installtid").fetchall():
        (time,) = KEY.unpack(key)
        changed = KEY.pack(min(time, epoch))
        database.execute("UPDATE Installtid SET key = ? WHERE rowid = ?", (changed, row))


def _settle_history(database: sqlite3.Connection, epoch: int) -> None:
    columns = {row[1] for row in database.execute("PRAGMA table_info(trans)")}
    for column in sorted(columns & {"dt_begin", "dt_end"}):
        database.execute(f"UPDATE trans SET {column} = min({column}, ?)", (epoch,))  # ruff: ignore[hardcoded-sql-expression] - a name from above
    for column in sorted(columns & {*OF_ONE_BUILD}):
        database.execute(f"UPDATE trans SET {column} = {OF_ONE_BUILD[column]}")  # ruff: ignore[hardcoded-sql-expression] - a name from above
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'console_output'").fetchone():
        database.execute("DELETE FROM console_output")  # what packages' scripts said, in any order


def _write_anew(database: sqlite3.Connection, file: Path) -> None:
    """Write the database as if nothing had ever been changed in it."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    database.execute("VACUUM INTO ?", (str(new),))
    mode = file.stat().st_mode & 0o7777
    database.close()
    new.chmod(mode)
    new.replace(file)
    for suffix in ("-wal", "-shm"):
        file.with_name(f"{file.name}{suffix}").unlink(missing_ok=True)


def _leads_out(tree: Path, file: Path) -> bool:
    """Whether a symlink on the way leads out of the tree, or to another of these files."""
    return file.resolve() != (tree.resolve() / file.relative_to(tree))
