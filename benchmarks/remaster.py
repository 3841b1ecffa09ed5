#!/usr/bin/env python3
"""Remastering against the plain programs that move the same bytes.

    benchmarks/remaster.py --runs 5
    benchmarks/remaster.py --iso live.iso --size 2048

An ISO image with one file edited in place (`ours`) and one with a file more, laid out anew
(`anew`), are compared with `cp`, `sync` and `cmp` of the image, a squashfs image with one file
edited with `sqfs2tar | tar2sqfs` of it. It measures and prints; it does not judge.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from measured import measured

MIB = 1 << 20
ROOT = Path(__file__).resolve().parents[1]
EDITED = "menu/grub.cfg"


def main() -> int:
    """Measure; the exit status is 0 unless something failed."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="remaster.", dir=options.scratch) as name:
        place = Path(name).resolve()
        iso = options.iso.resolve() if options.iso else _iso(place, options.size)
        root = options.root.resolve() if options.root else _root(place, options.root_size)
        rows = {
            "iso": _iso_rows(iso, place, options.edit or EDITED),
            "squashfs": _root_rows(root, place),
        }
        taken = {name: _taken(row, place, options.runs) for name, row in rows.items()}
    _show(taken)
    if options.json:
        options.json.write_text(json.dumps(taken, indent=1) + "\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="rounds (default: 5)")
    parser.add_argument(
        "--iso", type=Path, metavar="FILE", help="an image instead of one made here"
    )
    parser.add_argument("--edit", metavar="PATH", help="the file in it that is replaced")
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="of the image made")
    parser.add_argument("--root", type=Path, metavar="FILE", help="a squashfs image to be edited")
    parser.add_argument(
        "--root-size", type=int, default=400, metavar="MIB", help="of the tree in the one made"
    )
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where there is room for all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")
    return parser.parse_args()


def _iso(place: Path, size: int) -> Path:
    """A hybrid image as grub-mkrescue makes it, mostly of one file that nothing compresses."""
    tree = place / "tree"
    (tree / EDITED).parent.mkdir(parents=True)
    (tree / EDITED).write_text("set timeout=5\n")
    with (tree / "payload").open("wb") as file:
        for _ in range(size):
            file.write(os.urandom(MIB))
    made = place / "source.iso"
    subprocess.run(["grub-mkrescue", "-o", made, tree], check=True, capture_output=True)
    return made


def _root(place: Path, size: int) -> Path:
    """A squashfs image of what this host has in /usr, up to a size."""
    tree = place / "root"
    left = size * MIB
    for source in sorted(Path("/usr").rglob("*")):
        if source.is_symlink() or not source.is_file() or source.stat().st_size > left:
            continue
        target = tree / source.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        left -= source.stat().st_size
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/edited").write_text("old\n")
    made = place / "root.squashfs"
    pipe = f"tar -C {shlex.quote(str(tree))} -c . | tar2sqfs -q -c zstd -X level=3 {made}"
    subprocess.run(["sh", "-c", pipe], check=True)
    return made


def _iso_rows(iso: Path, place: Path, edited: str) -> dict[str, list[str]]:
    new, out = place / "edited", place / "out.iso"
    new.write_text("set timeout=0\n")
    quoted, copy = shlex.quote(str(iso)), place / "copy.iso"
    again = place / "again.iso"
    start = [sys.executable, "-m", "imagebuilder", "iso", "remaster", str(iso)]
    program = [*start, "-o", str(out), "--add", f"{new}:/{edited}"]
    xorriso = [*start, "-o", str(again), "--add", f"{new}:/added"]
    return {
        "plain": [
            "sh",
            "-ec",
            f"rm -f {copy}; cp {quoted} {copy}; sync {copy}; cmp {quoted} {copy}",
        ],
        "ours": ["sh", "-ec", f"rm -f {out}; {shlex.join(program)}"],
        "anew": ["sh", "-ec", f"rm -f {again}; {shlex.join(xorriso)}"],
    }


def _root_rows(root: Path, place: Path) -> dict[str, list[str]]:
    quoted, copy, out = shlex.quote(str(root)), place / "copy.squashfs", place / "out.squashfs"
    words = ["squashfs", "edit", str(root), "-o", str(out), "--force"]
    ours = [*words, "--add", "/etc/hostname:/etc/edited"]
    options = "-c zstd -X level=3"
    pipe = f"sqfs2tar -r . {quoted} | tar2sqfs -q -f {options} {copy}; sync {copy}"
    return {
        "plain": ["sh", "-ec", pipe],
        "ours": [sys.executable, "-m", "imagebuilder", *ours],
    }


def _taken(rows: Mapping[str, list[str]], place: Path, runs: int) -> dict[str, list[float]]:
    """Wall time of each, in turn, and every other round beginning with the other."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program is compiled
    taken: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(runs):
        for name in list(rows)[:: 1 if number % 2 else -1]:
            usage = measured(rows[name], environment, place / "log")
            if usage.status:
                raise SystemExit(f"{name}: {(place / 'log').read_text()}")
            taken[name].append(round(usage.wall, 3))
    return taken


def _show(taken: Mapping[str, Mapping[str, list[float]]]) -> None:
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    for what, rows in taken.items():
        for name, seconds in rows.items():
            print(f"{what:<9} {name:<6} median {median(seconds):7.2f} s  {seconds}")
        for name in [name for name in rows if name != "plain"]:
            each = [one / plain for one, plain in zip(rows[name], rows["plain"], strict=True)]
            ratio = median(rows[name]) / median(rows["plain"])
            print(f"{what:<9} {name:<6} ratio {ratio:.2f}, median of rounds {median(each):.2f}")


if __name__ == "__main__":
    sys.exit(main())
