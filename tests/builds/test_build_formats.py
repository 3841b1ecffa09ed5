"""Outputs of every kind from one build, as callers of diskimage-builder ask for them."""

from __future__ import annotations

import os
import tarfile
from subprocess import CompletedProcess
from typing import TYPE_CHECKING

import pytest

from imagebuilder.process import Command, find, run

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    pytest.mark.skipif(
        None in {find("qemu-img"), find("mksquashfs"), find("sgdisk")},
        reason="needs qemu-img, mksquashfs and sgdisk",
    ),
]
FILES = {
    "qcow2": "web.qcow2", "vhd": "web.vhd", "azure": "web.azure.vhd", "vmdk": "web.vmdk",
    "tgz": "web.tgz", "squashfs": "web.squash", "oci": "web.oci.tar", "aci": "web.aci",
    "qed": "web.qed", "raw": "web.raw",
}  # fmt: skip
COMMON = ("-n", "--checksum", "--no-tmpfs", "-o", "web")
GPT = "[{local_loop: {name: image0}}, {partitioning: {base: image0, label: gpt, partitions: [\
{name: root, type: 8300, size: 100%, mkfs: {mount: {mount_point: /}}}]}}]"


def build(workshop: Workshop, *types: str, **variables: str) -> CompletedProcess[str]:
    options = ("--qemu-img-options", "compat=0.10")
    return workshop.create(
        *COMMON, "-t", ",".join(types), *options, "tiny", DIB_BLOCK_DEVICE_CONFIG=GPT, **variables
    )


@pytest.fixture(scope="module")
def first(images: Workshop) -> CompletedProcess[str]:
    """A build of all formats."""
    return build(images, *FILES, DIB_SHOW_IMAGE_USAGE_FULL="1")


def test_all_formats_are_made_with_their_checksums(
    images: Workshop, first: CompletedProcess[str]
) -> None:
    assert first.returncode == 0, first.stdout
    names = {path.name for path in images.directory.iterdir() if path.name.startswith("web")}
    sums = {f"{name}.{kind}" for name in FILES.values() for kind in ("md5", "sha256")}
    assert names == {*FILES.values(), *sums, "web.d"}
    for kind in ("md5", "sha256"):
        lists = [str(images.directory / f"{name}.{kind}") for name in FILES.values()]
        run(Command((f"{kind}sum", "--check", "--quiet", *lists), cwd=images.directory))


def test_each_disk_image_has_the_raw_disks_content(
    images: Workshop, first: CompletedProcess[str]
) -> None:
    assert first.returncode == 0
    for name, driver in (("qcow2", "qcow2"), ("vmdk", "vmdk"), ("qed", "qed")):
        words = ("-f", "raw", "-F", driver, "web.raw", f"web.{name}")
        done = run(Command(("qemu-img", "compare", *words), cwd=images.directory))
        assert "identical" in done.output
    told = run(Command(("qemu-img", "info", str(images.directory / "web.qcow2")))).output
    assert "compat: 0.10" in told


def test_azures_disk_is_whole_and_the_raw_one_is_as_it_was(
    images: Workshop, first: CompletedProcess[str]
) -> None:
    assert first.returncode == 0
    sizes = {name: (images.directory / name).stat().st_size for name in FILES.values()}
    assert (sizes["web.azure.vhd"] - 512) % 2**20 == 0
    assert sizes["web.raw"] <= sizes["web.azure.vhd"] - 512
    done = run(Command(("sgdisk", "--verify", str(images.directory / "web.raw"))))
    assert "No problems found" in done.output


def test_usage_and_a_missing_manifest_are_told(first: CompletedProcess[str]) -> None:
    assert "ACI_MANIFEST does not name one" in first.stdout
    usage = first.stdout.split("image usage", 1)[1]
    assert "iB  /usr/bin\n" in usage
    assert "MiB  /\n" in usage


def test_all_come_from_the_cache_next_time(images: Workshop, first: CompletedProcess[str]) -> None:
    assert first.returncode == 0
    before = (images.directory / "web.oci.tar").read_bytes()
    for name in FILES.values():
        (images.directory / name).unlink()
    again = build(images, *FILES)
    assert again.returncode == 0, again.stdout
    assert "cache: outputs taken from it" in again.stdout
    assert (images.directory / "web.oci.tar").read_bytes() == before


def test_archives_of_containers_are_the_only_output_without_a_daemon(workshop: Workshop) -> None:
    done = workshop.create(
        *COMMON, "-t", "docker", "--docker-target", "example/web:1.0", "tiny",
        DOCKER_HOST="unix:///no/such/socket",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    with tarfile.open(workshop.directory / "web.docker.tar") as archive:
        assert "manifest.json" in archive.getnames()
    if not find("podman"):
        assert "no Docker daemon answers" in done.stdout


def test_a_daemon_is_given_the_image_again_if_it_did_not_take_it(workshop: Workshop) -> None:
    programs, busy = workshop.directory / "bin", workshop.directory / "busy"
    programs.mkdir()
    busy.touch()
    (programs / "docker").write_text(
        f'#!/bin/sh\necho "$@" >>{workshop.directory}/calls\n[ "$1" != load ] || [ ! -e {busy} ]\n'
    )
    (programs / "docker").chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    words = (*COMMON, "-t", "docker", "--docker-target", "example/web", "tiny")
    first = workshop.create(*words, PATH=path)
    assert first.returncode == 1
    assert "web.docker.tar: docker did not take the image" in first.stdout
    busy.unlink()
    second = workshop.create(*words, PATH=path)
    assert second.returncode == 0, second.stdout
    assert "cache: outputs are up to date" in second.stdout
    assert "docker: loaded into docker as example/web:latest" in second.stdout
    calls = (workshop.directory / "calls").read_text().splitlines()
    assert calls.count("load --input web.docker.tar") == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-t", "a/b"), "not the name of a format: 'a/b'"),
        (("-t", ""), "-t: no format is named"),
        (("-t", "tar", "-o", "file"), "file.d: is not a directory, and the report belongs there"),
        (("-t", "docker"), "--docker-target"),
        (("-t", "vmdk", "--qemu-img-options", "colour=blue"), "'colour=blue'"),
        (("-t", "squashfs", "--squashfs-compression", "zip"), "'zip'"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_done(
    workshop: Workshop, words: tuple[str, ...], told: str
) -> None:
    (workshop.directory / "file.d").touch()
    done = workshop.create("-n", *words, "tiny")
    assert done.returncode == 1
    assert told in done.stdout
    assert "root begins" not in done.stdout


def test_a_plan_refuses_what_no_build_could_write(workshop: Workshop) -> None:
    done = workshop.imagebuilder("plan", "-n", "-t", "qcow2,vmkd", "tiny")
    assert done.returncode == 2
    assert "no format is called 'vmkd'" in done.stderr
    assert "'vmdk'" in done.stderr


@pytest.mark.parametrize(
    ("name", "variable", "value", "told"),
    [
        ("tgz", "DIB_GZIP_BIN", "no-such-gzip", "DIB_GZIP_BIN: no-such-gzip is not installed"),
        ("aci", "ACI_MANIFEST", "no-such-file", "no-such-file: cannot be read"),
    ],
)
def test_a_program_or_manifest_that_is_not_there_is_refused(
    workshop: Workshop, name: str, variable: str, value: str, told: str
) -> None:
    done = workshop.create("-n", "-t", name, "tiny", **{variable: value})
    assert done.returncode == 1
    assert told in done.stdout


def test_a_plan_has_the_names_of_files(workshop: Workshop) -> None:
    done = workshop.imagebuilder("plan", "-n", "-o", "web", "-t", "squashfs,azure,qed", "tiny")
    assert done.returncode == 0, done.stderr
    for name in ("web.squash", "web.azure.vhd", "web.qed"):
        assert name in done.stdout
