"""Several images from one file: built at once, each for itself, and their common tree once."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from programs import take_signals

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]
DISKIMAGE_BUILDER = "from imagebuilder.cli.start import diskimage_builder; diskimage_builder()"
ROOT_IS_MADE = "Running root.d"
KNOWN = "cacheable: true\nearly-packages: true\n"


def entry(name: str, *elements: str, **keys: object) -> str:
    """An entry of a file: an archive of the tiny tree and what the elements add."""
    more = "".join(f", {key.replace('_', '-')}: {value}" for key, value in keys.items())
    words = ", ".join(("tiny", *elements))
    return f"- {{imagename: {name}, types: [tar], skip-base: true, elements: [{words}]{more}}}\n"


def put(workshop: Workshop, *entries: str) -> Path:
    """The file of images, with builds that take little room."""
    workshop.environment |= {"DIB_MIN_TMPFS": "0.05", "OVERWRITE_OLD_IMAGE": "1"}
    file = workshop.directory / "images.yaml"
    file.write_text("".join(entries))
    return file


def table(output: str) -> list[list[str]]:
    """The words of the table's lines, without seconds."""
    lines = output.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("image  "))
    return [[word for word in line.split() if not word[0].isdigit()] for line in lines[first + 1 :]]


def content(archive: Path, name: str) -> str:
    with tarfile.open(archive) as tar:
        member = tar.extractfile(f"./{name}")
        assert member
        return member.read().decode()


def diskimage_builder(workshop: Workshop, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", DISKIMAGE_BUILDER, *words],
        cwd=workshop.directory,
        env=workshop.variables({}),
        capture_output=True,
        text=True,
        check=False,
    )


def test_images_share_the_tree_that_one_of_them_makes(workshop: Workshop) -> None:
    workshop.element("late", {"install.d/50-late": "echo late >/late\n"})
    put(workshop, entry("a"), entry("b", "late"), entry("c"))
    done = workshop.imagebuilder("build", "images.yaml", "-j", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(ROOT_IS_MADE) == 1
    assert table(done.stdout) == [
        ["a", "built", "a.tar"],
        ["b", "built", "b.tar"],
        ["c", "built", "c.tar"],
    ]
    assert content(workshop.directory / "b.tar", "late") == "late\n"


def test_others_begin_as_soon_as_the_common_tree_is_there(workshop: Workshop) -> None:
    there = workshop.directory / "b.tar"
    workshop.element("waits", {
        "extra-data.d/50-wait": f"for _ in {{1..200}}; do [ -e {there} ] && exit; sleep .1; done\n"
        "exit 9\n",
    })  # fmt: skip
    put(workshop, entry("a", "waits"), entry("b"))
    done = workshop.imagebuilder("build", "images.yaml", "-j", "2")
    assert done.returncode == 0, done.stdout + done.stderr


def test_lines_say_which_image_they_are_of(workshop: Workshop) -> None:
    put(workshop, entry("a"), entry("b"))
    output = workshop.imagebuilder("build", "images.yaml", "-j", "2").stdout
    assert "\na | " in output
    assert "\nb | " in output
    assert all(line.startswith(("a", "b", "image")) for line in output.splitlines())


def test_an_image_that_fails_stops_no_other_and_gives_its_status(workshop: Workshop) -> None:
    workshop.element("bad", {"install.d/50-bad": "exit 7\n"})
    workshop.element("worse", {"install.d/50-worse": "sleep 1; exit 8\n"})
    put(workshop, entry("a", "worse"), entry("b", "bad"), entry("c"))
    done = workshop.imagebuilder("build", "images.yaml", "-j", "2")
    assert done.returncode == 8
    assert table(done.stdout) == [
        ["a", "failed", "(8)"],
        ["b", "failed", "(7)"],
        ["c", "built", "c.tar"],
    ]


def test_stop_on_failure_begins_no_other(workshop: Workshop) -> None:
    workshop.element("bad", {"install.d/50-bad": "exit 7\n"})
    put(workshop, entry("a", "bad"), entry("b"))
    done = workshop.imagebuilder("build", "images.yaml", "-j", "1", "--stop-on-failure")
    assert done.returncode == 7
    assert table(done.stdout) == [["a", "failed", "(7)"], ["b", "not", "begun"]]
    assert not (workshop.directory / "b.tar").exists()


def test_diskimage_builder_ends_with_1_and_prints_command_lines(workshop: Workshop) -> None:
    workshop.element("bad", {"install.d/50-bad": "exit 7\n"})
    put(workshop, entry("a", "bad", environment="{X: a b}"), entry("b"))
    done = diskimage_builder(workshop, "images.yaml")
    assert done.returncode == 1
    assert done.stderr.startswith("X='a b' disk-image-create -o a -t tar -n tiny bad\n\n")
    assert "disk-image-create -o b -t tar -n tiny\n\n" in done.stderr
    assert "\na | " not in done.stdout
    assert (workshop.directory / "b.tar").is_file()


def test_a_ramdisk_is_made_as_its_own_program_makes_it(workshop: Workshop) -> None:
    hook = "echo made >$IMAGE_NAME.initramfs\n"
    workshop.element("our-ramdisk", {"cleanup.d/50-our-ramdisk": hook})
    put(workshop, entry("a", ramdisk="true", ramdisk_element="our-ramdisk"), entry("b"))
    done = workshop.imagebuilder("build", "images.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ramdisk-image-create -o a -t tar --ramdisk-element our-ramdisk" in done.stderr
    assert (workshop.directory / "a.initramfs").read_text() == "made\n"
    assert not (workshop.directory / "b.initramfs").exists()


def test_secrets_are_not_in_the_command_lines_of_builds(workshop: Workshop) -> None:
    document = "variables: {TOKEN: {type: string, secret: true, help: a token}}\n"
    workshop.element("secretive", {"element.yaml": document})
    put(workshop, entry("a", "secretive", environment="{TOKEN: hidden-value}"))
    done = workshop.imagebuilder("build", "images.yaml")
    assert done.returncode == 0, done.stderr
    assert "TOKEN=*** disk-image-create -o a" in done.stderr
    assert "hidden-value" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (entry("b", "none"), "images.yaml:2:3: image b: command line: Element 'none' not found"),
        (entry("b", types="[tarr]"), "images.yaml:2:"),
        (entry("x/b"), "images.yaml:2:3: image x/b: x/b.tar: there is no directory x"),
        (entry("./a"), "images.yaml:2:3: image ./a: writes a.tar, as the image a does"),
        (entry("b", logfile="x/log"), "image b: --logfile x/log: there is no directory x"),
        (entry("b", environment="{DIB_IMAGE_SIZE: big}"), "DIB_IMAGE_SIZE: not a number: 'big'"),
        (entry("b", min_tmpfs=1 << 30), "image b: not room enough: it takes 5"),
        (entry("b", environment="{TMPDIR: /none}"), "image b: /none: is not a directory"),
    ],
)
def test_whatever_is_refused_is_refused_before_any_build(
    workshop: Workshop, second: str, expected: str
) -> None:
    put(workshop, entry("a"), second)
    done = workshop.imagebuilder("build", "images.yaml")
    assert done.returncode in (2, 5)
    assert expected in done.stderr
    assert done.stdout == ""
    assert not (workshop.directory / "a.tar").exists()


def test_options_before_the_file_are_for_all_images(workshop: Workshop) -> None:
    put(workshop, entry("a"), entry("b"))
    done = workshop.imagebuilder("build", "--no-cache", "-j1", "images.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(ROOT_IS_MADE) == 2


def test_memory_is_taken_as_far_as_it_was_allotted_and_hooks_do_not_see_that(
    workshop: Workshop,
) -> None:
    hook = "stat -f -c '%T %b %S' $TMP_IMAGE_DIR; env | grep -c IMAGEBUILDER_MEMORY || true\n"
    workshop.element("asks", {"extra-data.d/50-ask": hook})
    words = ("build", "-n", "-t", "tar", "--no-cache", "--min-tmpfs", "0.05", "tiny", "asks")
    kinds = []
    for memory in ("1GiB", "50MiB"):
        done = workshop.imagebuilder(*words, IMAGEBUILDER_MEMORY=memory)
        lines = done.stdout.partition("Running extra-data.d/50-ask\n")[2].splitlines()[:2]
        told = [line.rpartition(" | ")[2].split() for line in lines]
        kinds.append(told[0])
        assert told[1] == ["0"], done.stdout
    assert (kinds[0][0], int(kinds[0][1]) * int(kinds[0][2]) >> 20) == ("tmpfs", 819)
    assert kinds[1][0] != "tmpfs"


def test_two_builds_at_once_have_half_the_memory_each(workshop: Workshop) -> None:
    workshop.element("asks", {
        "element.yaml": "cacheable: true\n",
        "extra-data.d/50-ask": "stat -f -c 'room %b %S %T' $TMP_IMAGE_DIR; sleep 2\n",
    })  # fmt: skip
    put(workshop, entry("a", "asks"), entry("b", "asks"))
    done = workshop.imagebuilder("build", "--no-cache", "-j2", "images.yaml")
    asked = [line.split("room ")[1].split() for line in done.stdout.splitlines() if "room " in line]
    assert [kind for _, _, kind in asked] == ["tmpfs", "tmpfs"]
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert sum(int(blocks) * int(size) for blocks, size, _ in asked) <= 0.8 * available


def test_packages_that_not_all_have_early_are_installed_in_their_own_phase(
    workshop: Workshop,
) -> None:
    workshop.element("bootstrap", {
        "element.yaml": KNOWN,
        "element-provides": "operating-system\n",
        "element-deps": "package-installs\n",
        "environment.d/10-bootstrap.bash": "export DISTRO_NAME=debian DIB_RELEASE=one\n",
        "root.d/50-early": "mkdir $TARGET_ROOT/etc; echo early: $IMAGEBUILDER_EARLY_PACKAGES.\n",
    })  # fmt: skip
    for name, packages in (("web", "curl:\nnginx:\n"), ("db", "curl:\npostgresql:\n")):
        workshop.element(name, {"element.yaml": KNOWN, "package-installs.yaml": packages})
    only = [entry(name, name).replace("tiny", "bootstrap") for name in ("web", "db")]
    put(workshop, *only)
    done = workshop.imagebuilder("build", "-j2", "images.yaml")
    assert done.stdout.count(ROOT_IS_MADE) == 1
    assert "web, db share a root tree with these packages: curl\n" in done.stderr
    assert done.stdout.count("early: curl.\n") == 1
    assert done.stdout.count("root completed") == 2


def test_outputs_are_those_of_the_images_alone(workshop: Workshop) -> None:
    workshop.element(
        "late", {"install.d/50-late": "env | grep -Ev 'TMP|dib_build' >/late || true\n"}
    )
    put(workshop, entry("a", "late", checksum="true"), entry("b"))
    assert workshop.imagebuilder("build", "images.yaml", "-j2").returncode == 0
    together = digest(workshop, "a.tar")
    alone = ("-o", "a", "-t", "tar", "--checksum", "-n", "tiny", "late")
    assert workshop.create("--no-cache", *alone).returncode == 0
    assert digest(workshop, "a.tar") == together


def digest(workshop: Workshop, name: str) -> str:
    return hashlib.sha256((workshop.directory / name).read_bytes()).hexdigest()


def test_what_is_in_a_log_file_is_not_printed(workshop: Workshop) -> None:
    put(workshop, entry("a", logfile="a.log"))
    done = workshop.imagebuilder("build", "images.yaml")
    assert ROOT_IS_MADE not in done.stdout
    assert ROOT_IS_MADE in (workshop.directory / "a.log").read_text()


@pytest.fixture
def endless(workshop: Workshop) -> Workshop:
    """Two images that take forever: one in memory, one on disk."""
    workshop.element(
        "endless", {"install.d/50-endless": "touch /endless; echo asleep; sleep 600\n"}
    )
    put(workshop, entry("a", "endless"), entry("b", "endless", no_tmpfs="true"))
    return workshop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_images_and_leaves_nothing(
    endless: Workshop, number: signal.Signals
) -> None:
    with started(endless, "build", "--no-cache", "-j2", "images.yaml") as program:
        wait_for(program, "asleep", 2)
        begun = time.monotonic()
        program.send_signal(number)
        output = program.communicate(timeout=20)[0]
        assert time.monotonic() - begun < 3
    assert program.returncode == 128 + number
    assert f"error: stopped by signal {number.value}" in output
    assert list(endless.scratch.iterdir()) == []
    assert not list(endless.directory.glob("*.tar"))
    assert asleep() == []


def test_a_builder_that_is_killed_takes_its_images_along(endless: Workshop) -> None:
    with started(endless, "build", "--no-cache", "-j2", "images.yaml") as program:
        wait_for(program, "asleep", 2)
        program.kill()
        program.wait()
    until = time.monotonic() + 5
    while asleep() and time.monotonic() < until:
        time.sleep(0.05)
    assert asleep() == []


def started(workshop: Workshop, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "imagebuilder", *words],
        cwd=workshop.directory,
        env=workshop.variables({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=take_signals,
    )


def wait_for(program: subprocess.Popen[str], text: str, times: int) -> None:
    """Read on until the text has come so often."""
    assert program.stdout
    for line in program.stdout:
        times -= text in line
        if not times:
            return
    pytest.fail("the program has ended")


def asleep() -> Sequence[str]:
    return list(_asleep())


def _asleep() -> Iterator[str]:
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                words = (directory / "cmdline").read_text()
            except OSError:
                continue
            if words == "sleep\x00600\x00":
                yield directory.name
