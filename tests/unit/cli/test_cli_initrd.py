"""`imagebuilder initrd` as its user sees it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from imagebuilder.cli import verbs
from imagebuilder.initrd import newc
from imagebuilder.initrd.model import Archive, Entry

ENTRIES = (
    Entry(name="dev", mode=0o40755),
    Entry(name="dev/console", mode=0o20600, rdev=(5, 1)),
    Entry(name="init", mode=0o100755, content=b"echo Loading\n"),
    Entry(name="sbin", mode=0o120777, content=b"usr/sbin"),
    Entry(name="a", mode=0o100644, nlink=2, ino=4),
    Entry(name="b", mode=0o100644, nlink=2, ino=4, content=b"x"),
)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "initrd.img"
    path.write_bytes(gzip.compress(newc.write(Archive(entries=ENTRIES))))
    return path


def run(*words: object) -> int:
    return verbs.main(["initrd", *map(str, words)])


def test_ls_shows_segments_and_files(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ls", image) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("segment 1: gzip at byte 0, ")
    assert "crw-------    0    0      5, 1 1970-01-01 00:00 dev/console" in lines
    assert lines[-1].endswith(" sbin -> usr/sbin")


def test_ls_json_has_every_fact(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ls", "--json", image) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["segments"][0]["entries"] == 6
    files = {row["path"]: row for row in document["files"]}
    assert files["a"]["names"] == ["a", "b"]
    assert files["dev/console"]["device"] == [5, 1]
    assert files["init"]["mode"] == "0755"


def test_cat_prints_a_file(image: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run("cat", image, "/init") == 0
    assert capfdbinary.readouterr().out == b"echo Loading\n"


def test_edit_does_all_that_is_asked_for(
    image: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "seed").write_text("one\n")
    (tmp_path / "diff").write_text("--- a/seed\n+++ b/seed\n@@ -1 +1,2 @@\n one\n+two\n")
    new = tmp_path / "new.img"
    status = run(
        "edit", image, "-o", new, "--delete", "sbin", "--add", f"{tmp_path}/seed:/",
        "--replace", "init", "Loading", "Loading ACME", "--patch", tmp_path / "diff",
        "--compress", "xz",
    )  # fmt: skip
    assert status == 0
    assert new.read_bytes().startswith(b"\xfd7zXZ")
    assert run("cat", new, "seed") == run("cat", new, "init") == 0
    assert capfdbinary.readouterr().out == b"one\ntwo\necho Loading ACME\n"
    assert run("cat", new, "sbin") == 2


def test_append_is_the_same_each_time(image: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    for name in ("z", "a", "d/f"):
        (tree / name).write_text(name)
    for name in ("one", "two"):
        assert run("append", image, "-o", tmp_path / name, "--add", f"{tree}:opt") == 0
        (tree / "z").touch()
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ls", "/none.img"), "/none.img: no such file"),
        (("cat", "IMAGE", "sbin"), "sbin leads to usr/sbin, which is not in it"),
        (("cat", "IMAGE", "dev"), "dev is a directory"),
        (("edit", "IMAGE", "-o", "NEW"), "nothing to do: no change was asked for"),
        (("append", "IMAGE", "-o", "NEW"), "nothing to do: nothing is to be added"),
        (
            ("edit", "IMAGE", "-o", "IMAGE", "--delete", "a"),
            "is the source, which is never changed",
        ),
        (("edit", "IMAGE", "-o", "OTHER", "--delete", "a"), "hint: --force replaces it"),
        (("edit", "IMAGE", "-o", "/none/x", "--delete", "a"), "there is no directory /none"),
        (("append", "IMAGE", "-o", "NEW", "--add", "x"), "not a file and a path: 'x'"),
        (("append", "IMAGE", "-o", "NEW", "--add", "/none:x"), "/none: cannot be read: No such"),
        (("edit", "IMAGE", "-o", "NEW", "--replace", "init", "Foo", "x"), "init: 'Foo' does not"),
        (("edit", "IMAGE", "-o", "NEW", "--patch", "OTHER"), "not a unified diff"),
        (("append", "IMAGE", "-o", "NEW", "--module", "OTHER"), "not a kernel module"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    image: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    other = tmp_path / "other"
    other.write_text("older\n")
    names = {"IMAGE": str(image), "NEW": str(tmp_path / "new"), "OTHER": str(other)}
    before = image.read_bytes()
    assert run(*(names.get(word, word) for word in words)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert image.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["initrd.img", "other"]
    assert other.read_text() == "older\n"
