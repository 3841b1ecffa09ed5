"""Boot loaders for networks, as packages bring them: installed, unpacked somewhere, or fetched."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.errors import CommandError, ConfigError, ToolMissingError
from imagebuilder.netboot.model import Program, Site
from imagebuilder.process import Command, Runner, find
from imagebuilder.tools.networks import FOR_NETWORKS

SIGNED = re.compile(r"\.signed|/boot/efi/|/share/efi/")  # where distributions put such files
FETCH = "'imagebuilder doctor --install --for netboot' brings it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """A file of a set, and where it is in the packages of distributions, Debian's `package` first.

    Signed ones come first; without them, Secure Boot has to be off.
    """

    file: str
    program: Program
    package: str
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A loader's content, where it was, and whether that is a signed one."""

    loader: Loader
    place: str
    content: bytes

    @property
    def signed(self) -> bool:
        """Whether it is where signed ones are."""
        return SIGNED.search(self.place) is not None


@dataclass(frozen=True, slots=True)
class _Part:
    """A file of a set, the package that Debian has it in, and the row of tools that says where."""

    file: str
    program: Program
    package: str
    row: str


PARTS = (
    _Part("pxelinux.0", Program.PXELINUX, "pxelinux", "pxelinux.0"),
    _Part("ldlinux.c32", Program.PXELINUX, "syslinux-common", "ldlinux.c32"),
    _Part("menu.c32", Program.PXELINUX, "syslinux-common", "ldlinux.c32"),
    _Part("libutil.c32", Program.PXELINUX, "syslinux-common", "ldlinux.c32"),
    _Part("bootx64.efi", Program.GRUB, "shim-signed", "shimx64.efi"),
    _Part("grubx64.efi", Program.GRUB, "grub-efi-amd64-signed", "grubnetx64.efi"),
    _Part("undionly.kpxe", Program.IPXE, "ipxe", "undionly.kpxe"),
    _Part("ipxe.efi", Program.IPXE, "ipxe", "undionly.kpxe"),
)
BESIDE = {
    "menu.c32": ("menu.c32",),
    "libutil.c32": ("libutil.c32",),
    "ipxe.efi": ("snponly.efi", "ipxe-snponly-x86_64.efi"),
}


def _places(part: _Part) -> tuple[str, ...]:
    """Where a file may be: as the row says, or under other names in the same directories."""
    (row,) = (tool for tool in FOR_NETWORKS if tool.name == part.row)
    files = [Path(file.lstrip("/")) for file in row.files]
    names = BESIDE.get(part.file)
    paths = [file.with_name(n) for file in files for n in names] if names else files
    return tuple(str(path) for path in paths)


LOADERS = tuple(
    Loader(file=part.file, program=part.program, package=part.package, places=_places(part))
    for part in PARTS
)


def needed(site: Site) -> tuple[Loader, ...]:
    """The loaders that a site hands out."""
    programs = {site.bios, site.uefi}
    return tuple(loader for loader in LOADERS if loader.program in programs)


def gathered(
    wanted: Iterable[Loader], directories: Sequence[Path], run: Runner, *, fetch: bool
) -> list[Found]:
    """All of them: from `directories` or the host, or else fetched with apt if that is allowed.

    Raise ToolMissingError for one that is not to be had.
    """
    made = []
    with tempfile.TemporaryDirectory(prefix="imagebuilder-loaders-") as name:
        places = [*directories, Path("/"), Path(name)]
        for loader in wanted:
            found = _find(loader, places)
            if found is None and fetch and find("apt-get") and find("dpkg-deb"):
                _fetch(loader.package, Path(name), run)
                found = _find(loader, places)
            if found is None:
                raise ToolMissingError(f"the boot loader {loader.file} is not there", hint=FETCH)
            made.append(found)
    return made


def check(directories: Iterable[Path]) -> None:
    """Raise ConfigError for a directory that is not there."""
    for directory in directories:
        if not directory.is_dir():
            raise ConfigError("no such directory", where=str(directory))


def _find(loader: Loader, directories: Iterable[Path]) -> Found | None:
    for path in _candidates(loader, directories):
        if path.is_file():
            return Found(loader=loader, place=str(path), content=path.read_bytes())
    return None


def _candidates(loader: Loader, directories: Iterable[Path]) -> Iterator[Path]:
    """Below a directory of files, of one unpacked package, or of several by name."""
    for directory in directories:
        for place in loader.places:
            yield directory / place
            yield directory / loader.package / place
        yield directory / loader.file


def _fetch(package: str, place: Path, run: Runner) -> None:
    """Unpack Debian's package to a directory of its name; nothing is installed."""
    if (place / package).exists():
        return
    with tempfile.TemporaryDirectory(dir=place) as name:
        command = ("apt-get", "-o", "APT::Sandbox::User=root", "download", package)
        try:
            run(Command(command, cwd=Path(name)))
        except CommandError as error:
            said = error.what.strip().splitlines()[-1]
            raise ToolMissingError(f"{package} cannot be fetched: {said}", hint=FETCH) from error
        (deb,) = Path(name).glob("*.deb")
        run(Command(("dpkg-deb", "-x", str(deb), str(place / package))))
