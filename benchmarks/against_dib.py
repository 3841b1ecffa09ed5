#!/usr/bin/env python3
"""Builds the same image with diskimage-builder and with this project, and says what each took.

    benchmarks/against_dib.py --runs 3 --json results.json
    benchmarks/against_dib.py --pour --type tgz
    benchmarks/against_dib.py --hooks 60

Needs root, and a Debian mirror. It measures and prints; it does not judge.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import builders
import mirrors
import recipes
import report
import standing_in
from builders import Build, Builder, Recipe

FAILED, INTERRUPTED = 1, 130


def main() -> int:
    """Compare; the exit status is 0 unless a build failed."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it cleans up as well
    logs = options.logs or Path(tempfile.mkdtemp(prefix="against-dib-logs."))
    logs.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="against-dib.", dir=options.scratch) as name:
            place = Path(name).resolve()
            try:
                _compare(options, place, logs)
            finally:
                standing_in.sweep(place)
    except (builders.BuildFailedError, mirrors.NoMirrorError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    print(f"logs: {logs}")
    return 0


def _compare(options: argparse.Namespace, place: Path, logs: Path) -> None:
    stand_ins = standing_in.needed(place)
    both = [
        builders.released(options.dib, place, standing_in.link(stand_ins, place / "stand_ins")),
        builders.ours(options.ours),
    ]
    wanted = [each for each in both if options.only in (None, each.name)]
    recipe = recipes.recipe(options, place)
    _introduce(wanted, recipe, stand_ins)
    same = options.same_packages and not (options.pour or options.hooks)
    builds = _builds(wanted, recipe, options.runs, (place, logs), same_packages=same)
    _conclude(builds, pour=options.pour)
    if options.json:
        results = {"builders": {each.name: each.version for each in wanted},
                   "recipe": recipe.words, "stand_ins": stand_ins,
                   "builds": [asdict(build) for build in builds]}  # fmt: skip
        options.json.write_text(json.dumps(results, indent=1) + "\n")


def _builds(
    wanted: Sequence[Builder],
    recipe: Recipe,
    runs: int,
    places: tuple[Path, Path],
    *,
    same_packages: bool,
) -> list[Build]:
    """All builds; every other round in the opposite order, so that neither always goes first."""
    made: list[Build] = []
    for number in range(1, runs + 1):
        for builder in wanted if number % 2 else reversed(wanted):
            alike = _with_packages(recipe, made) if same_packages else {}
            asked = alike.get(builder.name, recipe)
            made.append(builders.build(builder, asked, number, *places))
            print(report.line(made[-1]), flush=True)
    return made


def _with_packages(recipe: Recipe, made: Sequence[Build]) -> dict[str, Recipe]:
    """Our recipe, with every package by name that diskimage-builder's image was found to have."""
    theirs = [build.packages for build in made if build.builder == report.DIB]
    if not theirs:
        return {}
    words = ("-p", ",".join(sorted(theirs[0])), *recipe.words)
    return {report.OURS: replace(recipe, words=words)}


def _introduce(wanted: Sequence[Builder], recipe: Recipe, stand_ins: dict[str, str]) -> None:
    for each in wanted:
        print(f"{each.name} {each.version}: {each.program}")
    print(f"recipe: {' '.join(recipe.words)} -t {recipe.type}")
    print(f"host: {platform.system()} {platform.release()}, {os.cpu_count()} processors")
    for name, reason in stand_ins.items():
        print(f"stand-in for diskimage-builder: {name} ({reason})")
    print(flush=True)


def _conclude(builds: Sequence[Build], *, pour: bool) -> None:
    if pour:
        parts = [report.pour_table(builds)]
    else:
        parts = [report.comparison(builds), report.phase_table(builds), report.differences(builds)]
    print("\n" + "\n\n".join(part for part in parts if part) + "\n", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--runs", type=int, default=1, metavar="N", help="builds with each (default: 1)")
    add("--pour", action="store_true", help="only write and convert one given tree")
    add("--hooks", type=int, default=0, metavar="N", help="only run N hooks that do nothing")
    add("--tree", type=Path, metavar="DIR", help="what --pour writes (default: a new bootstrap)")
    add("--type", choices=("qcow2", "tar", "tgz"), default="qcow2", help="(default: qcow2)")
    add("--release", default="bookworm", help="the release of Debian (default: bookworm)")
    add("--elements", default="debian-minimal vm", help="(default: debian-minimal vm)")
    add("--packages", default="", metavar="A,B", help="more packages, for both")
    add(
        "--same-packages",
        action="store_true",
        help="ask this project's also for every package found in diskimage-builder's image",
    )
    add("--dib", type=Path, metavar="PATH", help="diskimage-builder or its virtual environment")
    add("--ours", type=Path, metavar="PATH", help="this project's, likewise")
    add("--only", choices=(report.DIB, report.OURS), help="build with one of the two")
    add("--scratch", type=Path, metavar="DIR", help="where to build (default: $TMPDIR or /tmp)")
    add("--logs", type=Path, metavar="DIR", help="where to keep the logs (default: a new one)")
    add("--json", type=Path, metavar="FILE", help="write every number there too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
