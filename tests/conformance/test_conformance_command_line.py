"""What the command line does to outputs and to the log, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from typing import TYPE_CHECKING

import pytest
from conftest import CREATE, ROOT

from imagebuilder.process import find

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]
STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \| ")
REFUSED = ("-n", "tiny", "nonesuch")  # after the log has begun


def names(directory: Path, pattern: str) -> set[str]:
    return {path.name for path in directory.glob(pattern)}


def test_all_programs_are_installed() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    wanted = {"disk-image-create", "ramdisk-image-create", "diskimage-builder", "dib-lint"}
    assert wanted <= scripts.keys()


def test_several_outputs_of_one_build(images: Workshop) -> None:
    words = ("-n", "-u", "-t", "tgz,tar,qcow2,raw", "-o", "several.raw", "tiny")
    done = images.create(*words, DIB_CHECKSUM="sha256")
    assert done.returncode == 0, done.stdout
    outputs = {f"several.raw.{kind}" for kind in ("tgz", "tar", "qcow2", "raw")}
    sums = {f"{name}.sha256" for name in outputs}
    assert names(images.directory, "several*") == {*outputs, *sums, "several.raw.d"}


@pytest.mark.skipif(find("qemu-img") is None, reason="needs qemu-img")
def test_the_order_of_formats_changes_none_of_them(images: Workshop) -> None:
    done = images.create("-n", "-t", "raw,squashfs,qcow2", "-o", "order", "tiny")
    assert done.returncode == 0, done.stdout
    assert (images.directory / "order.squash").read_bytes()[:4] == b"hsqs"
    check = ["qemu-img", "check", "--output=json", "order.qcow2"]
    told = subprocess.run(check, cwd=images.directory, capture_output=True, check=True).stdout
    found = json.loads(told)
    assert found["compressed-clusters"] == found["allocated-clusters"] > 0


def test_a_name_may_have_any_bytes(images: Workshop) -> None:
    name = os.fsdecode(b"odd \xc3\xa4\xff 'name'")
    for _ in ("made", "found"):
        words = ("-n", "-t", "tar,qcow2,ova", "--checksum", "-o", name, "tiny")
        done = subprocess.run(
            [sys.executable, "-c", CREATE, *words],
            cwd=images.directory, env=images.variables({"OVERWRITE_OLD_IMAGE": "1"}),
            capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
    for kind in ("tar", "qcow2"):
        sums = [f"{name}.{kind}.{which}" for which in ("md5", "sha256")]
        for program, file in zip(("md5sum", "sha256sum"), sums, strict=True):
            subprocess.run([program, "--check", "--status", file], cwd=images.directory, check=True)


def test_tgz_alone_leaves_no_tar_and_a_suffix_is_not_doubled(images: Workshop) -> None:
    assert images.create("-n", "-t", "tgz", "-o", "one.tgz", "tiny").returncode == 0
    assert names(images.directory, "one*") == {"one.tgz", "one.d"}
    with tarfile.open(images.directory / "one.tgz") as tar:
        assert {"./proc", "./sys", "./dev"} <= {*tar.getnames()}
        assert not [name for name in tar.getnames() if name.startswith("./dev/")]


def test_an_old_output_gets_the_time_and_its_checksums_with_it(images: Workshop) -> None:
    for name in ("old.raw", "old.raw.md5"):
        (images.directory / name).write_text("old\n")
    assert images.create("-n", "-t", "raw", "-o", "old", "tiny").returncode == 0
    assert images.create(
        "-n", "-t", "raw", "-o", "old", "tiny", "--no-cache", OVERWRITE_OLD_IMAGE="1"
    ).returncode == 0  # fmt: skip
    kept = names(images.directory, "old-*")
    assert len(kept) == 2
    stamp = r"old-\d{4}\.\d\d\.\d\d-\d\d\.\d\d\.\d\d\.raw"
    assert all(re.fullmatch(rf"{stamp}(\.md5)?", name) for name in kept)


def test_an_element_with_no_final_image_in_its_name_makes_no_disk(images: Workshop) -> None:
    images.element("my-no-final-image-too", {"install.d/50-x": "true\n"})
    done = images.imagebuilder(
        "plan", "--format", "json", "-n", "-t", "qcow2,tar", "tiny", "my-no-final-image-too"
    )
    planned = json.loads(done.stdout)
    assert [output["format"] for output in planned["outputs"]] == ["tar"]


def test_a_new_element_can_be_built_with_at_once(images: Workshop) -> None:
    assert images.imagebuilder("element", "new", "web.app").returncode == 0
    images.element("installer", {"bin/install-packages": "#!/bin/bash\necho $@ >/installed\n"})
    done = images.create("-n", "-t", "tar", "-o", "new", "tiny", "web.app", "installer")
    assert done.returncode == 0, done.stdout
    with tarfile.open(images.directory / "new.tar") as tar:
        texts = [tar.extractfile(name) for name in ("./etc/web.app", "./installed")]
        assert [text.read() for text in texts if text] == [b"hello\n", b"ca-certificates\n"]


def test_a_vm_that_only_a_dependency_names_brings_no_layout(images: Workshop) -> None:
    images.element("needs-vm", {"element-deps": "vm\n"})
    done = images.create("-n", "tiny", "needs-vm")
    assert done.returncode == 1
    assert "Element 'block-device' not found" in done.stdout


@pytest.mark.parametrize(
    ("variables", "shown", "stamped"),
    [
        ({}, False, False),
        ({"DIB_QUIET": "0"}, True, True),
        ({"DIB_QUIET": "0", "DIB_NO_TIMESTAMP": "1"}, True, False),
    ],
)
def test_a_log_file_always_has_times(
    images: Workshop, variables: dict[str, str], *, shown: bool, stamped: bool
) -> None:
    log = images.directory / "the.log"
    log.write_text("before\n")
    done = images.create("--logfile", "the.log", *REFUSED, **variables)
    first, *rest = done.stdout.splitlines()
    assert first == "Output logs going to: the.log"
    assert any("Building elements" in line for line in rest) == shown
    assert any(map(STAMP.match, rest)) == stamped
    before, *lines = log.read_text().splitlines()
    assert before == "before"
    assert all(map(STAMP.match, lines))
    assert any("'nonesuch' not found" in line for line in lines)


def test_the_log_is_on_standard_output_and_wrong_use_on_standard_error(images: Workshop) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", CREATE, *words],
            cwd=images.directory, env=images.variables({}), capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    failed, misused = run(*REFUSED), run("--wrong", "tiny")
    assert (failed.returncode, misused.returncode) == (1, 1)
    assert "error: " in failed.stdout
    assert failed.stderr == ""
    assert misused.stdout == ""
    assert "--wrong not recognized" in misused.stderr


def test_quiet_means_nothing_on_standard_output(images: Workshop) -> None:
    done = images.create(*REFUSED, DIB_QUIET="1", DIB_NO_TIMESTAMP="1")
    assert done.stdout.startswith("error: ")  # on standard error, which is merged here
