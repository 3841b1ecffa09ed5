"""Locks: one at a time, or many together, and files that may go while they are free."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from imagebuilder.cache import lock


def test_an_exclusive_lock_is_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock.exclusive(path), lock.attempt(path) as free:
        assert not free
    with lock.attempt(path) as free:
        assert free


def test_shared_locks_go_together(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock.shared(path), lock.shared(path, tmp_path / "other"), lock.attempt(path) as free:
        assert not free


def test_the_second_waits_and_says_so_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    told: list[str] = []
    waiting = threading.Event()

    def wait() -> None:
        told.append("waiting")
        waiting.set()

    def second() -> None:
        with lock.exclusive(path, wait):
            told.append("second")

    thread = threading.Thread(target=second)
    with lock.exclusive(path):
        thread.start()
        assert waiting.wait(5)
        told.append("first")
    thread.join(5)
    assert told == ["waiting", "first", "second"]


def test_who_waits_for_a_lock_whose_file_is_removed_gets_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    waiting, got = threading.Event(), []

    def second() -> None:
        with lock.exclusive(path, waiting.set):
            got.append(path.exists())

    thread = threading.Thread(target=second)
    with lock.exclusive(path):
        thread.start()
        assert waiting.wait(5)
        path.unlink()
    thread.join(5)
    assert got == [True]


def test_a_lock_is_given_back_even_where_a_copy_of_its_descriptor_is_open(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    fd = lock.acquire(path, fcntl.LOCK_EX)
    copy = os.dup(fd)
    lock.release(fd)
    with lock.attempt(path) as free:
        assert free
    os.close(copy)


def test_where_there_is_no_room_for_a_lock_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "lock"
    with lock.shared(path), lock.exclusive(path), lock.attempt(path) as free:
        assert not free


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"):
        lock.acquire(tmp_path / "lock", fcntl.LOCK_EX)
    assert not (tmp_path / "other").exists()
