"""What outputs are called, made with and handed on to, as far as no program has to run."""

import hashlib
import os
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from imagebuilder import registry
from imagebuilder.errors import CommandError, ConfigError, PublishError, ToolMissingError
from imagebuilder.formats import container, converted, digests, oldgnu, qemu_img, squashfs, stamped
from imagebuilder.formats.model import Output
from imagebuilder.process import Command, Recorder, Result

EPOCH = 1_600_000_000


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("qcow2", ".qcow2"),
        ("squashfs", ".squash"),
        ("azure", ".azure.vhd"),
        ("gce", ".gce.tar.gz"),
        ("docker", ".docker.tar"),
        ("vpc", ".vpc"),
        ("anything", ".anything"),
    ],
)
def test_every_type_has_a_file_name(name: str, suffix: str) -> None:
    assert registry.suffix(name) == suffix


def test_what_no_plugin_writes_is_qemu_imgs() -> None:
    assert registry.output_format("qed") is converted
    assert converted.for_qemu_img("qed") == ("qed", ())
    assert converted.for_qemu_img("azure") == ("vpc", ("subformat=fixed", "force_size=on"))


@pytest.mark.parametrize(
    ("target", "repository", "tag"),
    [
        ("web", "web", "latest"),
        ("example/web:1.0", "example/web", "1.0"),
        ("host:5000/web", "host:5000/web", "latest"),
        ("docker://host:5000/a/web:2", "host:5000/a/web", "2"),
        ("", "", "latest"),
    ],
)
def test_names_of_container_images(target: str, repository: str, tag: str) -> None:
    assert container.reference(target) == (repository, tag)


@pytest.mark.parametrize("target", ["", "a b", "web@sha256:0", ":1.0"])
def test_an_image_for_docker_needs_a_name(target: str) -> None:
    with pytest.raises(ConfigError):
        container.check(Output(path=Path("web"), format="docker", target=target))


def test_nothing_is_pushed_without_skopeo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "find", lambda _: None)
    output = Output(path=Path("web"), format="oci", target="docker://host/web")
    with pytest.raises(ToolMissingError, match="skopeo"):
        container.check(output)


def with_programs(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(container, "find", lambda name: name if name in names else None)


def test_a_daemon_that_answers_gets_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    with_programs(monkeypatch, "docker", "podman")
    run = Recorder()
    output = Output(path=Path("web.docker.tar"), format="docker", target="web")
    assert container.deliver(output, run) == "loaded into docker as web:latest"
    assert run.commands[-1].argv == ("docker", "load", "--input", "web.docker.tar")


def test_podman_gets_it_where_no_daemon_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with_programs(monkeypatch, "docker", "podman")
    loaded = []

    def run(command: Command) -> Result:
        if command.argv[0] == "docker":
            raise CommandError("exit status 1\nCannot connect to the Docker daemon")
        loaded.append(command.argv[0])
        return Result(command, 0, "")

    output = Output(path=Path("web.docker.tar"), format="docker", target="web")
    assert container.deliver(output, run) == "loaded into podman as web:latest"
    assert loaded == ["podman"]


def test_the_file_alone_is_enough_without_either(monkeypatch: pytest.MonkeyPatch) -> None:
    with_programs(monkeypatch)
    output = Output(path=Path("web.docker.tar"), format="docker", target="web")
    assert "only web.docker.tar was written" in container.deliver(output, Recorder())


def test_an_oci_image_without_a_registry_goes_nowhere() -> None:
    run = Recorder()
    assert container.deliver(Output(path=Path("web.oci.tar"), format="oci"), run) == ""
    assert run.commands == []


def test_a_delivery_that_fails_names_the_file() -> None:
    def run(command: Command) -> Result:
        raise CommandError("exit status 1\nunauthorized", where=str(command))

    output = Output(path=Path("web.oci.tar"), format="oci", target="docker://host/web")
    with pytest.raises(PublishError, match=r"web\.oci\.tar: skopeo did not take the image"):
        container.deliver(output, run)


def test_squashfs_is_told_everything_that_decides_its_bytes() -> None:
    output = Output(path=Path("web.squash"), format="squashfs", epoch=EPOCH, squashfs="zstd")
    argv = squashfs.pack(Path("/tree"), Path("/out"), output).argv
    assert argv[:3] == ("mksquashfs", "/tree", "/out")
    assert argv[argv.index("-comp") + 1] == "zstd"
    assert argv[argv.index("-mkfs-time") + 1] == str(EPOCH)
    assert argv[argv.index("-e") + 1 :][:4] == ("proc/*", "proc/.*", "sys/*", "sys/.*")


def test_options_that_are_given_win() -> None:
    own = ("subformat=dynamic", "force_size=on")
    assert qemu_img.combined(own, ("subformat=fixed",)) == ("subformat=fixed", "force_size=on")


def test_the_checksum_of_vhdx_headers_is_crc_32c() -> None:
    assert stamped._crc32c(b"123456789") == 0xE3069283


def test_remains_behind_a_vmdk_descriptor_make_no_other_image(tmp_path: Path) -> None:
    """Where its random CID is short, qemu leaves the end of a longer text behind the zero."""
    made = []
    for number, (cid, remains) in enumerate(((b"cafe1234", b""), (b"fe1234", b"\0\n"))):
        text = b'# Disk DescriptorFile\nCID=%s\nparentCID=ffffffff\nRW 8 SPARSE "/fd/3"\n' % cid
        header = bytes(stamped.VMDK_DESCRIPTOR_AT) + stamped.VMDK_DESCRIPTOR.pack(1, 2)
        path = tmp_path / str(number)
        path.write_bytes(header.ljust(512, b"\0") + (text + remains).ljust(1024, b"\0") + b"disk")
        stamped.settle("vmdk", path, Output(path=tmp_path / "web.vmdk", format="vmdk", epoch=0))
        made.append(path.read_bytes())
    assert made[0] == made[1]
    assert b'\nRW 8 SPARSE "web.vmdk"\n' in made[0]
    assert b"CID=00000000" not in made[0]


def test_digests_come_with_the_pieces() -> None:
    pieces = [os.urandom(1000) for _ in range(100)]
    with digests.running(("md5", "sha256")) as known:
        for piece in pieces:
            known.add(piece)
        told = known.end()
    content = b"".join(pieces)
    assert told == {
        "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_digests_end_when_the_writing_fails() -> None:
    def fail() -> None:
        with digests.running(("md5",)) as known:
            known.add(b"some")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()


def test_no_digests_take_no_pieces() -> None:
    with digests.running(()) as known:
        known.add(b"some")
        assert known.end() == {}


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [(0, 1)],
        [(0, 4096), (4096, 4096)],
        [(8192, 100), (2**20, 3 * 2**20)],
        [(number * 12288, 1) for number in range(60)],
    ],
)
def test_an_old_archive_has_the_file_with_its_holes(
    tmp_path: Path, pieces: list[tuple[int, int]]
) -> None:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        for start, length in pieces:
            file.seek(start)
            file.write(b"\7" * length)
        file.truncate(5 * 2**20 + 3)
    with path.open("rb") as file:
        packed = b"".join(oldgnu.archive(file.fileno(), "disk.raw", EPOCH))
    assert len(packed) % 512 == 0
    assert len(packed) < 5 * 2**20
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        (member,) = archive
        content = archive.extractfile(member)
        assert content
        assert (member.name, member.mtime, member.mode) == ("disk.raw", EPOCH, 0o644)
        assert content.read() == path.read_bytes()


def test_sizes_beyond_octal_are_in_base_256() -> None:
    assert oldgnu._number(8**11 - 1) == b"77777777777\0"
    assert oldgnu._number(10 * 2**30) == b"\x80" + bytes(6) + b"\x02\x80\0\0\0"
