"""The cached root tree: the same bytes as a fresh one, and never a wrong one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]
HIT = "cache: root taken from it"
MADE = "dib-run-parts Running root.d/10-tiny"


def build(workshop: Workshop, *words: str, **variables: str) -> str:
    """The log of a build that has to succeed, and does not find its outputs made."""
    shutil.rmtree(workshop.directory / ".cache/image-create/outputs", ignore_errors=True)
    variables = {"OVERWRITE_OLD_IMAGE": "1", **variables}
    done = workshop.create("-n", "-t", "tar", "-o", "out", *words, **variables)
    assert done.returncode == 0, done.stdout
    return done.stdout


def digest(workshop: Workshop) -> str:
    return hashlib.sha256((workshop.directory / "out.tar").read_bytes()).hexdigest()


def entries(workshop: Workshop) -> list[Path]:
    return list((workshop.directory / ".cache/image-create/layers/entries").iterdir())


def root_tree(workshop: Workshop) -> Path:
    """The cached tree of root.d."""
    steps = {json.loads((e / "meta.json").read_bytes())["step"]: e for e in entries(workshop)}
    return steps["root"] / "tree"


def test_a_second_build_takes_the_tree_and_makes_the_same_bytes(workshop: Workshop) -> None:
    workshop.element("late", {"install.d/50-late": "echo late >/late\nchmod 700 /usr/bin/env\n"})
    assert MADE in build(workshop, "tiny", "late")
    first = digest(workshop)
    again = build(workshop, "tiny", "late")
    assert HIT in again
    assert MADE not in again
    assert digest(workshop) == first
    assert MADE in build(workshop, "--no-cache", "tiny", "late")
    assert digest(workshop) == first
    assert len(entries(workshop)) == 3


def test_other_images_share_the_tree(workshop: Workshop) -> None:
    build(workshop, "tiny")
    workshop.element("other", {"install.d/50-other": "echo other >/other\n"})
    assert HIT in build(workshop, "tiny", "other", IMAGE_NAME="other", GREETING="hello")


def test_what_the_tree_depends_on_makes_another_one(workshop: Workshop) -> None:
    build(workshop, "tiny")
    assert MADE in build(workshop, "tiny", SOURCE_DATE_EPOCH="1700000000")
    own = workshop.element("tiny", {})
    own.rmdir()
    subprocess.run(["cp", "-a", str(Path(__file__).parents[1] / "elements/tiny"), own], check=True)
    assert HIT in build(workshop, "tiny")
    with (own / "root.d/10-tiny").open("a") as hook:
        hook.write("touch $TARGET_ROOT/new\n")
    assert MADE in build(workshop, "tiny")


def test_an_element_that_promises_nothing_is_not_cached(workshop: Workshop) -> None:
    workshop.element("unknown", {"root.d/90-unknown": "date >$TARGET_ROOT/date\n"})
    for _ in range(2):
        assert MADE in build(workshop, "tiny", "unknown")
    assert not entries(workshop)


def test_a_fingerprint_that_fails_is_said_and_only_costs_the_cache(workshop: Workshop) -> None:
    build(workshop, "tiny")
    workshop.element(
        "lost", {"fingerprint.d/50-lost": "echo no mirror >&2\nexit 1\n", "root.d/50-lost": ""}
    )
    log = build(workshop, "tiny", "lost")
    assert "cache: not used for what depends on this" in log
    assert "no mirror" in log
    assert MADE in log


@pytest.mark.parametrize("damage", ["changed", "truncated", "removed", "added", "mode"])
def test_a_damaged_tree_is_made_again(workshop: Workshop, damage: str) -> None:
    build(workshop, "tiny")
    first = digest(workshop)
    tree = root_tree(workshop)
    passwd = tree / "etc/passwd"
    match damage:
        case "changed":
            passwd.write_bytes(b"evil" + passwd.read_bytes()[4:])
        case "truncated":
            os.truncate(passwd, 3)
        case "removed":
            passwd.unlink()
        case "added":
            (tree / "usr/bin/evil").touch()
        case _:
            passwd.chmod(0o666)
    assert MADE in build(workshop, "tiny")
    assert digest(workshop) == first
    assert HIT in build(workshop, "tiny")


def test_refresh_makes_the_tree_again_and_keeps_the_new_one(workshop: Workshop) -> None:
    build(workshop, "tiny")
    before = root_tree(workshop).stat().st_ino
    assert MADE in build(workshop, "--refresh", "tiny")
    assert root_tree(workshop).stat().st_ino != before
    assert HIT in build(workshop, "tiny")


def test_the_tree_is_kept_even_if_a_later_hook_fails(workshop: Workshop) -> None:
    workshop.element("bad", {"install.d/50-bad": "exit 3\n"})
    assert workshop.create("-n", "-o", "out", "tiny", "bad").returncode == 3
    assert HIT in build(workshop, "tiny")


def test_two_builds_at_once_make_the_tree_once(workshop: Workshop) -> None:
    workshop.element("slow", {"root.d/90-slow": "sleep 2\n", "element.yaml": "cacheable: true\n"})
    words = ("-n", "-t", "tar", "tiny", "slow")
    with workshop.start("-o", "one", *words) as one, workshop.start("-o", "two", *words) as two:
        logs = [program.communicate(timeout=60)[0] for program in (one, two)]
    assert [program.returncode for program in (one, two)] == [0, 0], logs
    assert sum(MADE in log for log in logs) == 1
    assert sum(HIT in log for log in logs) == 1
    assert sum("another build makes root" in log for log in logs) == 1


def test_the_second_build_takes_over_from_one_that_was_killed(workshop: Workshop) -> None:
    workshop.element("slow", {"root.d/90-slow": "sleep 3\n", "element.yaml": "cacheable: true\n"})
    words = ("-n", "-t", "tar", "tiny", "slow")
    with workshop.start("-o", "one", *words) as one:
        time.sleep(1.5)
        with workshop.start("-o", "two", *words) as two:
            time.sleep(1)
            one.send_signal(signal.SIGKILL)
            log = two.communicate(timeout=60)[0]
    assert two.returncode == 0, log
    assert MADE in log
    assert HIT in build(workshop, "tiny", "slow")


def test_plan_says_what_changed_since_the_last_build(workshop: Workshop) -> None:
    words = ("-n", "-t", "tar", "-o", "out", "tiny", "late")
    workshop.element("late", {"install.d/50-late": "echo late >/late\n"})

    def said() -> list[str]:
        text = workshop.imagebuilder("plan", *words).stdout
        return text.split("changed since the last build of this name:\n")[1].split("\n")

    assert said()[0] == "  nothing is known of an earlier build"
    assert workshop.create(*words).returncode == 0
    assert said()[0] == "  nothing"
    workshop.element("late", {"install.d/50-late": "echo later >/late\n"})
    assert said()[0] == "  install: hook install.d/50-late changed"
    workshop.environment["GREETING"] = "hello"
    assert (
        "  pre-finalise: variable GREETING is new" in said()
        or "  install: variable GREETING is new" in said()
    )
