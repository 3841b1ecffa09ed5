#!/usr/bin/env python3
"""Builds the same packages with this project, with a chain of plain tools, and with mkosi.

    benchmarks/against_tools.py --runs 3
    benchmarks/against_tools.py --mkosi --mkosi-root DIR

Needs root, and a Debian mirror. It measures and prints; it does not judge.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import builders
import mirrors
import others
from builders import Build, Recipe

MIB = 1 << 20
OURS = "imagebuilder"
ESP_AND_BIOS = 560  # MiB of the disk that are not the root


def main() -> int:
    """Measure; the exit status is 0 unless something failed."""
    options = _options()
    logs = Path(tempfile.mkdtemp(prefix="against-tools-logs."))
    try:
        with tempfile.TemporaryDirectory(prefix="against-tools.", dir=options.scratch) as name:
            place = Path(name).resolve()
            taken = _mkosi(options, place, logs) if options.mkosi else _chain(options, place, logs)
    except (builders.BuildFailedError, mirrors.NoMirrorError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _show(taken)
    if options.json:
        options.json.write_text(json.dumps({"seconds": taken}, indent=1) + "\n")
    print(f"logs: {logs}")
    return 0


def _chain(options: argparse.Namespace, place: Path, logs: Path) -> dict[str, list[float]]:
    """mmdebstrap, mke2fs and qemu-img one after the other, with our image's packages."""
    return _compare(
        options, (place, logs), options.elements, "qcow2", lambda job, _: others.chain(job)
    )


def _mkosi(options: argparse.Namespace, place: Path, logs: Path) -> dict[str, list[float]]:
    """mkosi with our image's packages and partitions."""
    root = options.mkosi_root.resolve() if options.mkosi_root else others.mkosi_root(place)

    def run(job: others.Job, build: Build) -> dict[str, float]:
        return others.mkosi(job, root, build.size // MIB - ESP_AND_BIOS)

    elements = f"{options.elements} block-device-efi"
    return _compare(options, (place, logs), elements, "raw", run)


def _compare(
    options: argparse.Namespace,
    places: tuple[Path, Path],
    elements: str,
    type_: str,
    other: Callable[[others.Job, Build], Mapping[str, float]],
) -> dict[str, list[float]]:
    """Ours first in each round, because the others are asked for the packages it has."""
    place, logs = places
    variables = {"DIB_RELEASE": options.release, **mirrors.mirrors()}
    recipe = Recipe(words=tuple(elements.split()), variables=variables, type=type_)
    builder = builders.ours(options.ours)
    taken: dict[str, list[float]] = {}
    for number in range(1, options.runs + 1):
        build = builders.build(builder, recipe, number, place, logs)
        (place / "other").mkdir(exist_ok=True)
        job = others.Job(
            release=options.release, packages=build.packages, place=place / "other", logs=logs
        )
        for name, seconds in {OURS: build.usage.wall, **other(job, build)}.items():
            print(f"run {number}  {name:<20}  {seconds:7.1f} s", flush=True)
            taken.setdefault(name, []).append(seconds)
    return taken


def _show(taken: Mapping[str, list[float]]) -> None:
    ours = median(taken[OURS])
    theirs = sum(median(seconds) for name, seconds in taken.items() if name != OURS)
    print("\nmedian [s]")
    for name, seconds in taken.items():
        print(f"{name:<24} {median(seconds):7.1f}")
    print(f"{'all but ' + OURS:<24} {theirs:7.1f}\n{'ratio':<24} {ours / theirs:7.3f}\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--runs", type=int, default=1, metavar="N", help="of each (default: 1)")
    add("--mkosi", action="store_true", help="against mkosi, instead of the chain of tools")
    add("--mkosi-root", type=Path, metavar="DIR", help="a root with mkosi 25 and its tools")
    add("--release", default="bookworm", help="the release of Debian (default: bookworm)")
    add("--elements", default="debian-minimal vm", help="(default: debian-minimal vm)")
    add("--ours", type=Path, metavar="PATH", help="disk-image-create or its virtual environment")
    add("--scratch", type=Path, metavar="DIR", help="where to build (default: $TMPDIR or /tmp)")
    add("--json", type=Path, metavar="FILE", help="write every number there too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
