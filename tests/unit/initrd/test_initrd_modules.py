"""Kernel modules and libraries that are to go into an initrd."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from imagebuilder.codec import standard
from imagebuilder.errors import ConfigError
from imagebuilder.initrd import kernels, libraries, load, modules, newc, rootfs
from imagebuilder.initrd.libraries import Home
from imagebuilder.initrd.model import Archive, Entry
from imagebuilder.initrd.rootfs import Rootfs

MAGIC = "6.1.0-1-amd64 SMP preempt mod_unload modversions"
NAMES = b"\0.modinfo\0.shstrtab\0"


def module(vermagic: str = MAGIC, depends: str = "", name: str = "mine") -> bytes:
    """An ELF file with nothing but `.modinfo`."""
    info = f"name={name}\0vermagic={vermagic} \0depends={depends}\0license=GPL\0".encode()
    header = struct.pack(
        "<4sBBBB8sHHIQQQIHHHHHH",
        b"\x7fELF", 2, 1, 1, 0, b"", 1, 62, 1, 0, 0, 64 + len(info) + len(NAMES), 0, 64, 0, 0,
        64, 3, 2,
    )  # fmt: skip
    rows = [
        struct.pack("<IIQQQQIIQQ", name_at, 1, 0, 0, offset, size, 0, 0, 1, 0)
        for name_at, offset, size in (
            (0, 0, 0), (1, 64, len(info)), (10, 64 + len(info), len(NAMES)),
        )
    ]  # fmt: skip
    return header + info + NAMES + b"".join(rows)


def made(files: dict[str, bytes]) -> Rootfs:
    directories = {
        "/".join(path.split("/")[:depth])
        for path in files
        for depth in range(1, path.count("/") + 1)
    }
    entries = [
        *(Entry(name=name, mode=0o40755) for name in sorted(directories)),
        *(Entry(name=name, mode=0o100644, content=content) for name, content in files.items()),
    ]
    return rootfs.of(load.load(newc.write(Archive(entries=tuple(entries))), "x"))


HOME = "lib/modules/6.1.0-1-amd64"
BASE = {
    f"{HOME}/kernel/virtio-net.ko": module(name="virtio_net"),
    f"{HOME}/modules.builtin": b"kernel/lib/crc16.ko\n",
}


def test_a_module_belongs_to_the_updates_of_its_kernel() -> None:
    path = modules.destination(made(BASE), module(), "/tmp/mine.ko")
    assert path == f"{HOME}/updates/mine.ko"


def test_a_compressed_module_is_read() -> None:
    packed = standard.pack_xz(module(), b"")
    assert modules.parse(packed, "mine.ko.xz").release == "6.1.0-1-amd64"


def test_a_module_for_another_kernel_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        modules.destination(made(BASE), module("6.2.0 SMP"), "mine.ko")
    assert str(caught.value) == (
        "mine.ko: is for kernel 6.2.0, the initrd has modules of 6.1.0-1-amd64"
    )


def test_a_module_for_another_build_of_the_kernel_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"is for a kernel '6.1.0-1-amd64 SMP', the one of"):
        modules.destination(made(BASE), module("6.1.0-1-amd64 SMP"), "mine.ko")


def test_a_module_needs_those_that_it_depends_on() -> None:
    with pytest.raises(ConfigError, match=r"mine.ko: needs net_failover, not in the initrd"):
        modules.check_depends(made(BASE), [(module(depends="net_failover,virtio_net"), "mine.ko")])


def test_modules_that_are_built_in_or_new_will_do() -> None:
    given = [(module(depends="crc16,other"), "mine.ko"), (module(name="other"), "other.ko")]
    modules.check_depends(made(BASE), given)


@pytest.mark.parametrize("content", [b"text\n", b"\x7fELF\x02\x01" + bytes(99), module()[:200]])
def test_what_is_no_module_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"x.ko: (not|a damaged) (a )?kernel module"):
        modules.parse(content, "x.ko")


def test_a_kernel_tells_its_release() -> None:
    kernel = bytearray(0x400)
    kernel[0x202:0x206] = b"HdrS"
    kernel[0x20E:0x210] = (0x100).to_bytes(2, "little")
    kernel[0x300:] = b"6.1.0-1-amd64 (build@x) #1\0"
    assert modules.kernel_release(bytes(kernel), "linux") == "6.1.0-1-amd64"


def test_what_is_no_kernel_has_no_release() -> None:
    with pytest.raises(ConfigError, match=r"linux: is no Linux kernel for x86"):
        modules.kernel_release(bytes(0x400), "linux")


def host_program() -> Path:
    found = next((Path(p) for p in ("/bin/bash", "/usr/bin/bash") if Path(p).exists()), None)
    if found is None or not found.read_bytes().startswith(b"\x7fELF"):
        pytest.skip("needs a dynamic program on the host")
    return found


def closure(root: Rootfs, program: Path) -> list[str]:
    entry = Entry(name="bin/p", mode=0o100755, content=program.read_bytes())
    home = Home(root=root, tree=Path("/"), epoch=0, where="x")
    return [each.name for each in libraries.closure(entry, home)]


def test_a_program_brings_its_loader_and_its_libraries() -> None:
    names = closure(made({"init": b""}), host_program())
    assert any("ld-linux" in name for name in names)
    assert any(name.endswith("/libc.so.6") for name in names)


def test_libraries_that_are_there_are_used() -> None:
    program = host_program()
    first = made({"init": b""})
    entry = Entry(name="bin/p", mode=0o100755, content=program.read_bytes())
    home = Home(root=first, tree=Path("/"), epoch=0, where="x")
    there = {each.name: each.content for each in libraries.closure(entry, home)}
    assert closure(made(there), program) == []


def test_a_library_that_is_nowhere_is_named(tmp_path: Path) -> None:
    entry = Entry(name="bin/p", mode=0o100755, content=host_program().read_bytes())
    home = Home(root=made({"init": b""}), tree=tmp_path, epoch=0, where="x")
    with pytest.raises(ConfigError, match=r"x: its loader .*ld-linux.* is not in "):
        libraries.closure(entry, home)


def test_a_library_that_is_too_old_is_refused() -> None:
    program = host_program()
    first = made({"init": b""})
    entry = Entry(name="bin/p", mode=0o100755, content=program.read_bytes())
    home = Home(root=first, tree=Path("/"), epoch=0, where="x")
    there = {e.name: e.content.replace(b"\0GLIBC_2.34\0", b"\0GLIBC_2.00\0")
             for e in libraries.closure(entry, home)}  # fmt: skip
    with pytest.raises(ConfigError, match=r"libc.so.6 in the initrd is too old for .*GLIBC_2.34"):
        closure(made(there), program)


def test_a_static_program_brings_nothing() -> None:
    entry = Entry(name="bin/p", mode=0o100755, content=b"#!/bin/sh\n")
    home = Home(root=made({"init": b""}), tree=Path("/"), epoch=0, where="x")
    assert libraries.closure(entry, home) == []


@pytest.mark.parametrize(
    ("initrd", "kernel"),
    [
        ("agent.initramfs", "agent.kernel"),
        ("web.initrd", "web.vmlinuz"),
        ("initrd.img-6.1.0-1-amd64", "vmlinuz-6.1.0-1-amd64"),
        ("initramfs-6.1.img", "vmlinuz-6.1"),
        ("initrd.gz", "linux"),
        ("initrd", "vmlinuz"),
        ("initrd.img", "linux26"),
    ],
)
def test_the_kernel_beside_an_initrd_is_found(tmp_path: Path, initrd: str, kernel: str) -> None:
    (tmp_path / kernel).write_bytes(bytes(0x202) + b"HdrS")
    (tmp_path / "other").write_bytes(bytes(0x202) + b"HdrS")
    assert kernels.beside(tmp_path / initrd) == tmp_path / kernel
    (tmp_path / kernel).write_bytes(b"text")
    assert kernels.beside(tmp_path / initrd) is None
