"""The two builders that are compared: where each is, what it is given, how its log is read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import image
import phases
import standing_in
from measured import Usage, drop_caches, measured

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSED_ON = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
NAME = "disk-image-create"
TAIL = 30  # lines of a failed build's log that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """A disk-image-create."""

    name: str
    program: Path
    version: str
    path: str
    marks: Sequence[phases.Mark]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What both builders are asked for."""

    words: tuple[str, ...]
    variables: Mapping[str, str]
    type: str = "qcow2"
    warm: bool = False  # leave the kernel's caches alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One finished build: seconds and bytes."""

    builder: str
    number: int
    load: float
    cold: bool
    usage: Usage
    size: int
    phases: dict[str, float]
    packages: dict[str, str]
    left_behind: list[str]


class BuildFailedError(Exception):
    """A build did not end well; the message ends with the end of its log."""


def released(given: Path | None, scratch: Path, stand_ins: Path) -> Builder:
    """diskimage-builder: the one that was `given`, or the newest of the package index."""
    program = _program(given) if given else _install(scratch / "venv")
    return Builder(
        name="diskimage-builder",
        program=program,
        version=_version(program),
        path=f"{stand_ins}:{program.parent}:{SYSTEM_PATH}",
        marks=phases.DIB_MARKS,
    )


def ours(given: Path | None) -> Builder:
    """This project's: the one that was `given`, beside this Python, or on PATH."""
    beside = Path(sys.executable).with_name(NAME)
    found = _program(given) if given else beside if beside.exists() else shutil.which(NAME)
    if not found:
        raise BuildFailedError(f"no {NAME} of this project beside {sys.executable} or on PATH")
    return Builder(
        name="imagebuilder",
        program=Path(found),
        version=_version(Path(found)),
        path=SYSTEM_PATH,
        marks=(*phases.OUR_MARKS, *phases.AFTER_OURS),
    )


def build(builder: Builder, recipe: Recipe, number: int, place: Path, logs: Path) -> Build:
    """Build once with nothing cached; raise BuildFailedError, with nothing left behind either."""
    directory = place / f"{number}-{builder.name}"
    for name in ("tmp", "home", "cache"):
        (directory / name).mkdir(parents=True)
    log = logs / f"{directory.name}.log"
    output = directory / f"image.{recipe.type}"
    load, cold = os.getloadavg()[0], not recipe.warm and drop_caches()
    try:
        argv = [
            str(builder.program),
            *recipe.words,
            "-t",
            recipe.type,
            "-o",
            str(directory / "image"),
        ]
        usage = measured(argv, environment(builder, recipe, directory), log)
    finally:
        left_behind = standing_in.sweep(directory)
    if usage.status or not output.exists():
        raise BuildFailedError(_failure(builder, usage, log))
    image.check(output)
    made = Build(
        builder=builder.name,
        number=number,
        load=load,
        cold=cold,
        usage=usage,
        size=output.stat().st_size,
        phases=phases.phases(log.read_text(errors="replace"), builder.marks, usage.wall),
        packages=image.packages(output, directory),
        left_behind=left_behind,
    )
    shutil.rmtree(directory)
    return made


def environment(builder: Builder, recipe: Recipe, directory: Path) -> dict[str, str]:
    """Nothing of ours but proxies and DIB_*. No TMPDIR: diskimage-builder 3.43 leaks it into
    the chroot of root.d, where that directory does not exist."""
    passed = {name: text for name, text in os.environ.items() if name in PASSED_ON}
    chosen = {name: text for name, text in os.environ.items() if name.startswith("DIB_")}
    return {
        **passed,
        **chosen,
        **recipe.variables,
        "PATH": builder.path,
        "LC_ALL": "C.UTF-8",
        "HOME": str(directory / "home"),
        "TMP_DIR": str(directory / "tmp"),
        "DIB_IMAGE_CACHE": str(directory / "cache"),
    }


def _failure(builder: Builder, usage: Usage, log: Path) -> str:
    end = "\n".join(log.read_text(errors="replace").splitlines()[-TAIL:])
    return f"{builder.name} failed with status {usage.status}; the end of {log}:\n{end}"


def _program(given: Path) -> Path:
    """The program that a path stands for: itself, or the one in a virtual environment."""
    inside = given / "bin" / NAME
    program = (inside if inside.exists() else given).absolute()
    if not os.access(program, os.X_OK) or program.is_dir():
        raise BuildFailedError(f"{given} is neither {NAME} nor a virtual environment with it")
    return program


def _install(venv: Path) -> Path:
    print("Installing diskimage-builder from the package index", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin/pip"), "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "diskimage-builder"], check=True)
    return venv / "bin" / NAME


def _version(program: Path) -> str:
    environment = {"PATH": f"{program.parent}:{SYSTEM_PATH}", "LC_ALL": "C.UTF-8"}
    argv = [str(program), "--version"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()
