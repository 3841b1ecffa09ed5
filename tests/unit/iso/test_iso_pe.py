"""Programs for UEFI are signed, or are not."""

from __future__ import annotations

import struct

import pytest

from imagebuilder.iso import pe


def program(magic: int, offset: int, size: int) -> bytes:
    head = bytearray(1024)
    head[:2], head[0x80:0x84] = b"MZ", b"PE\0\0"
    struct.pack_into("<I", head, pe.HEADER, 0x80)
    struct.pack_into("<H", head, 0x80 + 24, magic)
    place = 0x80 + 24 + pe.DIRECTORIES.get(magic, 0) + 8 * 4
    struct.pack_into("<II", head, place, offset, size)
    return bytes(head)


@pytest.mark.parametrize("magic", [0x10B, 0x20B])
def test_a_table_of_certificates_is_a_signature(magic: int) -> None:
    assert pe.is_signed(program(magic, 4096, 1500)) is True
    assert pe.is_signed(program(magic, 0, 0)) is False


@pytest.mark.parametrize(
    "head", [b"", b"MZ", b"\x7fELF" + bytes(2000), b"MZ" + bytes(2000), program(0x107, 1, 1)]
)
def test_what_is_no_program_is_neither(head: bytes) -> None:
    assert pe.is_signed(head) is None
