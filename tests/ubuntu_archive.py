"""An archive with Ubuntu's suites, pockets, components and layout, made of Debian's packages.

What is Ubuntu's own is repacked: its identity, the kernel's package of packages, the keyring, and
cloud-init, which is configured for another distribution and another network program there. casper
is a stand-in.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from signed_archive import Archive, Sign, checksums, run, signer

RELEASE = "resolute"
STALE = "noble"  # a release whose index is out of date
POCKETS = ("", "-updates", "-security", "-backports")
REQUIRED = ("?essential", "?priority(required)", "apt")
WANTED = (
    *("ca-certificates", "dbus", "e2fsprogs", "findutils", "initramfs-tools", "iproute2"),
    *("netbase", "systemd-resolved", "systemd-sysv", "udev", "zstd", "python3", "sudo", "tzdata"),
    *("linux-image-amd64", "grub-pc-bin", "grub-efi-amd64-bin", "grub-efi-amd64-signed"),
    *("shim-signed", "grub2-common", "dosfstools", "fdisk"),
    *("cloud-init", "cloud-guest-utils", "netplan.io", "openssh-server", "busybox", "bc"),
)
UNIVERSE = ("cloud-guest-utils",)
CASPER = Path(__file__).parent / "casper"
NEEDED = ("apt-get", "dpkg-deb", "gpg", "gpgv")
OS_RELEASE = """\
PRETTY_NAME="Ubuntu {version} LTS"
NAME="Ubuntu"
VERSION_ID="26.04"
VERSION="{version} LTS (Resolute Raccoon)"
VERSION_CODENAME=resolute
ID=ubuntu
ID_LIKE=debian
UBUNTU_CODENAME=resolute
"""
Change = Callable[[Path], None]  # what is done to a package's tree before it is packed again


def make(root: Path, packages: Path) -> Archive:
    """Write the archive below `root`; Debian's packages are kept in the directory `packages`."""
    archive = Archive(root)
    debs = download(packages)
    with tempfile.TemporaryDirectory(dir=packages) as place, signer(_made(archive)) as sign:
        own = Path(place)
        updated = repack(debs["base-files"], own / "updated", identity("26.04.1", "ubuntu0.1"))
        debs["base-files"] = repack(debs["base-files"], own, identity("26.04", "ubuntu0"))
        debs["cloud-init"] = repack(debs["cloud-init"], own, netplan)
        for name in ("linux-image-generic", "linux-image-virtual"):
            debs[name] = bundle(own, name, {}, depends="linux-image-amd64")
        keyring = {"usr/share/keyrings/ubuntu-archive-keyring.gpg": archive.keyring.read_bytes()}
        debs["ubuntu-keyring"] = bundle(own, "ubuntu-keyring", keyring)
        scripts = {
            f"usr/share/initramfs-tools/{place}/casper": (CASPER / place[:-1]).read_bytes()
            for place in ("hooks", "scripts")
        }
        debs["casper"] = bundle(own, "casper", scripts, depends="busybox, initramfs-tools, zstd")
        entries = {name: entry(archive, deb) for name, deb in debs.items()}
        contents = {"": entries, "-updates": {"base-files": entry(archive, updated)}}
        for pocket in POCKETS:
            publish(archive, RELEASE + pocket, contents.get(pocket, {}), sign)
        publish(archive, STALE, entries, sign, age=timedelta(days=30))
    return archive


def _made(archive: Archive) -> Path:
    (archive.root / "pool").mkdir(parents=True)
    return archive.keyring


def download(packages: Path) -> dict[str, Path]:
    """Debian's packages that a bootable machine needs, from the host's own mirror."""
    directory = packages / "ubuntu"
    words, complete = "\n".join([*REQUIRED, *WANTED]), directory / "complete"
    if not complete.exists() or complete.read_text() != words:
        (directory / "partial").mkdir(parents=True, exist_ok=True)
        (directory / "nothing").touch()
        done = subprocess.run(
            ["apt-get", "-y", "--download-only", "--no-install-recommends",
             "-o", "APT::Sandbox::User=root", "-o", f"Dir::State::status={directory}/nothing",
             "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=",
             "-o", f"Dir::Cache::archives={directory}", "install", *REQUIRED, *WANTED],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"needs a Debian mirror: {done.stderr.strip()}")
        complete.write_text(words)
    return {deb.name.partition("_")[0]: deb for deb in sorted(directory.glob("*.deb"))}


def repack(deb: Path, into: Path, change: Change) -> Path:
    """A package with another content, compressed as Ubuntu does it."""
    into.mkdir(exist_ok=True)
    made = into / deb.name
    with tempfile.TemporaryDirectory(dir=into) as tree:
        run("dpkg-deb", "--raw-extract", str(deb), tree)
        Path(tree, "DEBIAN/md5sums").unlink(missing_ok=True)
        change(Path(tree))
        run("dpkg-deb", "--root-owner-group", "-Zzstd", "--build", tree, str(made))
    return made


def bundle(into: Path, name: str, files: dict[str, bytes], depends: str = "") -> Path:
    """A package of these files and dependencies."""
    tree = into / f"{name}.tree"
    control = (
        f"Package: {name}\nVersion: 26.04.1\nArchitecture: all\n"
        f"Maintainer: A Test <test@example.org>\nDescription: the package {name}\n"
    )
    for path, content in {"DEBIAN/control": control.encode(), **files}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(content)
        if content.startswith(b"#!"):
            (tree / path).chmod(0o755)
    if depends:
        with (tree / "DEBIAN/control").open("a") as file:
            file.write(f"Depends: {depends}\n")
    made = into / f"{name}_26.04.1_all.deb"
    run("dpkg-deb", "--root-owner-group", "-Zzstd", "--build", str(tree), str(made))
    return made


def identity(version: str, suffix: str) -> Change:
    """Make base-files say that it is this version of Ubuntu."""

    def change(tree: Path) -> None:
        substitute(tree / "DEBIAN/control", r"(?m)^(Version: .*)$", rf"\1{suffix}")
        (tree / "usr/lib/os-release").write_text(OS_RELEASE.format(version=version))
        (tree / "etc/issue").write_text(f"Ubuntu {version} LTS \\n \\l\n\n")
        (tree / "etc/issue.net").write_text(f"Ubuntu {version} LTS\n")

    return change


def netplan(tree: Path) -> None:
    """Configure cloud-init as Ubuntu does."""
    substitute(tree / "DEBIAN/control", r"(?m)^(Depends: )", r"\1netplan.io, ")
    config = tree / "etc/cloud/cloud.cfg"
    renderers = "   network:\n     renderers: ['netplan', 'eni', 'sysconfig']\n"
    substitute(config, r"distro: debian\n", rf"distro: ubuntu\n{renderers}")
    substitute(config, r"name: debian\n", "name: ubuntu\n")


def substitute(path: Path, pattern: str, by: str) -> None:
    """Replace what has to be there exactly once."""
    text, count = re.subn(pattern, by, path.read_text())
    assert count == 1, (path, pattern)
    path.write_text(text)


def entry(archive: Archive, deb: Path) -> str:
    """Put a package into the pool; its entry in an index."""
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    # Versions have no epoch in the names of files; two versions of a package may be repacked alike.
    pooled = archive.root / "pool" / digest[:8] / re.sub(r"_\d+%3a", "_", deb.name)
    pooled.parent.mkdir()
    shutil.copyfile(deb, pooled)
    return (
        f"{run('dpkg-deb', '--field', str(deb)).rstrip()}\n"
        f"Filename: {pooled.relative_to(archive.root)}\n"
        f"Size: {deb.stat().st_size}\nSHA256: {digest}\n"
    )


def publish(
    archive: Archive, suite: str, entries: dict[str, str], sign: Sign, age: timedelta | None = None
) -> None:
    """Write and sign a suite; one of that `age` is no longer valid."""
    directory = archive.root / "dists" / suite
    universe = [name for name in entries if name in UNIVERSE]
    write_index(directory / "main/binary-amd64", [entries[n] for n in entries if n not in universe])
    write_index(directory / "universe/binary-amd64", [entries[name] for name in universe])
    date = datetime.now(UTC) - (age or timedelta(days=1))
    valid = f"Valid-Until: {rfc2822(date + timedelta(days=7))}\n" if age else ""
    fields = (
        f"Origin: Ubuntu\nLabel: Ubuntu\nSuite: {suite}\nVersion: 26.04\n"
        f"Codename: {suite.partition('-')[0]}\nDate: {rfc2822(date)}\n{valid}"
        "Architectures: amd64\nComponents: main universe\nAcquire-By-Hash: yes\n"
    )
    sign(fields + checksums(directory), directory / "InRelease")
    for component in ("main", "universe"):
        # Only by-hash and compressed: what a suite names without compression is not there.
        (directory / component / "binary-amd64/Packages").unlink()


def rfc2822(moment: datetime) -> str:
    """A time as an archive's index has it."""
    return format_datetime(moment).replace("+0000", "UTC")


def write_index(directory: Path, entries: Iterable[str]) -> None:
    """Write the index of one component, also under the name of its digest."""
    by_hash = directory / "by-hash/SHA256"
    by_hash.mkdir(parents=True)
    content = "\n".join(entries).encode()
    (directory / "Packages").write_bytes(content)
    (directory / "Packages.xz").write_bytes(lzma.compress(content, preset=1))
    digest = hashlib.sha256((directory / "Packages.xz").read_bytes()).hexdigest()
    os.link(directory / "Packages.xz", by_hash / digest)
