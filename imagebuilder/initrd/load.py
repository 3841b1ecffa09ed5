"""From an initrd's bytes to its segments, and back."""

from __future__ import annotations

import re
from dataclasses import replace

from imagebuilder import magic
from imagebuilder.codec import library, table
from imagebuilder.codec.model import Codec, DamagedError, TruncatedError, Unpacked
from imagebuilder.errors import ConfigError, ToolMissingError
from imagebuilder.initrd import newc
from imagebuilder.initrd.model import RAW, Archive, Initrd, Segment

APART = 4  # zero bytes after which no decompressor goes on (lz4 reads a length of 0)
WIDEST = 512  # cpio pads archives to that
ZEROS = re.compile(rb"\0*")


def load(data: bytes, where: str) -> Initrd:
    """The segments of an initrd; raise ConfigError if it is none, or damaged or cut off."""
    segments: list[Segment] = []
    place = zeros = _zeros(data, 0)
    if place == len(data):
        raise ConfigError("empty initrd" if not data else "nothing but zero bytes", where=where)
    while place < len(data):
        segment = _segment(data, place, zeros, f"{where}: segment {len(segments) + 1}")
        segments.append(_objected(segment, segments[-1].kind if segments else ""))
        end = place + len(segment.raw)
        zeros = _zeros(data, end)
        place = end + zeros
    return Initrd(where=where, segments=tuple(segments), after=zeros)


def write(initrd: Initrd) -> bytes:
    """The initrd's bytes: what was not changed is as it was."""
    pieces: list[bytes] = []
    size, before = 0, ""
    for segment in initrd.segments:
        raw = packed(segment) if segment.changed else segment.raw
        zeros = segment.before
        if size + zeros != segment.start or segment.objection:
            zeros = gap(size, before, WIDEST if segment.start % WIDEST == 0 else 4)
        pieces += [bytes(zeros), raw]
        size, before = size + zeros + len(raw), segment.kind
    return b"".join((*pieces, bytes(initrd.after)))


def packed(segment: Segment) -> bytes:
    """A changed segment's bytes, compressed as it was before."""
    content = newc.write_all(segment.archives)
    if segment.kind == RAW:
        return content
    return table.BY_NAME[segment.kind].pack(content, segment.raw)


def gap(size: int, kind: str, step: int = 4) -> int:
    """How many zero bytes are to follow a segment of that kind which ends at byte `size`.

    They make sure that the kernel's decompressor stops, and that it finds what comes next.
    """
    zeros = APART if kind and kind != RAW else 0
    return zeros + -(size + zeros) % step


def _segment(data: bytes, start: int, before: int, where: str) -> Segment:
    if data.startswith(newc.MAGICS, start):
        return _raw(data, start, before, where)
    codec = table.find(data, start)
    if codec is None:
        raise _unknown(data, start, where)
    unpacked = _unpacked(codec, data, start, where)
    return Segment(
        kind=codec.name,
        start=start,
        before=before,
        raw=data[start : start + unpacked.length],
        archives=_archives(codec, unpacked.content, where),
        objection=codec.objection(data, start),
    )


def _raw(data: bytes, start: int, before: int, where: str) -> Segment:
    try:
        archive, end = newc.read(data[start:], 0)
    except TruncatedError as error:
        raise ConfigError(f"truncated cpio segment at byte {start}", where=where) from error
    except DamagedError as error:
        raise ConfigError(f"damaged cpio segment at byte {start}: {error}", where=where) from error
    raw = data[start : start + end - archive.padding]
    late = (
        "" if start % 4 == 0 else "it begins at no multiple of 4, where the kernel looks for none"
    )
    return Segment(
        kind=RAW,
        start=start,
        before=before,
        raw=raw,
        archives=(replace(archive, padding=0),),
        objection=late,
    )


def _unpacked(codec: Codec, data: bytes, start: int, where: str) -> Unpacked:
    try:
        if codec.library:
            library.check(codec.library)
        return codec.unpack(data, start)
    except TruncatedError as error:
        what = f"truncated {codec.name} segment at byte {start}"
        raise ConfigError(what, where=where, hint="it was not copied whole") from error
    except DamagedError as error:
        what = f"damaged {codec.name} segment at byte {start}: {error}"
        raise ConfigError(what, where=where) from error
    except ToolMissingError as error:
        what = f"it is {codec.name}, and {error.what}"
        raise ToolMissingError(what, where=where, hint=error.hint) from error


def _archives(codec: Codec, content: bytes, where: str) -> tuple[Archive, ...]:
    lead = _zeros(content, 0)
    if not content[lead:].startswith(newc.MAGICS):
        what = f"holds {magic.describe(content[: magic.HEAD])}, no cpio archive (newc)"
        hint = "cpio -o -H newc makes such an archive"
        raise ConfigError(f"the {codec.name} data {what}", where=where, hint=hint)
    try:
        return newc.read_all(content[lead:])
    except TruncatedError as error:
        what = f"the cpio archive in the {codec.name} data is cut off"
        raise ConfigError(what, where=where) from error
    except DamagedError as error:
        what = f"the cpio archive in the {codec.name} data is damaged: {error}"
        raise ConfigError(what, where=where) from error


def _unknown(data: bytes, start: int, where: str) -> ConfigError:
    found = magic.describe(data[start : start + magic.HEAD])
    shown = data[start : start + 8].hex()
    if found == "lz4 data (frames)":
        return ConfigError(
            f"lz4 frames at byte {start}, which the kernel does not read",
            where=where,
            hint="compress with 'lz4 -l'",
        )
    if found.startswith("a cpio archive"):
        return ConfigError(
            f"{found} at byte {start}, which the kernel does not read",
            where=where,
            hint="make it with 'cpio -o -H newc'",
        )
    if start == 0 and found not in ("unknown data", "text"):
        return ConfigError(f"{found}, not an initrd", where=where.rpartition(": segment")[0])
    return ConfigError(f"unknown data at byte {start}: {shown}", where=where)


def _objected(segment: Segment, before: str) -> Segment:
    if before == "lz4" and segment.before < APART:
        what = "it follows lz4 data without 4 zero bytes, and is taken for more of that"
        return replace(segment, objection=what)
    return segment


def _zeros(data: bytes, start: int) -> int:
    found = ZEROS.match(data, start)
    return found.end() - start if found else 0
