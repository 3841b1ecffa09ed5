"""Boot loaders for networks, as packages bring them: installed, unpacked somewhere, or fetched."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.errors import CommandError, ConfigError, ToolMissingError
from imagebuilder.netboot.model import Program, Site
from imagebuilder.process import Command, Runner, find

SIGNED = ".signed"
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
        """Whether its name says that it is signed, as Debian and Ubuntu name such files."""
        return SIGNED in self.place


MODULES = "usr/lib/syslinux/modules/bios"
LOADERS = (
    Loader(
        file="pxelinux.0",
        program=Program.PXELINUX,
        package="pxelinux",
        places=("usr/lib/PXELINUX/pxelinux.0", "tftpboot/pxelinux.0"),
    ),
    *(
        Loader(
            file=name,
            program=Program.PXELINUX,
            package="syslinux-common",
            places=(f"{MODULES}/{name}", f"tftpboot/{name}"),
        )
        for name in ("ldlinux.c32", "menu.c32", "libutil.c32")
    ),
    Loader(
        file="bootx64.efi",
        program=Program.GRUB,
        package="shim-signed",
        places=("usr/lib/shim/shimx64.efi.signed", "usr/lib/shim/shimx64.efi.signed.latest"),
    ),
    Loader(
        file="grubx64.efi",
        program=Program.GRUB,
        package="grub-efi-amd64-signed",
        places=(
            "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed",
            "usr/lib/grub/x86_64-efi/monolithic/grubnetx64.efi",
        ),
    ),
    Loader(
        file="undionly.kpxe",
        program=Program.IPXE,
        package="ipxe",
        places=("usr/lib/ipxe/undionly.kpxe", "usr/share/ipxe/undionly.kpxe"),
    ),
    Loader(
        file="ipxe.efi",
        program=Program.IPXE,
        package="ipxe",
        places=("usr/lib/ipxe/snponly.efi", "usr/share/ipxe/ipxe-snponly-x86_64.efi"),
    ),
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
