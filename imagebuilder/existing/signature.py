"""Which filesystem begins at a place, by its superblock; labels and UUIDs as blkid(8) has them.

Each format's place and magic number are those of its own documentation and of util-linux's
libblkid.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from uuid import UUID

from imagebuilder.existing.model import Signature

Read = Callable[[int, int], bytes]  # (offset, length) in the area; shorter at its end

COMPAT_JOURNAL = 0x4
INCOMPAT_JOURNAL_DEVICE = 0x8
INCOMPAT_EXT4 = 0x40 | 0x80 | 0x200  # extents, 64bit, flex_bg
RO_COMPAT_EXT4 = 0x8 | 0x10 | 0x20 | 0x40 | 0x400  # huge_file ... extra_isize, metadata_csum
PAGES = (4096, 8192, 16384, 65536)


def identify(read: Read) -> Signature | None:
    """What the area has in it; None if nobody knows."""
    for look in (_xfs, _btrfs, _ext, _luks, _lvm, _swap, _squashfs, _erofs, _vfat):
        found = look(read)
        if found is not None:
            return found
    return None


def _ext(read: Read) -> Signature | None:
    block = read(1024, 1024)
    if block[0x38:0x3A] != b"\x53\xef" or len(block) < 1024:
        return None
    compat, incompat, read_only = struct.unpack_from("<III", block, 0x5C)
    if incompat & INCOMPAT_JOURNAL_DEVICE:
        return None
    kind = "ext3" if compat & COMPAT_JOURNAL else "ext2"
    if incompat & INCOMPAT_EXT4 or read_only & RO_COMPAT_EXT4:
        kind = "ext4"
    return Signature(type=kind, label=_text(block[0x78:0x88]), uuid=_uuid(block[0x68:0x78]))


def _xfs(read: Read) -> Signature | None:
    block = read(0, 128)
    if not block.startswith(b"XFSB"):
        return None
    return Signature(type="xfs", label=_text(block[108:120]), uuid=_uuid(block[32:48]))


def _btrfs(read: Read) -> Signature | None:
    block = read(0x10000, 0x1000)
    if block[0x40:0x48] != b"_BHRfS_M":
        return None
    return Signature(type="btrfs", label=_text(block[0x12B:0x22B]), uuid=_uuid(block[0x20:0x30]))


def _vfat(read: Read) -> Signature | None:
    block = read(0, 512)
    if block[510:512] != b"\x55\xaa" or block[:1] not in (b"\xeb", b"\xe9"):
        return None
    wide = block[82:87] == b"FAT32"
    if not wide and block[54:57] != b"FAT":
        return None
    place = 67 if wide else 39
    serial = int.from_bytes(block[place : place + 4], "little")
    label = block[place + 4 : place + 15].decode("latin-1").rstrip()
    return Signature(
        type="vfat",
        label="" if label == "NO NAME" else label,
        uuid=f"{serial >> 16:04X}-{serial & 0xFFFF:04X}",
    )


def _swap(read: Read) -> Signature | None:
    for page in PAGES:
        if read(page - 10, 10) in (b"SWAPSPACE2", b"SWAP-SPACE"):
            block = read(1024, 44)
            return Signature(type="swap", label=_text(block[28:44]), uuid=_uuid(block[12:28]))
    return None


def _squashfs(read: Read) -> Signature | None:
    return Signature(type="squashfs") if read(0, 4) == b"hsqs" else None


def _erofs(read: Read) -> Signature | None:
    block = read(1024, 128)
    if block[:4] != b"\xe2\xe1\xf5\xe0":
        return None
    return Signature(type="erofs", label=_text(block[64:80]), uuid=_uuid(block[48:64]))


def _lvm(read: Read) -> Signature | None:
    block = read(0, 2048)
    marked = any(block[at : at + 8] == b"LABELONE" for at in range(0, 2048, 512))
    return Signature(type="lvm") if marked else None


def _luks(read: Read) -> Signature | None:
    return Signature(type="luks") if read(0, 6) == b"LUKS\xba\xbe" else None


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode(errors="replace")


def _uuid(raw: bytes) -> str:
    return str(UUID(bytes=raw)) if len(raw) == 16 else ""
