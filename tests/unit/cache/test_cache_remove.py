"""Anything a build can leave is removed, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagebuilder.cache.remove import remove


def test_closed_directories_are_removed(tmp_path: Path) -> None:
    doomed = tmp_path / "doomed"
    (doomed / "a" / "b").mkdir(parents=True)
    (doomed / "a" / "b" / "file").write_text("x")
    (doomed / "a" / "b").chmod(0o500)
    (doomed / "a").chmod(0)
    remove(doomed)
    assert not doomed.exists()


def test_what_links_point_to_stays(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    doomed = tmp_path / "doomed"
    doomed.mkdir()
    (doomed / "link").symlink_to(tmp_path / "kept")
    (doomed / "hard").hardlink_to(tmp_path / "kept" / "file")
    remove(doomed)
    assert (tmp_path / "kept" / "file").read_text() == "x"
    assert not doomed.exists()


def test_paths_longer_than_the_kernel_takes_are_removed(tmp_path: Path) -> None:
    doomed = tmp_path / "doomed"
    doomed.mkdir()
    fd = os.open(doomed, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deep", dir_fd=fd)
        below = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    remove(doomed)
    assert not doomed.exists()


def test_odd_names_are_removed(tmp_path: Path) -> None:
    doomed = tmp_path / "doomed"
    (doomed / "caf\udce9\n" / "-rf").mkdir(parents=True)
    os.mkfifo(doomed / "fifo")
    remove(doomed)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        remove(tmp_path / "doomed")
