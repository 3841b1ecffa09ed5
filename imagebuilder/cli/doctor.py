"""`imagebuilder doctor`: what a host lacks for building images, and how to get it.

The exit status is 0 if nothing that is needed is missing, else 3.
"""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import importlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imagebuilder import process
from imagebuilder.errors import CommandError, ToolMissingError
from imagebuilder.machine import boot
from imagebuilder.machine.model import ARCHITECTURES
from imagebuilder.process import Command, Result, Runner
from imagebuilder.sizes import Size
from imagebuilder.tools import table as tools
from imagebuilder.tools.model import DEBIAN, Tool

MISSING = "missing"
PIP = "pip:"  # marks a package that pip has to bring, for a Python of the user's own
ROOM = Size(5 * 2**30)  # what a build with a few hundred packages takes at its widest
PROXIES = ("http_proxy", "https_proxy", "no_proxy")


def stream(command: Command) -> Result:
    """Run like `process.run`, with the output on standard error as it comes."""
    lines = []
    with process.started(command) as program:
        assert program.stdout
        for line in program.stdout:
            lines.append(line.decode(errors="replace"))
            print(lines[-1], end="", file=sys.stderr, flush=True)
        status = program.wait()
    return process.checked(Result(command, status, "".join(lines)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine that is looked at, and the ways to do so."""

    run: Runner = process.run
    stream: Runner = stream
    find: Callable[[str], str | None] = process.find
    module: Callable[[str], object | None] = importlib.util.find_spec
    root: Path = Path("/")
    user: int = field(default_factory=os.geteuid)
    name: str = field(default_factory=getpass.getuser)
    temporary: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    python_of_the_distribution: bool = sys.prefix == "/usr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the diagnosis; `found` is a version, a place, or what is wrong."""

    name: str
    found: str
    purpose: str
    package: str = ""
    ok: bool = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `imagebuilder doctor`."""
    parser.add_argument("elements", nargs="*", metavar="ELEMENT", help="what these need")
    parser.add_argument(
        "--for", dest="job", choices=(*tools.JOBS, "all"), default="build",
        help="what the host is to do (default: build)",
    )  # fmt: skip
    parser.add_argument("--install", action="store_true", help="install what is missing")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the diagnosis; return the exit status."""
    return diagnose(arguments, Host())


def diagnose(arguments: argparse.Namespace, host: Host) -> int:
    """Print what `host` has and lacks, after installing what it lacks if that is asked for."""
    wanted = tools.needed(_features(arguments, host))
    families = tools.families(_read(host, "etc/os-release"))
    programs = look(wanted, families, host)
    if arguments.install and _packages(programs) and _install(_packages(programs), families, host):
        importlib.invalidate_caches()
        programs = look(wanted, families, host)
    findings = (*programs, *abilities(host))
    if arguments.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        print(table(findings))
        print(verdict(findings, families))
    return 0 if all(finding.ok for finding in findings) else ToolMissingError.exit_status


def look(wanted: Iterable[Tool], families: tuple[str, ...], host: Host) -> tuple[Finding, ...]:
    """What the host has of the tools that are wanted."""
    return tuple(_look(tool, tools.package(tool, families), host) for tool in wanted)


def abilities(host: Host) -> tuple[Finding, ...]:
    """What kernel and configuration let the builder do."""
    own = (_namespaces(host), *(_subordinates(host) if host.user else ()))
    return (*own, _kvm(host), _room(host))


def table(findings: Iterable[Finding]) -> str:
    """The findings in aligned columns."""
    rows = [(f.name, f.found, f.package, f.purpose) for f in findings]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def verdict(findings: Iterable[Finding], families: tuple[str, ...]) -> str:
    """One line that says what to do."""
    lacking = [finding for finding in findings if not finding.ok]
    if not lacking:
        return "everything needed is here"
    names = ", ".join(finding.name for finding in lacking)
    commands = _remedies(_packages(lacking), families)
    return "; ".join((f"not as needed: {names}", *commands))


def _remedies(packages: list[str], families: tuple[str, ...]) -> list[str]:
    """The commands that bring the packages."""
    libraries = [name.removeprefix(PIP) for name in packages if name.startswith(PIP)]
    rest = [name for name in packages if not name.startswith(PIP)]
    manager = next((tools.INSTALL[family] for family in families if family in tools.INSTALL), "")
    return [
        *([f"{sys.executable} -m pip install {' '.join(libraries)}"] if libraries else []),
        *([f"as root: {manager} {' '.join(rest)}"] if rest and manager else []),
    ]


def _features(arguments: argparse.Namespace, host: Host) -> tuple[str, ...]:
    rootless = ("rootless",) if host.user else ()
    if arguments.elements:
        from imagebuilder.element import load, resolve  # they need what may be missing
        from imagebuilder.options import host_arch, implied

        names = implied(arguments.elements, arch=host_arch(), base=True)
        index = load.index(load.search_path(host.environment.get("ELEMENTS_PATH", "")))
        resolved = resolve.resolve(names, index)
        return (*tools.of_elements(element.name for element in resolved), *rootless)
    jobs = tools.JOBS if arguments.job == "all" else (arguments.job,)
    return (*(feature for job in jobs for feature in tools.JOBS[job]), *rootless)


def _look(tool: Tool, package: str, host: Host) -> Finding:
    if tool.module:
        return _library(tool, package, host)
    return _file(tool, package, host) if tool.files else _program(tool, package, host)


def _library(tool: Tool, package: str, host: Host) -> Finding:
    there = host.module(tool.module) is not None
    return Finding(
        name=tool.name,
        found="present" if there else MISSING,
        purpose=tool.purpose,
        package=package if host.python_of_the_distribution else f"{PIP}{tool.name}",
        ok=there,
    )


def _program(tool: Tool, package: str, host: Host) -> Finding:
    path = host.find(tool.name)
    found = _version(path, tool, host) if path else MISSING
    ok = path is not None
    if ok and re.match(r"\d", found) and tools.older(found, tool.minimum):
        ok, found = False, f"{found}, older than {tool.minimum}"
    return Finding(name=tool.name, found=found, purpose=tool.purpose, package=package, ok=ok)


def _version(path: str, tool: Tool, host: Host) -> str:
    if not tool.version:
        return "present"
    try:
        said = host.run(Command((path, *tool.version))).output
    except (CommandError, ToolMissingError):
        return "present"
    match = re.search(r"\d+(?:\.\d+)+", said)
    return match[0] if match else "present"


def _file(tool: Tool, package: str, host: Host) -> Finding:
    there = any((host.root / file.lstrip("/")).exists() for file in tool.files)
    return Finding(
        name=tool.name,
        found="present" if there else MISSING,
        purpose=tool.purpose,
        package=package,
        ok=there,
    )


def _namespaces(host: Host) -> Finding:
    trouble = _forbidden(host) or _refused(host)
    return Finding(
        name="namespaces",
        found=trouble or "yes",
        purpose="phases and their mounts are private",
        ok=not trouble,
    )


def _forbidden(host: Host) -> str:
    if not host.user:
        return ""
    for setting, forbids in (
        ("user/max_user_namespaces", "0"),
        ("kernel/unprivileged_userns_clone", "0"),
    ):
        if _read(host, f"proc/sys/{setting}").strip() == forbids:
            return f"forbidden: sysctl {setting.replace('/', '.')} is {forbids}"
    return ""


def _refused(host: Host) -> str:
    path = host.find("unshare")
    if not path:
        return ""
    user = ("--user", "--map-root-user") if host.user else ()
    try:
        host.run(Command((path, *user, "--mount", "--pid", "--fork", "true")))
    except CommandError as error:
        return f"refused: {error.what.splitlines()[-1]}"
    return ""


def _subordinates(host: Host) -> Iterable[Finding]:
    for file, kind in (("etc/subuid", "users"), ("etc/subgid", "groups")):
        owners = {line.split(":")[0] for line in _read(host, file).splitlines()}
        there = bool(owners & {host.name, str(host.user)})
        yield Finding(
            name=f"subordinate {kind}",
            found="yes" if there else f"no range for {host.name} in /{file}",
            purpose="builds without root",
            ok=there,
        )


def _kvm(host: Host) -> Finding:
    return Finding(name="KVM", found=_kvm_state(host), purpose="starts images fast")


def _kvm_state(host: Host) -> str:
    guest = ARCHITECTURES.get(platform.machine())
    if not os.access(host.root / "dev/kvm", os.R_OK | os.W_OK) or guest is None:
        return "no"
    if not host.find(guest.program):
        return "perhaps"
    return "yes" if boot.works_with_kvm(guest, host.run) else "no: qemu does not start with it"


def _room(host: Host) -> Finding:
    free = Size(shutil.disk_usage(host.temporary).free)
    found = f"{free} free" if free >= ROOM else f"only {free} free"
    return Finding(name=str(host.temporary), found=found, purpose=f"builds take up to {ROOM}")


def _packages(findings: Iterable[Finding]) -> list[str]:
    return sorted({finding.package for finding in findings if not finding.ok and finding.package})


def _install(packages: list[str], families: tuple[str, ...], host: Host) -> bool:
    """Install with pip and apt-get what each of them has; whether it was done."""
    libraries = [name.removeprefix(PIP) for name in packages if name.startswith(PIP)]
    if libraries:
        host.stream(Command((sys.executable, "-m", "pip", "install", *libraries), env=os.environ))
    rest = [name for name in packages if not name.startswith(PIP)]
    return _apt_install(rest, families, host) if rest else True


def _apt_install(packages: list[str], families: tuple[str, ...], host: Host) -> bool:
    """Install Debian packages, if this is a host for them and we may; whether it was done."""
    if DEBIAN not in families or (host.user and not host.find("sudo")):
        return False
    become = ("sudo",) if host.user else ()
    proxies = [f"{name}={host.environment[name]}" for name in PROXIES if name in host.environment]
    apt = (*become, "env", "DEBIAN_FRONTEND=noninteractive", *proxies, "apt-get")
    install = Command((*apt, *shlex.split(tools.INSTALL[DEBIAN])[1:], *packages))
    if _has_lists(host):
        try:
            host.stream(install)
        except CommandError:
            pass  # most likely old lists, which name packages that are gone from the mirror
        else:
            return True
    host.stream(Command((*apt, "update")))
    host.stream(install)
    return True


def _has_lists(host: Host) -> bool:
    return any((host.root / "var/lib/apt/lists").glob("*Packages*"))


def _read(host: Host, path: str) -> str:
    file = host.root / path
    return file.read_text(errors="replace") if file.is_file() else ""
