"""What a machine says on its serial console, and whether it is what was expected.

A console arrives in pieces that end anywhere: in a word, in a UTF-8 character, in an escape
sequence. `Console` puts the text together, `Watch` looks for things in it as it grows.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from imagebuilder.machine.errand import Errand

ESCAPE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: titles, systemd's context marks
    r"|\x1b[PX^_][^\x1b]*\x1b\\"  # DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-OQ-WYZ\\`-~]"  # resets, character sets
)
UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[PX^_][^\x1b]*\x1b?|[ -/]*)?\Z")
LONGEST_ESCAPE = 1024  # a longer one is not an escape sequence, but binary rubbish
WINDOW = 8192  # characters before a new piece in which a match may begin

FAILURES: Mapping[str, str] = {
    r"Kernel panic - not syncing[^\n]*": "the kernel panicked",
    r"KVM internal error[^\n]*": "KVM gave up on the machine (--accelerator tcg may do)",
    r"No bootable device": "the BIOS found nothing to boot",
    r"No bootable option or device was found": "the firmware found nothing to boot",
    r"UEFI Interactive Shell": "the firmware found nothing to boot and started its shell",
    r"Security Violation|bad shim signature": "secure boot refused the boot loader",
    r"grub rescue>": "GRUB found neither its modules nor its configuration",
    r"Minimal BASH-like line editing": "GRUB found no configuration",
    r"ALERT! [^\n]*does not exist": "the initrd found no root filesystem",
    r"Warning: Could not boot": "the initrd found no root filesystem",
    r"\(initramfs\) ": "the initrd ended in its shell",
    r"(?:Entering|You are in) emergency mode": "the system ended in emergency mode",
    r"Give root password for maintenance": "the system ended in emergency mode",
}
_FAILURE = re.compile("|".join(f"(?P<f{n}>{pattern})" for n, pattern in enumerate(FAILURES)))
_MEANINGS = tuple(FAILURES.values())


@dataclass(slots=True)
class Console:
    """A console's text so far, without escape sequences and carriage returns."""

    text: str = ""
    _rest: str = ""
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the console."""
        raw = self._rest + self._decoder.decode(piece)
        unfinished = UNFINISHED.search(raw)
        cut = unfinished.start() if unfinished else len(raw)
        if len(raw) - cut > LONGEST_ESCAPE:
            cut = len(raw)
        self._rest = raw[cut:]
        self.text += ESCAPE.sub("", raw[:cut]).replace("\r", "")


@dataclass(slots=True)
class Watch:
    """Looks for `expected`, one after the other, and apart from that for an errand's end.

    A match has to begin within the last `WINDOW` characters.
    """

    expected: tuple[re.Pattern[str], ...] = ()
    errand: Errand | None = None
    console: Console = field(default_factory=Console)
    matched: tuple[str, ...] = ()
    status: int | None = None
    failure: str = ""
    _position: int = 0
    _failed_from: int = 0

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the console and look again."""
        start = max(0, len(self.console.text) - WINDOW)
        self.console.feed(piece)
        self._match_expected(start)
        self._match_errand(start)
        self._failed_from = self._failed_from if self.failure else start
        self.failure = diagnosis(self.console.text, self._failed_from)  # its line may grow

    @property
    def complete(self) -> bool:
        """Whether everything was seen."""
        done = self.errand is None or self.status is not None
        return done and len(self.matched) == len(self.expected)

    @property
    def awaited(self) -> str:
        """The expression that is waited for, for a message."""
        if len(self.matched) < len(self.expected):
            return self.expected[len(self.matched)].pattern
        return self.errand.finished.pattern if self.errand and self.status is None else ""

    def _match_expected(self, start: int) -> None:
        for pattern in self.expected[len(self.matched) :]:
            match = pattern.search(self.console.text, max(start, self._position))
            if not match:
                return
            self.matched += (match[0],)
            self._position = match.end()

    def _match_errand(self, start: int) -> None:
        if not self.errand or self.status is not None:
            return
        if match := self.errand.finished.search(self.console.text, start):
            self.status = int(match[1])


def diagnosis(text: str, start: int = 0) -> str:
    """What `text` says, from `start` on, about a boot that has failed; empty if nothing."""
    match = _FAILURE.search(text, start)
    if not match or not match.lastgroup:
        return ""
    return f"{_MEANINGS[int(match.lastgroup[1:])]}: {match[0].strip()}"
