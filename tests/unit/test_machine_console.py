"""Consoles that arrive in pieces, and what is seen in them."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagebuilder.machine.console import FAILURES, Console, Watch, diagnosis
from imagebuilder.machine.errand import Errand

COLOURFUL = (
    "\x1bc\x1b[?7l\x1b[2J\x1b[0mGRUB\r\n\x1b]0;title\x07\x1b]3008;start=1\x1b\\"
    "\x1b(B[\x1b[32m  OK  \x1b[0m] Grüße\r\n\x1bP+q\x1b\\host login: "
)
PLAIN = "GRUB\n[  OK  ] Grüße\nhost login: "


def text_of(*pieces: bytes) -> str:
    console = Console()
    for piece in pieces:
        console.feed(piece)
    return console.text


def watching(*expected: str, errand: Errand | None = None) -> Watch:
    return Watch(expected=tuple(map(re.compile, expected)), errand=errand)


def test_escape_sequences_and_carriage_returns_are_left_out() -> None:
    assert text_of(COLOURFUL.encode()) == PLAIN


@given(st.lists(st.integers(0, len(COLOURFUL.encode())), max_size=8))
def test_the_text_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    raw = COLOURFUL.encode()
    edges = [0, *sorted(cuts), len(raw)]
    pieces = [raw[a:b] for a, b in pairwise(edges)]
    assert text_of(*pieces) == PLAIN


def test_an_escape_that_never_ends_hides_nothing_for_long() -> None:
    assert text_of(b"\x1b]0;" + b"x" * 2000, b"login:").endswith("xlogin:")


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert text_of(b"\xffready") == "\ufffdready"


def test_an_expression_is_found_across_pieces() -> None:
    watch = watching("host login:")
    watch.feed(b"host lo")
    early = watch.matched
    watch.feed(b"\x1b[0mgin:")
    assert (early, watch.matched) == ((), ("host login:",))
    assert watch.complete


def test_expressions_come_in_their_order() -> None:
    watch = watching("one", "two")
    watch.feed(b"two one ")
    assert (watch.matched, watch.awaited) == (("one",), "two")
    watch.feed(b"two")
    assert watch.complete


def test_one_word_does_not_count_twice() -> None:
    watch = watching("login:", "login:")
    watch.feed(b"login:")
    assert not watch.complete


def test_a_match_may_begin_long_before_its_end() -> None:
    watch = watching("begin(?s:.*)end")
    watch.feed(b"begin")
    for _ in range(2000):
        watch.feed(b".")
    watch.feed(b"end")
    assert watch.complete


def test_an_errand_is_waited_for_apart_from_the_expressions() -> None:
    watch = watching("login:", errand=Errand("true", "run-1"))
    watch.feed(b"run-1 exited with 7\r\n")
    assert (watch.status, watch.complete) == (7, False)
    watch.feed(b"login:")
    assert watch.complete


def test_the_errand_is_what_is_awaited_last() -> None:
    watch = watching(errand=Errand("true", "run-1"))
    assert "run-1 exited with" in watch.awaited


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("[ 1.0] Kernel panic - not syncing: VFS: no root\n", "the kernel panicked: Kernel panic"),
        ("No bootable device.\n", "the BIOS found nothing to boot"),
        ("BdsDxe: No bootable option or device was found.", "the firmware found nothing"),
        ("UEFI Interactive Shell v2.2", "started its shell"),
        ("failed to start: Security Violation", "secure boot refused"),
        ("error: no such partition.\ngrub rescue> ", "GRUB found neither"),
        ("   Minimal BASH-like line editing is supported.", "GRUB found no configuration"),
        ("ALERT!  LABEL=x does not exist.  Dropping to a shell!", "no root filesystem"),
        ("Warning: Could not boot.", "no root filesystem"),
        ("(initramfs) ", "ended in its shell"),
        ("You are in emergency mode.", "emergency mode"),
        ("Give root password for maintenance", "emergency mode"),
        ("KVM internal error. Suberror: 1", "KVM gave up"),
    ],
)
def test_a_failed_boot_is_recognised(said: str, meaning: str) -> None:
    assert meaning in diagnosis(f"before\n{said}")


def test_every_failure_in_the_table_has_an_expression_that_compiles() -> None:
    assert len(FAILURES) > 10
    assert all(re.compile(pattern).groups == 0 and FAILURES[pattern] for pattern in FAILURES)


def test_an_ordinary_boot_is_no_failure() -> None:
    assert diagnosis("Linux version 6.1\nRun /init as init process\nWelcome to Debian!\n") == ""


def test_a_failure_is_seen_across_pieces_and_stays() -> None:
    watch = watching("login:")
    watch.feed(b"Kernel pan")
    watch.feed(b"ic - not syncing: x\r\n")
    watch.feed(b"Kernel panic - not syncing: y\r\n")
    assert watch.failure.endswith("not syncing: x")


def test_a_failure_is_told_with_all_of_its_line() -> None:
    watch = Watch()
    watch.feed(b"Kernel panic - not syncing")
    watch.feed(b": VFS: no root\n")
    assert watch.failure.endswith("Kernel panic - not syncing: VFS: no root")
