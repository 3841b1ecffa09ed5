"""All kinds of compression, in the order of the kernel's own table (`lib/decompress.c`)."""

from __future__ import annotations

from imagebuilder.codec import lz4, lzo, standard, zstd
from imagebuilder.codec.model import Codec

CODECS = (
    Codec(
        name="gzip",
        magic=b"\x1f\x8b",
        unpack=standard.unpack_gzip,
        pack=standard.pack_gzip,
    ),
    Codec(
        name="bzip2",
        magic=b"BZ",
        unpack=standard.unpack_bzip2,
        pack=standard.pack_bzip2,
    ),
    Codec(
        name="lzma",
        magic=b"\x5d\0\0",
        unpack=standard.unpack_lzma,
        pack=standard.pack_lzma,
    ),
    Codec(
        name="xz",
        magic=b"\xfd7zXZ\0",
        unpack=standard.unpack_xz,
        pack=standard.pack_xz,
        objection=standard.xz_objection,
    ),
    Codec(
        name="lzo",
        magic=lzo.MAGIC,
        unpack=lzo.unpack,
        pack=lzo.pack,
        library=lzo.LIBRARY,
        objection=lzo.objection,
    ),
    Codec(
        name="lz4",
        magic=lz4.MAGIC,
        unpack=lz4.unpack,
        pack=lz4.pack,
        library=lz4.LIBRARY,
    ),
    Codec(
        name="zstd",
        magic=zstd.MAGIC,
        unpack=zstd.unpack,
        pack=zstd.pack,
        library=zstd.LIBRARY,
    ),
)
BY_NAME = {codec.name: codec for codec in CODECS}


def find(data: bytes, start: int) -> Codec | None:
    """The kind of what begins at `start`, if it is one of these."""
    return next((codec for codec in CODECS if data.startswith(codec.magic, start)), None)
