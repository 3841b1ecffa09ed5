"""RPM repositories for tests: packages made by rpmbuild, signed with a key of the tests' own.

What is in the packages is written down in rpm/packages.toml, most of it files of Debian's packages.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from signed_archive import run

DATA = Path(__file__).parent / "rpm"
NEEDED = ("apt-get", "dpkg-deb", "gpg", "rpmbuild", "rpmsign", "createrepo_c", "dnf")
KEY = "Test of packages <packages@example.org>"
RENAMED = (
    r"flags=rhS;s,^\./\(bin\|sbin\|lib\|lib64\)\(/\|$\),./usr/\1\2,",  # where Debian's files belong
    r"flags=rhS;s,^\./usr/\(s\?\)bin/grub-,./usr/\1bin/grub2-,",
    r"flags=r;s,^\./boot/vmlinuz-\(.*\),./usr/lib/modules/\1/vmlinuz,",
    r"flags=r;s,^\./boot/\(config\|System.map\)-\(.*\),./usr/lib/modules/\2/\1,",
)
LEFT_OUT = (
    *(f"./usr/share/{name}" for name in ("doc", "man", "locale", "info", "lintian", "bug")),
    *("./etc/init.d", "./etc/cron*", "./etc/kernel/post*", "./etc/default/grub*"),
    *("./etc/grub.d/05*", "./etc/grub.d/[1-3]*", "./usr/share/bash-completion"),
    *("./usr/share/zsh", "./usr/share/apport", "./bin/sh", "./usr/bin/which"),
    *("./lib/systemd/system-preset/90-systemd.preset", "./etc/dnf/plugins/local.conf"),
    "./usr/lib/python3/dist-packages/dnf-plugins/local.py",
)  # fmt: skip
GRUB_WORDS = re.compile(
    rb"grub-(?=probe|file|mkrelpath|mkconfig(?!_lib)|script-check|editenv|install|mkimage)"
)
EPOCH = "1700000000"
SPEC = """
Name: standin
Version: 1
Release: 1
Summary: Packages for tests
License: None
%description
Packages for tests.
%prep
%build
%install
cp -al @ROOT@/. %{buildroot}/
"""
MACROS = {
    "_binary_payload": "w1.zstdio",
    "_build_id_links": "none",
    "__os_install_post": "%{nil}",
    "debug_package": "%{nil}",
    "_unpackaged_files_terminate_build": "0",
    "_missing_doc_files_terminate_build": "0",
    "use_source_date_epoch_as_buildtime": "1",
    "clamp_mtime_to_source_date_epoch": "1",
    "_buildhost": "localhost",
    "__requires_exclude": "^(/[^b]|/b[^i]|/bin/[^s]|python|perl|rpmlib|libatm)",
    "__python_requires": "%{nil}",
    "__pythondist_requires": "%{nil}",
}


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package to make."""

    name: str
    version: str = "1"
    debs: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    directories: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    efi: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    post: str = ""
    posttrans: str = ""
    preun: str = ""


@dataclass(frozen=True)
class Key:
    """A key to sign packages with, in a GnuPG home of its own."""

    home: Path

    @property
    def public(self) -> Path:
        return self.home / "public.asc"


@contextmanager
def key() -> Generator[Key, None, None]:
    """A new key, for the time of the context."""
    home = Path(tempfile.mkdtemp(prefix="gpg."))  # gpg's sockets want a short path
    gpg = ("gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback",
           "--passphrase", "")  # fmt: skip
    try:
        run(*gpg, "--quick-generate-key", KEY, "rsa2048", "sign", "never")
        run(*gpg, "--armor", "--output", str(home / "public.asc"), "--export")
        yield Key(home)
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
        shutil.rmtree(home, ignore_errors=True)


def load(words: Mapping[str, str]) -> tuple[Package, ...]:
    """The packages of packages.toml, with `@WORD@` replaced."""
    text = (DATA / "packages.toml").read_text()
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return tuple(_package(name, row) for name, row in tomllib.loads(text).items())


def _package(name: str, row: Mapping[str, Any]) -> Package:
    return Package(
        name=name, **{key: tuple(v) if isinstance(v, list) else v for key, v in row.items()}
    )


def build(packages: Iterable[Package], debs: Path, into: Path, signer: Key) -> None:
    """Make signed packages in the directory `into` and the index of all that are there."""
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent) as name:
        place = Path(name)
        root = place / "root"
        spec = SPEC.replace("@ROOT@", str(root))
        for package in packages:
            spec += _section(package, _furnish(package, debs, root), place)
        _say_grub2(root)
        (place / "standin.spec").write_text(spec)
        define = {**MACROS, "_topdir": f"{place}/top", "_rpmdir": str(into)}
        run(
            "rpmbuild", "-bb", "--quiet", "--nodeps", "--noclean",
            "--target", "x86_64", *(w for k, v in define.items() for w in ("--define", f"{k} {v}")),
            "--define", "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
            str(place / "standin.spec"), SOURCE_DATE_EPOCH=EPOCH,
        )  # fmt: skip
    index(into, signer)


def index(directory: Path, signer: Key | None = None) -> None:
    """Sign the packages of a directory, if there is a key, and make its index."""
    if signer:
        rpms = [str(rpm) for rpm in sorted(directory.glob("*.rpm"))]
        run("rpmsign", "--addsign", "--define", f"_gpg_name {KEY}", "--define",
            f"__gpg {shutil.which('gpg')}", *rpms, GNUPGHOME=str(signer.home))  # fmt: skip
    run("createrepo_c", "--quiet", "--general-compress-type=gz", str(directory))
    if signer:
        run("gpg", "--homedir", str(signer.home), "--batch", "--quiet", "--armor",
            "--detach-sign", str(directory / "repodata/repomd.xml"))  # fmt: skip


def _furnish(package: Package, debs: Path, root: Path) -> list[str]:
    """Put a package's files into the common root; their lines for its section `%files`."""
    root.mkdir(exist_ok=True)
    names: set[str] = set()
    for deb in package.debs:
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", _deb(debs, deb)], stdout=subprocess.PIPE
        ) as archive:
            out = subprocess.run(
                ["tar", "-xv", "-C", root, "--no-same-owner", "--show-transformed-names",
                 "--quoting-style=literal", *(f"--transform={rule}" for rule in RENAMED),
                 *(f"--exclude={path}" for path in LEFT_OUT)],
                stdin=archive.stdout, stdout=subprocess.PIPE, text=True, check=True,
            ).stdout  # fmt: skip
        names |= {name.removeprefix("./") for name in out.splitlines()}
    for entry in package.directories:
        path, mode = entry.split()
        (root / path).mkdir(parents=True, exist_ok=True)
        (root / path).chmod(int(mode, 8))
        names.add(f"{path}/")
    for name, text in package.files.items():
        path = root / name.rstrip("!")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.lstrip("\n"))
        path.chmod(0o755 if name.endswith("!") else 0o600 if "shadow" in name else 0o644)
        names.add(name.rstrip("!"))
    for entry in package.links:
        name, target = entry.split()
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if not (root / name).is_symlink():
            (root / name).symlink_to(target)
        names.add(name)
    for entry in package.efi:
        name, source = entry.split()
        path = root / "boot/efi" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(debs / source, path)
        names.add(f"boot/efi/{name}")
    return [_line(name, root) for name in sorted(names) if _belongs(name, package)]


def _belongs(name: str, package: Package) -> bool:
    """Whether a package lists this file; the common directories are one package's."""
    common = {"", "etc/", "usr/", "boot/", "usr/bin/", "usr/sbin/", "usr/lib/", "usr/share/"}
    return package.name == "filesystem" or not (name in common or name == "./")


def _line(name: str, root: Path) -> str:
    path = '"/' + re.sub(r"[\[\]*{}\\]", "?", name.rstrip("/").replace("%", "%%")) + '"'
    if name.endswith("/"):
        return f"%dir {path}"
    return (
        f"%config(noreplace) {path}" if name.startswith("etc/") and _is_file(root / name) else path
    )


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _section(package: Package, lines: list[str], place: Path) -> str:
    listed = place / f"{package.name}.files"
    listed.write_text("%defattr(-,root,root,-)\n" + "\n".join(lines) + "\n")
    version, _, release = package.version.rpartition("-")
    head = [
        f"%package -n {package.name}",
        "Summary: A package for tests",
        f"Version: {version or package.version}",
        f"Release: {release if version else 1}",
        *(f"Requires: {word}" for word in package.requires),
        *(f"Provides: {word}" for word in package.provides),
        "AutoReqProv: no" if package.name.startswith(("kernel", "grub2-pc", "grub2-efi")) else "",
        f"%description -n {package.name}\nA package for tests.",
    ]
    for script in ("post", "posttrans", "preun"):
        text = getattr(package, script)
        if text:
            head.append(f"%{script} -n {package.name}\n{text.strip()}")
    return "\n".join(head) + f"\n%files -n {package.name} -f {listed}\n"


def _deb(debs: Path, name: str) -> Path:
    (found,) = debs.glob(f"{name}_*.deb")
    return found


def _say_grub2(root: Path) -> None:
    """Call GRUB's programs and its directory as this family of distributions does."""
    texts = [*(root / "etc/grub.d").glob("*"), root / "usr/share/grub/grub-mkconfig_lib"]
    for directory in ("usr/bin", "usr/sbin"):
        texts += [*(root / directory).glob("grub2-*"), root / directory / "kernel-install"]
    for path in texts:
        if path.is_file() and path.read_bytes().startswith(b"#"):
            text = GRUB_WORDS.sub(b"grub2-", path.read_bytes())
            path.write_bytes(text.replace(b"/boot/grub/", b"/boot/grub2/"))
