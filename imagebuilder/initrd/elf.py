"""What an ELF file needs from others (System V ABI, chapters 4 and 5; LSB, symbol versions)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from imagebuilder.codec.model import DamagedError

MAGIC = b"\x7fELF"
LOAD, DYNAMIC, INTERPRETER = 1, 2, 3  # p_type
NEEDED, STRINGS, SONAME, RPATH, RUNPATH = 1, 5, 14, 15, 29  # d_tag
VERSIONS_DEFINED, VERSIONS_NEEDED = 0x6FFFFFFC, 0x6FFFFFFE
MULTIARCH: Mapping[int, str] = {  # e_machine
    3: "i386-linux-gnu",
    21: "powerpc64le-linux-gnu",
    22: "s390x-linux-gnu",
    40: "arm-linux-gnueabihf",
    62: "x86_64-linux-gnu",
    183: "aarch64-linux-gnu",
    243: "riscv64-linux-gnu",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Elf:
    """One program or shared library. `wants` are versions of symbols, by library."""

    bits: int
    machine: int
    interpreter: str = ""
    needed: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    soname: str = ""
    wants: Mapping[str, frozenset[str]] = field(default_factory=dict)
    offers: frozenset[str] = frozenset()

    @property
    def directories(self) -> tuple[str, ...]:
        """Where its loader looks for libraries by itself."""
        triplet = MULTIARCH.get(self.machine, "")
        usual = ("lib64", "usr/lib64", "lib", "usr/lib") if self.bits == 64 else ("lib", "usr/lib")
        return (f"lib/{triplet}", f"usr/lib/{triplet}", *usual) if triplet else usual


def parse(content: bytes) -> Elf | None:
    """What the file says, or None if it is no ELF file; raise DamagedError if it is cut off."""
    if not content.startswith(MAGIC):
        return None
    try:
        return _Reader(content).elf()
    except (struct.error, IndexError, ValueError, KeyError) as error:
        raise DamagedError("a damaged ELF file") from error


def section(content: bytes, wanted: str) -> bytes:
    """The bytes of a section by name, none if there is none; raise DamagedError if cut off."""
    try:
        return _Reader(content).section(wanted)
    except (struct.error, IndexError, ValueError, KeyError) as error:
        raise DamagedError("a damaged ELF file") from error


class _Reader:
    """The fields of one file, whichever its word size and byte order."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.wide = content[4] == 2
        self.order = "<" if content[5] == 1 else ">"
        self.word = "Q" if self.wide else "I"
        self.loads: list[tuple[int, int, int]] = []

    def elf(self) -> Elf:
        """Everything that Elf has."""
        interpreter, dynamic = "", dict[int, list[int]]()
        for kind, offset, address, size in self.segments():
            if kind == LOAD:
                self.loads.append((address, offset, size))
            elif kind == INTERPRETER:
                interpreter = self.content[offset : offset + size].split(b"\0")[0].decode()
            elif kind == DYNAMIC:
                dynamic = self.dynamic(offset, size)
        (machine,) = self.fields("H", 18)
        text = self.offset(dynamic[STRINGS][0]) if STRINGS in dynamic else 0
        paths = [self.text(text + at) for tag in (RPATH, RUNPATH) for at in dynamic.get(tag, ())]
        return Elf(
            bits=64 if self.wide else 32,
            machine=machine,
            interpreter=interpreter,
            needed=tuple(self.text(text + at) for at in dynamic.get(NEEDED, ())),
            runpath=tuple(part for path in paths for part in path.split(":") if part),
            soname="".join(self.text(text + at) for at in dynamic.get(SONAME, ())),
            wants=self.wants(dynamic, text),
            offers=frozenset(self.offers(dynamic, text)),
        )

    def fields(self, shape: str, place: int) -> tuple[int, ...]:
        """Numbers at a place, in the byte order of the file."""
        return struct.unpack_from(self.order + shape, self.content, place)

    def text(self, place: int) -> str:
        """The text at a place, up to its zero byte."""
        end = self.content.index(b"\0", place)
        return self.content[place:end].decode(errors="surrogateescape")

    def offset(self, address: int) -> int:
        """Where in the file what is at `address` in memory comes from."""
        for begin, offset, size in self.loads:
            if begin <= address < begin + size:
                return address - begin + offset
        raise ValueError(address)

    def segments(self) -> Iterator[tuple[int, int, int, int]]:
        """Type, offset, address and size in the file of each."""
        (table,) = self.fields(self.word, 32 if self.wide else 28)
        size, count = self.fields("HH", 54 if self.wide else 42)
        for place in range(table, table + size * count, size):
            if self.wide:
                kind, _, offset, address, _, length = self.fields("IIQQQQ", place)
            else:
                kind, offset, address, _, length = self.fields("IIIII", place)
            yield kind, offset, address, length

    def dynamic(self, offset: int, size: int) -> dict[int, list[int]]:
        """The values of a dynamic section, by tag."""
        found: dict[int, list[int]] = {}
        step = 16 if self.wide else 8
        for place in range(offset, offset + size, step):
            tag, value = self.fields(self.word * 2, place)
            if not tag:
                break
            found.setdefault(tag, []).append(value)
        return found

    def wants(self, dynamic: Mapping[int, list[int]], text: int) -> dict[str, frozenset[str]]:
        """The versions that must be there, by library; weak ones may be missing."""
        found: dict[str, frozenset[str]] = {}
        if VERSIONS_NEEDED not in dynamic:
            return found
        place, more = self.offset(dynamic[VERSIONS_NEEDED][0]), True
        while more:
            _, count, library, first, more_at = self.fields("HHIII", place)
            names, at = [], place + first
            for _ in range(count):
                _, flags, _, name, following = self.fields("IHHII", at)
                if not flags & 2:  # VER_FLG_WEAK
                    names.append(self.text(text + name))
                at += following
            found[self.text(text + library)] = frozenset(names)
            place, more = place + more_at, bool(more_at)
        return found

    def offers(self, dynamic: Mapping[int, list[int]], text: int) -> Iterator[str]:
        """The versions that the library itself defines."""
        if VERSIONS_DEFINED not in dynamic:
            return
        place, more = self.offset(dynamic[VERSIONS_DEFINED][0]), True
        while more:
            *_, first, following = self.fields("HHHHIII", place)
            (name,) = self.fields("I", place + first)
            yield self.text(text + name)
            place, more = place + following, bool(following)

    def section(self, wanted: str) -> bytes:
        """The bytes of a section by name."""
        (table,) = self.fields(self.word, 40 if self.wide else 32)
        size, count, strings = self.fields("HHH", 58 if self.wide else 46)
        rows = [self.row(table + index * size) for index in range(count)]
        for name, offset, length in rows:
            if self.text(rows[strings][1] + name) == wanted:
                return self.content[offset : offset + length]
        return b""

    def row(self, place: int) -> tuple[int, int, int]:
        """The name, offset and size of a section."""
        shape = "IIQQQQ" if self.wide else "IIIIII"
        name, _, _, _, offset, length = self.fields(shape, place)
        return name, offset, length
