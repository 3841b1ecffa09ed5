"""The store of outputs: links to files, and what they looked like."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from imagebuilder import holes
from imagebuilder.cache.model import Limits
from imagebuilder.cache.outputs import Made, OutputStore, is_equal, is_same
from imagebuilder.sizes import Size

KEY, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def store(tmp_path: Path) -> OutputStore:
    return OutputStore(tmp_path / "outputs")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(b"content" * 1000)
    return path


def made(path: Path) -> Made:
    with path.open("rb", buffering=0) as file:
        return Made(path, holes.digest(file.fileno()), path.stat().st_mtime_ns)


def test_what_was_kept_is_found(store: OutputStore, image: Path) -> None:
    store.keep(KEY, [made(image)], {"dir/file": b"\xff"})
    found = store.find(KEY)
    assert found is not None
    assert found.beside == {"dir/file": b"\xff"}
    assert is_same(found.files[0], image)
    assert is_same(found.files[0], store.link(KEY, 0))


def test_a_file_whose_names_changed_is_equal_but_not_the_same(
    store: OutputStore, image: Path
) -> None:
    store.keep(KEY, [made(image)], {})
    (file,) = store.find(KEY).files  # type: ignore[union-attr] - a missing one fails here too
    image.unlink()
    assert not is_same(file, store.link(KEY, 0))
    assert is_equal(file, store.link(KEY, 0))


def test_a_file_that_was_written_to_before_it_was_kept_is_not_kept(
    store: OutputStore, image: Path
) -> None:
    known = made(image)
    image.write_bytes(b"C")
    os.utime(image, ns=(0, known.modified + 1))
    store.keep(KEY, [known], {})
    assert store.find(KEY) is None
    assert not store.link(KEY, 0).exists()


def test_a_file_that_was_written_to_is_neither(store: OutputStore, image: Path) -> None:
    store.keep(KEY, [made(image)], {})
    (file,) = store.find(KEY).files  # type: ignore[union-attr] - a missing one fails here too
    times = image.stat()
    with image.open("r+b") as opened:
        opened.write(b"C")
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not is_same(file, image)
    assert not is_equal(file, image)


@pytest.mark.parametrize("text", [b"", b"{}", b'{"files": 3}', b"\0"])
def test_a_damaged_record_is_a_miss(store: OutputStore, image: Path, text: bytes) -> None:
    store.keep(KEY, [made(image)], {})
    (store.root / f"{KEY}.json").write_bytes(text)
    assert store.find(KEY) is None


def test_nothing_is_known_of_an_empty_store(store: OutputStore) -> None:
    assert store.find(KEY) is None
    assert store.entries() == {}


def test_what_is_too_old_or_too_much_goes_oldest_first(store: OutputStore, image: Path) -> None:
    store.keep(KEY, [made(image)], {})
    store.keep(OTHER, [made(image)], {})
    os.utime(store.root / f"{KEY}.json", (1000, 1000))
    os.utime(store.root / f"{OTHER}.json", (2000, 2000))
    sizes = store.entries()
    assert list(sizes) == [KEY, OTHER]
    kept = Limits(max_size=sizes[OTHER], max_age=None)
    assert store.prune(kept, now=2000.0) == (KEY,)
    assert store.prune(Limits(max_size=None, max_age=timedelta(days=1)), now=2000.0 + 90000) == (
        OTHER,
    )
    assert list(store.root.iterdir()) == []
    assert image.is_file()


def test_a_store_that_cannot_be_written_to_keeps_nothing(tmp_path: Path, image: Path) -> None:
    (tmp_path / "file").touch()
    store = OutputStore(tmp_path / "file/outputs")
    store.keep(KEY, [made(image)], {})
    assert store.find(KEY) is None
    assert store.prune(Limits(max_size=Size(0)), now=0.0) == ()


def test_files_with_an_index_are_given_the_newest_last(store: OutputStore, tmp_path: Path) -> None:
    for moment, (key, name) in enumerate(((KEY, "one"), (OTHER, "two"))):
        path = tmp_path / name
        path.write_text(name)
        store.keep(key, [made(path)], {}, {path: name.encode()})
        os.utime(store.root / f"{key}.json", (moment, moment))
    pairs = [(link.read_text(), index.read_bytes()) for link, index, _ in store.indexed(9)]
    assert pairs == [("one", b"one"), ("two", b"two")]
    assert [link.read_text() for link, _, _ in store.indexed(1)] == ["two"]


def test_a_file_that_was_written_to_is_not_given(store: OutputStore, image: Path) -> None:
    store.keep(KEY, [made(image)], {}, {image: b"index"})
    assert len(store.indexed(1)) == 1
    image.write_bytes(b"content" * 999 + b"Content")
    assert store.indexed(1) == ()


def test_an_index_goes_with_its_file(store: OutputStore, image: Path) -> None:
    store.keep(KEY, [made(image)], {}, {image: b"index"})
    store.remove(KEY)
    assert list(store.root.iterdir()) == []
