"""How several images are asked for, and how it is said what became of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imagebuilder.batch.load import Image
from imagebuilder.batch.prepare import Task
from imagebuilder.batch.run import Outcome, command
from imagebuilder.batch.schedule import Demand, Grant, Job
from imagebuilder.cli import images
from imagebuilder.errors import ConfigError
from imagebuilder.options import split

FILE = "- {imagename: out/web, types: [tar], environment: {A: x y}, elements: [tiny]}\n"
SCRATCH = Demand(device=1, path="/tmp", size=1, purpose="scratch")


def task(name: str, *outputs: str) -> Task:
    return Task(
        image=Image(name=name, where="", words=("-o", name, "tiny")),
        environment={"HOME": "/root"},
        outputs=tuple(map(Path, outputs)),
        job=Job(name=name, group="", scratch=SCRATCH),
    )


def test_files_are_told_from_elements() -> None:
    found = images.from_words(["-j", "3", "a.yaml", "--offline", "--dry-run", "b.yml"])
    assert found
    arguments, options = found
    assert arguments.files == [Path("a.yaml"), Path("b.yml")]
    assert (arguments.jobs, arguments.dry_run, arguments.stop_on_failure) == (3, True, False)
    assert options == ["--offline"]


@pytest.mark.parametrize(
    "words",
    [
        ["vm", "debian-minimal"],
        ["-o", "a.yaml", "vm"],
        ["--logfile=a.yaml", "vm"],
        ["a.yaml", "--help"],
        ["-h", "a.yaml"],
    ],
)
def test_a_suffix_elsewhere_makes_no_file(words: list[str]) -> None:
    assert images.from_words(words) is None


def test_files_and_elements_together_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"(?s)a\.yaml is a file of images, and 'vm' is not.*hint"
    ):
        images.from_words(["a.yaml", "vm"])


@pytest.mark.parametrize("number", ["0", "-1", "many", "1.5"])
def test_a_number_of_images_is_whole_and_not_nothing(
    number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        images.from_words([f"--jobs={number}", "a.yaml"])
    assert f"not a number from 1: '{number}'" in capsys.readouterr().err


def test_options_of_all_images_keep_their_arguments() -> None:
    words = ["-n", "--image-size", "5", "-x", "a.yaml", "--refresh=install", "--refresh", "-o", "b"]
    options, names = split(words)
    assert names == ["a.yaml"]
    assert sorted(options) == sorted(set(words) - {"a.yaml"})
    assert options[options.index("--image-size") + 1] == "5"


def test_a_dry_run_prints_the_command_lines_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(FILE)
    assert images.main([str(file), "--dry-run"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "A='x y' disk-image-create -o out/web -t tar tiny\n\n"
    assert printed.out == ""


def test_options_of_all_images_come_before_those_of_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(FILE)
    found = images.from_words(["--dry-run", "--offline", str(file)])
    assert found
    assert images.build(*found) == 0
    assert " disk-image-create --offline -o out/web " in capsys.readouterr().err


def test_a_file_that_is_wrong_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("- nothing: 1\n")
    assert images.main([str(file)]) == 1
    assert "a.yaml:1:3: in '0': unknown key 'nothing'" in capsys.readouterr().err


def test_the_help_names_every_key() -> None:
    text = images.help_text()
    assert "  imagename " in text
    assert "  qemu-img-options " in text


def test_lines_begin_with_the_shortest_name_that_is_one() -> None:
    names = ("out/web", "a/db", "b/db")
    found = images.labels([Image(name=name, where="", words=()) for name in names])
    assert list(found.values()) == ["web", "a/db", "b/db"]


def test_the_table_says_what_became_of_each() -> None:
    outcomes = (
        Outcome(task=task("web", "web.tar", "web.raw"), status=0, seconds=12.34),
        Outcome(task=task("long-name", "x"), status=143, seconds=1.0),
        Outcome(task=task("db", "x"), status=None),
    )
    assert images.table(outcomes).splitlines() == [
        "image      status        seconds  outputs",
        "web        built            12.3  web.tar, web.raw",
        "long-name  failed (143)      1.0",
        "db         not begun",
    ]


def test_a_build_gets_its_image_s_words_and_its_share_of_memory() -> None:
    found = command(task("web"), Grant(job=task("web").job, memory=5))
    assert found.argv[1:] == ("-m", "imagebuilder", "build", "-o", "web", "tiny")
    assert found.environment() == {"HOME": "/root", "IMAGEBUILDER_MEMORY": "5"}


def test_a_ramdisk_has_a_program_of_its_own() -> None:
    plain = task("a")
    ramdisk = replace(plain, image=replace(plain.image, ramdisk=True))
    found = command(ramdisk, Grant(job=plain.job, memory=5))
    assert "ramdisk_image_create()" in found.argv[2]
    assert found.argv[3:] == ("-o", "a", "tiny")


def test_a_build_without_memory_is_on_disk() -> None:
    found = command(task("web"), Grant(job=task("web").job, memory=0))
    assert found.environment() == {"HOME": "/root", "DIB_NO_TMPFS": "1"}
