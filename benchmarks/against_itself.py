#!/usr/bin/env python3
"""Says what a build costs that follows another one, in parts of a cold build.

    benchmarks/against_itself.py --runs 3 --json results.json

Needs root, and a Debian mirror. It uses the command line alone, measures, and prints.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import builders
import mirrors
from builders import Builder, Recipe
from measured import drop_caches, measured

COLD, AGAIN, FINALISE, INSTALL = (
    "cold",
    "again, nothing changed",
    "one finalise.d hook changed",
    "one late install.d hook changed",
)
LATE = "late-hooks"
ROLES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where is built, and what; `cache` is all that the builds of a round share."""

    builder: Builder
    place: Path
    logs: Path
    elements: str
    variables: Mapping[str, str]

    def seconds(self, name: str, cache: Path, *more: str, cold: bool = False) -> float:
        """The wall time of one build; raise BuildFailedError.

        Only a cold one begins with nothing of the disk in memory, and without older outputs.
        """
        directory = self._fresh(cold=cold)
        recipe = Recipe(words=(*self.elements.split(), *more), variables=self.variables)
        argv = [str(self.builder.program), *recipe.words, "-o", str(directory / "image")]
        return self._measure(name, argv, recipe, cache)

    def fleet(self, name: str, cache: Path, roles: list[str]) -> float:
        """The wall time of one image for each role, from one file; raise BuildFailedError."""
        directory = self._fresh(cold=True)
        images = [
            {
                "imagename": str(directory / role),
                "elements": [*self.elements.split(), role],
                "environment": dict(self.variables),
            }
            for role in roles
        ]
        file = directory / "fleet.yaml"
        file.write_text(json.dumps(images))
        argv = [str(self.builder.program.with_name("imagebuilder")), "build", str(file)]
        return self._measure(name, argv, Recipe(words=(), variables=self.variables), cache)

    def _fresh(self, *, cold: bool) -> Path:
        directory = self.place / "build"
        if cold:
            shutil.rmtree(directory, ignore_errors=True)
            drop_caches()
        for each in ("tmp", "home"):
            (directory / each).mkdir(parents=True, exist_ok=True)
        return directory

    def _measure(self, name: str, argv: list[str], recipe: Recipe, cache: Path) -> float:
        environment = builders.environment(self.builder, recipe, self.place / "build")
        log = self.logs / f"{name}.log"
        usage = measured(argv, environment | {"DIB_IMAGE_CACHE": str(cache)}, log)
        if usage.status:
            raise builders.BuildFailedError(f"the build failed; see {log}")
        return usage.wall

    def write(self, element: str, hook: str, content: object) -> None:
        """Write a hook that puts `content` into the image, and promise that it does no more."""
        home = self.place / "elements" / element
        home.mkdir(parents=True, exist_ok=True)
        (home / "element.yaml").write_text("cacheable: true\n")
        path = self.place / "elements" / element / hook
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho '{content}' > /etc/{path.name}\n")
        path.chmod(0o755)


def main() -> int:
    """Measure; the exit status is 0 unless a build failed."""
    options = _options()
    logs = Path(tempfile.mkdtemp(prefix="against-itself-logs."))
    try:
        with tempfile.TemporaryDirectory(prefix="against-itself.", dir=options.scratch) as name:
            place = Path(name).resolve()
            variables = {
                "DIB_RELEASE": options.release,
                "ELEMENTS_PATH": str(place / "elements"),
                **mirrors.mirrors(),
            }
            bench = Bench(
                builder=builders.ours(options.ours),
                place=place,
                logs=logs,
                elements=options.elements,
                variables=variables,
            )
            _measure(bench, options)
    except (builders.BuildFailedError, mirrors.NoMirrorError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"logs: {logs}")
    return 0


def _measure(bench: Bench, options: argparse.Namespace) -> None:
    taken: dict[str, list[float]] = {}
    for number in range(1, options.runs + 1):
        for name, seconds in _changes(bench, number):
            print(f"run {number}  {name:<34}  {seconds:7.1f} s", flush=True)
            taken.setdefault(name, []).append(seconds)
    for number in range(1, options.roles_runs + 1):
        shared, alone = _roles(bench, number, cold=options.eight_cold)
        taken.setdefault("eight images", []).append(shared)
        taken.setdefault("eight cold builds", []).append(alone or ROLES * median(taken[COLD]))
    _show(taken)
    if options.json:
        options.json.write_text(json.dumps({"seconds": taken}, indent=1) + "\n")


def _changes(bench: Bench, number: int) -> Iterator[tuple[str, float]]:
    """A cold build and its successors, which share its cache."""
    cache = bench.place / "cache"
    cache.mkdir()
    hooks = {FINALISE: "finalise.d/90-late-finalise", INSTALL: "install.d/90-late-install"}
    for hook in hooks.values():
        bench.write(LATE, hook, number)
    for name in (COLD, AGAIN, FINALISE, INSTALL):
        if name in hooks:
            bench.write(LATE, hooks[name], f"{number}, changed")
        log = f"{number}-{name.replace(' ', '-')}"
        yield name, bench.seconds(log, cache, LATE, cold=name == COLD)
    shutil.rmtree(cache)


def _roles(bench: Bench, number: int, *, cold: bool) -> tuple[float, float]:
    """Seconds of eight images of one file, and of each by itself with a cache of its own."""
    for role in range(ROLES):
        bench.write(f"role-{role}", "install.d/90-role", role)
    cache = bench.place / "shared"
    cache.mkdir()
    shared = bench.fleet(f"{number}-shared", cache, [f"role-{role}" for role in range(ROLES)])
    shutil.rmtree(cache)
    print(f"run {number}  {'eight images of one file':<34}  {shared:7.1f} s", flush=True)
    alone = 0.0
    for role in range(ROLES if cold else 0):
        cache = bench.place / f"alone-{role}"
        cache.mkdir()
        seconds = bench.seconds(f"{number}-alone-{role}", cache, f"role-{role}", cold=True)
        shutil.rmtree(cache)
        print(
            f"run {number}  {f'image {role + 1} of eight, alone':<34}  {seconds:7.1f} s", flush=True
        )
        alone += seconds
    return shared, alone


def _show(taken: Mapping[str, list[float]]) -> None:
    print("\nmedian                                       s  part of cold")
    for name, seconds in taken.items():
        whole = taken["eight cold builds" if name.startswith("eight") else COLD]
        ratio = median(seconds) / median(whole)
        print(f"{name:<36} {median(seconds):9.1f}  {ratio:12.3f}")
    print(flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--runs", type=int, default=1, metavar="N", help="of each change (default: 1)")
    add("--roles-runs", type=int, default=1, metavar="N", help="of eight images; 0: leave them out")
    add(
        "--eight-cold",
        action="store_true",
        help="really build all eight cold too, instead of taking eight times the cold build",
    )
    add("--release", default="bookworm", help="the release of Debian (default: bookworm)")
    add("--elements", default="debian-minimal vm", help="(default: debian-minimal vm)")
    add("--ours", type=Path, metavar="PATH", help="disk-image-create or its virtual environment")
    add("--scratch", type=Path, metavar="DIR", help="where to build (default: $TMPDIR or /tmp)")
    add("--json", type=Path, metavar="FILE", help="write every number there too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
