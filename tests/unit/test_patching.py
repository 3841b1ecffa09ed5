"""Substitutions and unified diffs, which fit exactly or are refused."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagebuilder import patching
from imagebuilder.errors import ConfigError

OLD = b"one\ntwo\nthree\nfour\n"
DIFF = """\
diff --git a/init b/init
--- a/init\t2026-01-01
+++ b/init\t2026-01-02
@@ -1,3 +1,3 @@
 one
-two
+2
 three
"""
LINES = st.lists(st.sampled_from(["a\n", "b\n", "\n", "-x\n", "+y\n"]), max_size=12)


def test_a_text_is_replaced_everywhere() -> None:
    assert patching.substitute(b"a b a", "a", "cc", "x") == b"cc b cc"


def test_a_text_that_is_not_there_is_refused_with_the_nearest_line() -> None:
    with pytest.raises(ConfigError) as caught:
        patching.substitute(b"echo Loading\n", "echo Loadin!", "", "img: init")
    assert str(caught.value) == (
        "img: init: 'echo Loadin!' does not occur in it\n  hint: the nearest line is 'echo Loading'"
    )


def test_a_patch_names_its_file_without_the_first_directory() -> None:
    (patch,) = patching.parse(DIFF, "x")
    assert (patch.old, patch.new) == ("init", "init")


def test_a_patch_that_fits_is_applied() -> None:
    (patch,) = patching.parse(DIFF, "x")
    assert patching.apply(OLD, patch, "x") == b"one\n2\nthree\nfour\n"


def test_a_patch_that_does_not_fit_is_refused_with_its_line() -> None:
    (patch,) = patching.parse(DIFF, "x")
    with pytest.raises(ConfigError, match=r"x: the patch does not fit at line 1"):
        patching.apply(OLD.upper(), patch, "x")


def test_files_may_appear_and_go() -> None:
    text = (
        "--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+x\n--- a/old\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
    )
    new, old = patching.parse(text, "x")
    assert (new.old, new.new, old.old, old.new) == ("", "new", "old", "")
    assert (patching.apply(b"", new, "x"), patching.apply(b"x\n", old, "x")) == (b"x\n", b"")


def test_a_missing_newline_at_the_end_is_understood() -> None:
    text = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n"
    (patch,) = patching.parse(text, "x")
    assert patching.apply(b"a", patch, "x") == b"b\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [("hello\n", "not a unified diff"), (DIFF[:-10], "hunk for line 1 is not whole")],
)
def test_what_is_no_patch_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        patching.parse(text, "x")


@given(old=LINES, new=LINES, context=st.integers(0, 3))
def test_any_diff_leads_from_old_to_new(old: list[str], new: list[str], context: int) -> None:
    text = "".join(difflib.unified_diff(old, new, "a/f", "b/f", n=context))
    content = "".join(old).encode()
    for patch in patching.parse(text, "x") if text else ():
        content = patching.apply(content, patch, "x")
    assert content == "".join(new).encode()
