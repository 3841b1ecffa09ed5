"""`/etc/fstab`, which names filesystems by label so that it holds on any disk bus."""

from __future__ import annotations

from imagebuilder.disk.model import Disk, Filesystem


def fstab(disk: Disk) -> str:
    """The lines for the filesystems that asked for one, in the order they are mounted."""
    wanted = (fs for fs in disk.filesystems if fs.in_fstab)
    return "".join(_line(fs) for fs in sorted(wanted, key=lambda fs: fs.mount_point))


def fields(fs: Filesystem) -> tuple[str, int, int]:
    """Options, dump frequency and fsck pass; swap has its own, whatever was asked for."""
    return ("sw", 0, 0) if fs.type == "swap" else (fs.mount_options, fs.dump, fs.passno)


def _line(fs: Filesystem) -> str:
    point = "none" if fs.type == "swap" else _escape(fs.mount_point)
    options, dump, passno = fields(fs)
    return f"LABEL={_escape(fs.label)} {point} {fs.type} {options} {dump} {passno}\n"


def _escape(text: str) -> str:
    """Blanks as fstab(5) writes them."""
    return text.replace("\\", r"\134").replace(" ", r"\040").replace("\t", r"\011")
