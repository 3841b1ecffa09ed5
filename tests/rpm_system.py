"""The repositories of a small system of the Red Hat kind, made once and kept."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import rpm_archive
from rpm_archive import DATA, Package
from signed_archive import run

GRUB_MODULES = (
    *("fat", "part_gpt", "part_msdos", "ext2", "search", "search_fs_uuid", "configfile"),
    *("normal", "linux", "echo", "serial", "terminal", "test", "ls", "xfs", "lvm"),
)  # fmt: skip
EFI_DEBS = ("shim-signed", "shim-helpers-amd64-signed")
CSV = "shimx64.efi,centos,,This is the boot entry for CentOS\n"


@dataclass(frozen=True)
class System:
    """Directories below `root`: `os` is the repository; `updates` has a newer package."""

    root: Path

    @property
    def key(self) -> Path:
        return self.root / "RPM-GPG-KEY-test"

    def repository(self, url: str, name: str = "os", **options: str) -> str:
        """The text of a .repo file, for a server of `root` at `url`."""
        lines = {"name": name, "baseurl": f"{url}/{name}/", "gpgcheck": "1", "enabled": "1",
                 "gpgkey": f"{url}/{self.key.name}", **options}  # fmt: skip
        return f"[standin-{name}]\n" + "".join(f"{k}={v}\n" for k, v in lines.items())


def kept(temporary: pytest.TempPathFactory) -> Path:
    """Where systems are kept: for the next time, or at least for all workers of this one."""
    chosen = os.environ.get("IMAGEBUILDER_TEST_PACKAGES")
    directory = Path(chosen) if chosen else temporary.getbasetemp().parent / "rpm-systems"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def make(kept: Path) -> System:
    """The system in the directory `kept`, made if it is not there yet."""
    kernel = _kernel()
    sources = [*sorted(DATA.iterdir()), Path(rpm_archive.__file__), Path(__file__)]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources) + kernel.encode())
    made = kept / f"rpm-system-{digest.hexdigest()[:16]}"
    with (kept / "rpm-system.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            with tempfile.TemporaryDirectory(dir=kept) as name:
                _make(Path(name, "made"), _debs(kept, kernel), kernel)
                Path(name, "made").rename(made)
    return System(made)


def _kernel() -> str:
    depends = run("apt-cache", "depends", "linux-image-cloud-amd64")
    return next(word for word in depends.split() if re.match(r"linux-image-\d", word))


def _debs(kept: Path, kernel: str) -> Path:
    """Debian's packages that the system's files come from."""
    directory = kept / "debs"
    directory.mkdir(exist_ok=True)
    words = dict.fromkeys(("KEY", "VERSION", "GRUB", "CSV"), "")
    packages = rpm_archive.load({**words, "KERNEL": kernel})
    wanted = [*EFI_DEBS, *(deb for package in packages for deb in package.debs)]
    missing = [deb for deb in wanted if not [*directory.glob(f"{deb}_*.deb")]]
    if missing:
        subprocess.run(
            ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *missing],
            cwd=directory, check=True, capture_output=True,
        )  # fmt: skip
    return directory


def _make(into: Path, debs: Path, kernel: str) -> None:
    into.mkdir()
    _efi_files(debs, into)
    words = {"KERNEL": kernel, "VERSION": kernel.removeprefix("linux-image-")}
    words |= {"GRUB": str(into / "grubx64.efi"), "CSV": str(into / "BOOTX64.CSV")}
    with rpm_archive.key() as key:
        public = key.public.read_text()
        (into / "RPM-GPG-KEY-test").write_text(public)
        packages = rpm_archive.load({**words, "KEY": public.replace("\n", "\\n")})
        rpm_archive.build(packages, debs, into / "os", key)
        (greeting,) = (package for package in packages if package.name == "greeting")
        files = {**greeting.files, "usr/bin/greet!": "#!/bin/sh\necho good evening\n"}
        newer = replace(greeting, version="2", files=files)
        rpm_archive.build([newer], debs, into / "updates", key)
    with rpm_archive.key() as other:
        (into / "OTHER-KEY").write_text(other.public.read_text())
        stranger = Package(name="stranger", files={"etc/stranger": "unknown\n"})
        rpm_archive.build([stranger], debs, into / "strangers", other)


def make_grub(debs: Path, home: str, into: Path) -> None:
    """Write the GRUB of a distribution that has its menu in the directory `home`."""
    with tempfile.TemporaryDirectory() as name:
        run("dpkg-deb", "-x", str(next(debs.glob("grub-efi-amd64-bin_*.deb"))), name)
        run("grub-mkimage", "-O", "x86_64-efi", "-d", f"{name}/usr/lib/grub/x86_64-efi",
            "-p", f"/{home}", "-o", str(into), *GRUB_MODULES)  # fmt: skip


def _efi_files(debs: Path, into: Path) -> None:
    """What lies on an EFI system partition: shim's files, and a GRUB that looks in EFI/centos."""
    make_grub(debs, "EFI/centos", into / "grubx64.efi")
    with tempfile.TemporaryDirectory() as name:
        for deb in EFI_DEBS:
            run("dpkg-deb", "-x", str(next(debs.glob(f"{deb}_*.deb"))), name)
        for file in ("shimx64.efi.signed", "fbx64.efi.signed", "mmx64.efi.signed"):
            shutil.copyfile(f"{name}/usr/lib/shim/{file}", debs / file)
    (into / "BOOTX64.CSV").write_text(CSV, encoding="utf-16-le")
