"""What a file is by its first bytes: so that an error can say what was given instead.

The numbers are those of file(1)'s database and of each format's own specification.
"""

from __future__ import annotations

HEAD = 40960  # bytes that are looked at: ISO 9660 and UDF have their mark after 32 KiB

BEGINNINGS = (
    (b"hsqs", "a squashfs image"),
    (b"\x7fELF", "an ELF program"),
    (b"070701", "a cpio archive (newc)"),
    (b"070702", "a cpio archive (newc with checksums)"),
    (b"070707", "a cpio archive (odc)"),
    (b"\xc7\x71", "a cpio archive (old binary)"),
    (b"\x71\xc7", "a cpio archive (old binary)"),
    (b"\x1f\x8b", "gzip data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ\0", "xz data"),
    (b"\x5d\0\0", "lzma data"),
    (b"\x89LZO\0\r\n\x1a\n", "lzop data"),
    (b"\x02!L\x18", "lz4 data (legacy)"),
    (b"\x04\"M\x18", "lz4 data (frames)"),
    (b"(\xb5/\xfd", "zstd data"),
    (b"QFI\xfb", "a qcow2 image"),
    (b"!<arch>\n", "an ar archive or a Debian package"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\xed\xab\xee\xdb", "an RPM package"),
)  # fmt: skip
PLACES = (
    (0x8001, b"CD001", "an ISO 9660 image"),
    (0x8001, b"BEA01", "a UDF image"),
    (257, b"ustar", "a tar archive"),
    (0x438, b"\x53\xef", "an ext2, ext3 or ext4 filesystem"),
    (54, b"FAT", "a FAT filesystem"),
    (82, b"FAT32", "a FAT filesystem"),
    (510, b"\x55\xaa", "a disk image"),
)


def describe(head: bytes) -> str:
    """What begins like this, with an article; `unknown data` if nobody knows."""
    if not head:
        return "nothing"
    if head[:2] == b"MZ":
        kernel = head[0x202:0x206] == b"HdrS" or head[0x38:0x3C] == b"ARM\x64"
        return "a Linux kernel" if kernel else "an EFI or DOS program"
    for mark, name in BEGINNINGS:
        if head.startswith(mark):
            return name
    for offset, mark, name in PLACES:
        if head[offset : offset + len(mark)] == mark:
            return name
    return "text" if _is_text(head[:512]) else "unknown data"


def _is_text(head: bytes) -> bool:
    return head.isascii() and not any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
