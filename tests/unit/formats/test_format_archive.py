import gzip
import hashlib
import os
import zlib
from pathlib import Path

import pytest

from imagebuilder.formats import tar
from imagebuilder.formats.deflate import BLOCK, END, HEADER
from imagebuilder.formats.deflate import gzip as pack

NOISE = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(BLOCK // 96))


def text(length: int) -> bytes:
    return (b"the same words again, " * (length // 22 + 1))[:length]


@pytest.mark.parametrize("length", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 17])
def test_the_content_comes_back(length: int) -> None:
    content = (NOISE + text(length))[:length]
    assert gzip.decompress(b"".join(pack([content]))) == content


def test_it_is_one_gzip_member() -> None:
    packed = b"".join(pack([text(3 * BLOCK)]))
    reader = zlib.decompressobj(wbits=31)
    assert len(reader.decompress(packed)) == 3 * BLOCK
    assert reader.eof
    assert reader.unused_data == b""


def test_the_number_of_threads_does_not_show() -> None:
    content = [NOISE, text(4 * BLOCK), NOISE * 5]
    alone = b"".join(pack(content, workers=1))
    assert b"".join(pack(content, workers=2)) == alone
    assert b"".join(pack(content, workers=7)) == alone


def test_how_the_input_is_cut_does_not_show() -> None:
    content = NOISE + text(2 * BLOCK) + NOISE
    pieces = [content[start : start + 9973] for start in range(0, len(content), 9973)]
    assert b"".join(pack(pieces)) == b"".join(pack([content]))


def test_a_block_knows_the_text_before_it() -> None:
    repeated = text(8 * BLOCK)
    assert len(b"".join(pack([repeated]))) < 1.1 * len(zlib.compress(repeated, 6))


def test_nothing_in_the_header_tells_when_it_was_made() -> None:
    assert next(iter(pack([]))) == HEADER
    assert HEADER[4:8] == bytes(4)
    assert b"".join(pack([])) == HEADER + END + bytes(8)


def test_an_error_of_the_input_comes_through() -> None:
    def broken() -> list[bytes]:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(pack(chunk for _ in [0] for chunk in broken()))


def test_the_archive_is_sorted_numeric_and_no_younger_than_the_epoch() -> None:
    argv = tar.archive(Path("/tree"), Path("/proc/1/fd/5"), 1234).argv
    assert argv[9:15] == ("--sort", "name", "--mtime", "@1234", "--clamp-mtime", "--numeric-owner")
    assert argv[-3:] == ("--directory", "/tree", ".")


def test_only_what_is_in_the_kernels_directories_is_left_out() -> None:
    argv = tar.archive(Path("/tree"), Path("/out"), 0).argv
    left_out = [word for word in argv if word.startswith("--exclude=")]
    assert left_out == ["--exclude=./proc/*", "--exclude=./sys/*", "--exclude=./dev/*"]
    assert argv.index("--anchored") < argv.index(left_out[0])


def test_sources_get_no_more_than_a_twentieth_larger_than_by_gzip_9() -> None:
    sources = sorted(Path(os.__file__).parent.glob("*.py"))
    content = b"".join(path.read_bytes() for path in sources)
    assert len(content) > 2 * BLOCK
    best = len(gzip.compress(content, 9))
    assert len(b"".join(pack([content]))) < 1.05 * best
