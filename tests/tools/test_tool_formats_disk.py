"""Images for other hypervisors and clouds, read by the tools that know them."""

import hashlib
import os
import re
import shutil
import struct
import tarfile
import time
from pathlib import Path
from uuid import UUID
from xml.etree import ElementTree as ET  # ruff: ignore[suspicious-xml-etree-import] - our own

import pytest

from imagebuilder.disk import gpt
from imagebuilder.disk.model import Slot
from imagebuilder.errors import ConfigError
from imagebuilder.formats import converted, gce, ova, qemu_img
from imagebuilder.formats.grown import grown
from imagebuilder.formats.model import Output
from imagebuilder.process import Command, find, run

MIB, GIB = 2**20, 2**30
EPOCH = 1_600_000_000
DRIVERS = {"vhd": "vpc", "azure": "vpc", "vmdk-stream": "vmdk", "ova": "vmdk"}
DISK = UUID("11111111-2222-3333-4444-555555555555")

pytestmark = pytest.mark.tools
needs_qemu_img = pytest.mark.skipif(find("qemu-img") is None, reason="needs qemu-img")
needs_sgdisk = pytest.mark.skipif(find("sgdisk") is None, reason="needs sgdisk")
needs_tar = pytest.mark.skipif(find("tar") is None, reason="needs GNU tar")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A disk with a GPT, of no round size."""
    return make(tmp_path / "disk", b"some words, " * 100_000)


def make(path: Path, content: bytes, size: int = 33 * MIB + 4096) -> Path:
    slot = Slot(number=1, type="8300", name="root", uuid=DISK, offset=MIB, size=16 * MIB)
    with path.open("wb") as file:
        file.truncate(size)
        for at, piece in gpt.pieces(size, 512, DISK, [slot]):
            file.seek(at)
            file.write(piece)
        file.seek(2 * MIB)
        file.write(content)
    return path


def convert(disk: Path, directory: Path, name: str, **more: object) -> Path:
    directory.mkdir(exist_ok=True)
    suffix = converted.SUFFIXES.get(name, f".{name}")
    output = Output(path=directory / f"web{suffix}", format=name, epoch=EPOCH, **more)  # type: ignore[arg-type]
    return converted.write(disk, output, run).path


def qemu(*words: str) -> str:
    return run(Command(("qemu-img", *words))).output


@needs_qemu_img
@pytest.mark.parametrize(
    "name", ["vhd", "vmdk", "vmdk-stream", "vdi", "vhdx", "vpc", "qed", "parallels"]
)
def test_an_image_has_the_disks_content_and_the_same_bytes_again(
    disk: Path, tmp_path: Path, name: str
) -> None:
    driver = DRIVERS.get(name, name)
    if name == "vhd":
        disk = make(tmp_path / "whole", b"some words, " * 100_000, size=33 * MIB)
    first = convert(disk, tmp_path / "a", name)
    assert f"file format: {driver}\n" in qemu("info", "-f", driver, str(first))
    assert "identical" in qemu("compare", "-f", "raw", "-F", driver, str(disk), str(first))
    if name not in {"vhd", "vpc"}:
        assert "No errors were found" in qemu("check", "-f", driver, str(first))
    time.sleep(0.01)
    assert convert(disk, tmp_path / "b", name).read_bytes() == first.read_bytes()
    assert [path.name for path in first.parent.iterdir()] == [first.name]


@needs_qemu_img
@pytest.mark.parametrize(("name", "at"), [("vdi", 392), ("vhd", 68), ("vhdx", 64 * 2**10 + 16)])
def test_images_of_different_content_have_different_ids(
    disk: Path, tmp_path: Path, name: str, at: int
) -> None:
    other = make(tmp_path / "other", b"other words, " * 100_000)
    ids = {
        convert(source, tmp_path / source.name.upper(), name).read_bytes()[at : at + 16]
        for source in (disk, other)
    }
    assert len(ids) == 2
    assert bytes(16) not in ids


@needs_qemu_img
def test_a_vhd_has_whole_mib_and_sound_checksums(disk: Path, tmp_path: Path) -> None:
    content = convert(disk, tmp_path / "out", "vhd").read_bytes()
    footer = content[-512:]
    assert content[:512] == footer
    assert struct.unpack_from(">Q", footer, 48) == (34 * MIB,)
    assert struct.unpack_from(">I", footer, 24) == (EPOCH - 946684800,)
    (told,) = struct.unpack_from(">I", footer, 64)
    assert told == ~sum(footer[:64] + footer[68:]) & 0xFFFFFFFF


@needs_qemu_img
@needs_sgdisk
def test_azure_gets_a_fixed_disk_of_whole_mib_with_its_partition_table(
    disk: Path, tmp_path: Path
) -> None:
    before = disk.read_bytes()
    made = convert(disk, tmp_path / "out", "azure")
    assert made.stat().st_size == 34 * MIB + 512
    assert made.stat().st_blocks * 512 < 8 * MIB
    footer = made.read_bytes()[-512:]
    assert struct.unpack_from(">I", footer, 60) == (2,)  # fixed
    assert struct.unpack_from(">Q", footer, 48) == (34 * MIB,)
    back = tmp_path / "back"
    back.write_bytes(made.read_bytes()[:-512])
    assert "No problems found" in run(Command(("sgdisk", "--verify", str(back)))).output
    assert disk.read_bytes() == before


@needs_qemu_img
def test_azure_enlarges_no_disk_of_whole_mib(tmp_path: Path) -> None:
    disk = make(tmp_path / "disk", b"words", size=32 * MIB)
    made = convert(disk, tmp_path / "a", "azure").read_bytes()
    assert made[:-512] == disk.read_bytes()
    assert convert(disk, tmp_path / "b", "azure").read_bytes() == made


@needs_qemu_img
def test_a_vhd_that_is_asked_to_be_fixed_is_what_azure_takes(disk: Path, tmp_path: Path) -> None:
    given = ("subformat=fixed",)
    fixed = convert(disk, tmp_path / "a", "vhd", options=given).read_bytes()
    assert fixed == convert(disk, tmp_path / "b", "azure").read_bytes()


@needs_qemu_img
def test_the_descriptor_of_a_vmdk_names_the_file(disk: Path, tmp_path: Path) -> None:
    for name, kind in (("vmdk", "monolithicSparse"), ("vmdk-stream", "streamOptimized")):
        made = convert(disk, tmp_path / "out", name)
        text = made.read_bytes()[512 : 512 + 20 * 512].rstrip(b"\0").decode()
        assert f'createType="{kind}"' in text
        assert f'SPARSE "{made.name}"' in text
        assert re.search(r"(?m)^CID=[0-9a-f]{8}$", text)


@needs_sgdisk
@pytest.mark.parametrize("step", [MIB, GIB, 33 * MIB + 512 * 9])
def test_a_grown_disk_has_a_sound_gpt_and_is_as_before_afterwards(disk: Path, step: int) -> None:
    before, holes = disk.read_bytes(), disk.stat().st_blocks
    with grown(disk, step):
        assert disk.stat().st_size % step == 0
        said = run(Command(("sgdisk", "--verify", "--info=1", str(disk)))).output
        assert "No problems found" in said
        assert str(DISK).upper() in said
    assert disk.read_bytes() == before
    assert disk.stat().st_blocks <= holes + 64


def test_a_disk_without_a_gpt_is_only_longer(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"no table" * 100)
    with grown(disk, MIB):
        assert disk.read_bytes() == (b"no table" * 100).ljust(MIB, b"\0")
    assert disk.read_bytes() == b"no table" * 100


@needs_tar
def test_gce_gets_a_disk_of_whole_gib_that_tar_unpacks(disk: Path, tmp_path: Path) -> None:
    before = disk.read_bytes()
    outputs = [
        Output(path=tmp_path / f"{name}.gce.tar.gz", format="gce", epoch=EPOCH, checksums=("md5",))
        for name in ("a", "b")
    ]
    made = [gce.write(disk, output, run) for output in outputs]
    content = made[0].path.read_bytes()
    assert made[1].path.read_bytes() == content
    assert made[0].digests["md5"] == hashlib.md5(content, usedforsecurity=False).hexdigest()
    (tmp_path / "out").mkdir()
    run(Command(("tar", "-C", str(tmp_path / "out"), "-xzSf", str(made[0].path))))
    (unpacked,) = (tmp_path / "out").iterdir()
    assert (unpacked.name, unpacked.stat().st_size) == ("disk.raw", GIB)
    assert unpacked.stat().st_blocks * 512 < 8 * MIB
    with unpacked.open("rb") as file:
        file.seek(MIB)
        assert file.read(20 * MIB) == before[MIB : 21 * MIB]
    assert disk.read_bytes() == before
    with tarfile.open(made[0].path) as archive:
        (member,) = archive
        assert (member.name, member.size, member.mtime, member.uid) == ("disk.raw", GIB, EPOCH, 0)


@needs_tar
def test_gce_gets_disks_with_many_holes(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        for number in range(100):
            file.seek(number * 3 * 4096)
            file.write(os.urandom(100))
        file.truncate(9 * GIB + 1)
    output = Output(path=tmp_path / "web.gce.tar.gz", format="gce")
    gce.write(disk, output, run)
    (tmp_path / "out").mkdir()
    run(Command(("tar", "-C", str(tmp_path / "out"), "-xzf", str(output.path))))
    unpacked = tmp_path / "out/disk.raw"
    assert unpacked.stat().st_size == 10 * GIB
    with unpacked.open("rb") as ours, disk.open("rb") as theirs:
        assert ours.read(2 * MIB) == theirs.read(2 * MIB)


@needs_qemu_img
def test_an_appliance_is_described_first_and_whole(disk: Path, tmp_path: Path) -> None:
    output = Output(path=tmp_path / "web & co.ova", format="ova", epoch=EPOCH, overwrite=True)
    content = ova.write(disk, output, run).path.read_bytes()
    assert ova.write(disk, output, run).path.read_bytes() == content
    with tarfile.open(output.path) as archive:
        names = archive.getnames()
        assert names == ["web & co.ovf", "web & co-disk1.vmdk", "web & co.mf"]
        archive.extractall(tmp_path / "out", filter="data")
    for line in (tmp_path / "out/web & co.mf").read_text().splitlines():
        name, digest = re.fullmatch(r"SHA256\((.+)\)= (\w{64})", line).groups()  # type: ignore[union-attr]
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest
    member = tmp_path / "out/web & co-disk1.vmdk"
    text = (tmp_path / "out/web & co.ovf").read_text()
    described = ET.fromstring(text)  # ruff: ignore[suspicious-xml-element-tree-usage] - our own
    space = "{http://schemas.dmtf.org/ovf/envelope/1}"
    (file,) = described.iter(f"{space}File")
    (virtual,) = described.iter(f"{space}Disk")
    assert (file.get(f"{space}href"), file.get(f"{space}size")) == (
        member.name,
        str(member.stat().st_size),
    )
    assert virtual.get(f"{space}capacity") == str(disk.stat().st_size)
    assert "identical" in qemu("compare", "-f", "raw", "-F", "vmdk", str(disk), str(member))
    assert [path.name for path in disk.parent.iterdir() if path.name.startswith("tmp")] == []


@needs_qemu_img
def test_options_go_to_the_formats_that_take_them() -> None:
    formats = {"qcow2": ("qcow2", ()), "vmdk": ("vmdk", ()), "vhd": ("vpc", ("force_size=on",))}
    text = "compat=0.10,vmdk:subformat=streamOptimized,adapter_type=lsilogic,subformat=fixed"
    assert qemu_img.scoped(text, formats) == {
        "qcow2": ("compat=0.10",),
        "vmdk": ("subformat=streamOptimized", "adapter_type=lsilogic"),
        "vhd": ("subformat=fixed",),
    }


@needs_qemu_img
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("colour=blue", "'colour=blue' is refused by qemu-img .*vmdk: .*colour"),
        ("compat=0.10,compression_type=zstd", "qcow2 cannot have .*compression"),
        ("vmkd:subformat=streamOptimized", "for none of the outputs .qcow2, vmdk"),
        ("subformat=monolithicFlat", "more than one file"),
    ],
)
def test_options_that_no_output_takes_are_refused(text: str, told: str) -> None:
    formats = {"qcow2": ("qcow2", ()), "vmdk": ("vmdk", ())}
    with pytest.raises(ConfigError, match=told):
        qemu_img.scoped(text, formats)


@needs_qemu_img
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("vmdkk", "nor can qemu-img write it: Unknown file format.*\n.*did you mean 'vmdk'"),
        ("bochs", "does not support image creation"),
        ("luks", "key-secret"),
    ],
)
def test_what_qemu_img_cannot_write_is_told_beforehand(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        converted.check(Output(path=Path("web"), format=name))


@needs_qemu_img
def test_a_checksum_is_that_of_the_settled_image(disk: Path, tmp_path: Path) -> None:
    made = convert(disk, tmp_path / "out", "vdi", checksums=("md5", "sha256"))
    for kind in ("md5", "sha256"):
        told = Path(f"{made}.{kind}").read_text().split()[0]
        assert told == hashlib.new(kind, made.read_bytes()).hexdigest()
    shutil.rmtree(made.parent)
