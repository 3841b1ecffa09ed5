"""Times in the databases of rpm and dnf become the image's."""

import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest

from imagebuilder import rpmdb
from imagebuilder.errors import BuildError

EPOCH = 1_700_000_000


def header(*values: tuple[int, int]) -> bytes:
    """A header of rpm's with integers."""
    entries = b"".join(
        struct.pack(">IIII", tag, 4, 4 * place, 1) for place, (tag, _) in enumerate(values)
    )
    data = b"".join(struct.pack(">I", value) for _, value in values)
    return struct.pack(">II", len(values), len(data)) + entries + data


def described(values: dict[int, str | int]) -> bytes:
    """A header of rpm's with texts and integers; those from 5000 on have 64 bits."""
    entries, data = b"", b""
    for tag, value in values.items():
        kind = 6 if isinstance(value, str) else 5 if tag >= 5000 else 4
        entries += struct.pack(">IIII", tag, kind, len(data), 1)
        if isinstance(value, str):
            data += value.encode() + b"\0"
        else:
            data += value.to_bytes(8 if kind == 5 else 4, "big")
    return struct.pack(">II", len(values), len(data)) + entries + data


def packages(tree: Path, time: int) -> Path:
    file = tree / "var/lib/rpm/rpmdb.sqlite"
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)")
        database.execute("CREATE TABLE Installtid (key 'BLOB' NOT NULL, hnum INTEGER, idx INTEGER)")
        database.execute("INSERT INTO Packages VALUES (1, ?)", (header((1008, time), (1000, 7)),))
        database.execute("INSERT INTO Installtid VALUES (?, 1, 0)", (struct.pack("=I", time),))
        database.commit()
    return file


def history(tree: Path, time: int) -> Path:
    file = tree / "var/lib/dnf/history.sqlite"
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE trans (id, dt_begin, dt_end, cmdline)")
        line = f"install /tmp/build.{time}"
        database.execute("INSERT INTO trans VALUES (1, ?, ?, ?)", (time, time + 9, line))
        database.execute("CREATE TABLE console_output (line)")
        database.execute("INSERT INTO console_output VALUES (?)", (f"took {time} s",))
        database.commit()
    return file


def test_only_times_of_installation_change_and_none_becomes_later() -> None:
    before = header((1008, EPOCH + 5), (1128, EPOCH - 5), (1000, EPOCH + 5))
    after = header((1008, EPOCH), (1128, EPOCH - 5), (1000, EPOCH + 5))
    assert rpmdb.header_at(before, EPOCH) == after


def test_builds_at_different_times_have_equal_databases(tmp_path: Path) -> None:
    made = []
    for name, time in (("one", EPOCH + 100), ("two", EPOCH + 90_000)):
        files = [packages(tmp_path / name, time), history(tmp_path / name, time)]
        rpmdb.settle(tmp_path / name, EPOCH)
        made.append([file.read_bytes() for file in files])
    assert made[0] == made[1]


def test_what_is_installed_is_told_without_keys_and_whatever_the_size(tmp_path: Path) -> None:
    one = described({1000: "bash", 1001: "5.1", 1002: "9.el9", 1022: "x86_64", 1009: 100})
    epoch = described({1000: "vim", 1001: "9", 1002: "1", 1003: 2, 1022: "noarch", 5009: 1 << 33})
    key = described({1000: "gpg-pubkey", 1001: "8483c65d", 1002: "5ccc5b19"})
    with closing(sqlite3.connect(packages(tmp_path, EPOCH))) as database:
        database.execute("DELETE FROM Packages")
        rows = [(epoch,), (key,), (one,)]
        database.executemany("INSERT INTO Packages (blob) VALUES (?)", rows)
        database.commit()
    assert rpmdb.installed(tmp_path) == (
        ("bash", "5.1-9.el9", "x86_64", 100),
        ("vim", "2:9-1", "noarch", 1 << 33),
    )


def test_nothing_is_installed_where_there_is_no_database_or_a_damaged_one(tmp_path: Path) -> None:
    assert rpmdb.installed(tmp_path) == ()
    packages(tmp_path, EPOCH).write_bytes(b"no database")
    assert rpmdb.installed(tmp_path) == ()


def test_a_tree_without_databases_stays_as_it_is(tmp_path: Path) -> None:
    rpmdb.settle(tmp_path, EPOCH)
    assert not [*tmp_path.iterdir()]


def test_no_symlink_leads_to_a_database_outside(tmp_path: Path) -> None:
    outside = packages(tmp_path / "outside", EPOCH + 5)
    before = outside.read_bytes()
    (tmp_path / "tree/var/lib").mkdir(parents=True)
    (tmp_path / "tree/var/lib/rpm").symlink_to(outside.parent)
    rpmdb.settle(tmp_path / "tree", EPOCH)
    assert outside.read_bytes() == before


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    file = packages(tmp_path, EPOCH)
    file.write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)
    with pytest.raises(BuildError, match="damaged") as refused:
        rpmdb.settle(tmp_path, EPOCH)
    assert "var/lib/rpm/rpmdb.sqlite" in str(refused.value)
