#!/usr/bin/env python3
"""Adds a package to an existing qcow2 with this project, and with a script that loop-mounts it.

Both give a qcow2 compressed as the given one is, zlib or zstd, with qemu-img on all cores.

    benchmarks/against_loop_mount.py --runs 3
    benchmarks/against_loop_mount.py --image machine.qcow2 --package tree

Needs root, loop devices and a Debian mirror. It measures and prints; it does not judge.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import builders
import image
import mirrors
from builders import Builder, Recipe
from measured import drop_caches, measured

OURS, SCRIPT = "imagebuilder", "loop-mount script"
# The same steps by hand; $1 image, $2 package, $3 output, $4 compression.
# Its mounts are in a namespace of its own.
STEPS = r"""set -eu
qemu-img convert -m 16 -W -O raw "$1" disk.raw
line=$(sfdisk --json disk.raw | python3 -c '
import json, sys
parts = json.load(sys.stdin)["partitiontable"]["partitions"]
print(max(parts, key=lambda part: part["size"])["start"] * 512)')
device=$(losetup --find --show --offset "$line" disk.raw)
trap 'umount --recursive tree 2> /dev/null || true; losetup --detach "$device"' EXIT
mkdir tree
mount "$device" tree
mount --bind /dev tree/dev
mount -t proc proc tree/proc
mount -t sysfs sys tree/sys
mv tree/etc/resolv.conf tree/etc/resolv.conf.mine
cp -L /etc/resolv.conf tree/etc/resolv.conf
printf '#!/bin/sh\nexit 101\n' > tree/usr/sbin/policy-rc.d
chmod +x tree/usr/sbin/policy-rc.d
chroot tree apt-get -q update
DEBIAN_FRONTEND=noninteractive chroot tree apt-get -q -y install --no-install-recommends "$2"
chroot tree apt-get clean
rm -rf tree/usr/sbin/policy-rc.d tree/var/lib/apt/lists/*
mv tree/etc/resolv.conf.mine tree/etc/resolv.conf
fstrim tree 2> /dev/null || true
umount --recursive tree
losetup --detach "$device"
trap - EXIT
qemu-img convert -c -m 16 -W -O qcow2 -o compression_type="$4" disk.raw "$3"
"""


def main() -> int:
    """Measure; the exit status is 0 unless something failed."""
    options = _options()
    logs = Path(tempfile.mkdtemp(prefix="against-loop-mount-logs."))
    taken: dict[str, list[float]] = {OURS: [], SCRIPT: []}
    try:
        with tempfile.TemporaryDirectory(prefix="against-loop-mount.", dir=options.scratch) as name:
            place = Path(name).resolve()
            builder = builders.ours(options.ours)
            given = options.image.resolve() if options.image else _made(builder, place, logs)
            for number in range(1, options.runs + 1):
                for which in (OURS, SCRIPT):
                    directory = place / "run"
                    seconds = _run(which, builder, (given, options.package), directory, logs)
                    print(f"run {number}  {which:<20}  {seconds:7.1f} s", flush=True)
                    taken[which].append(seconds)
    except (builders.BuildFailedError, mirrors.NoMirrorError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    ours, script = median(taken[OURS]), median(taken[SCRIPT])
    print(f"\nmedian [s]\n{OURS:<24} {ours:7.1f}\n{SCRIPT:<24} {script:7.1f}")
    print(f"{'ratio':<24} {ours / script:7.3f}\n\nlogs: {logs}")
    if options.json:
        options.json.write_text(json.dumps({"seconds": taken}, indent=1) + "\n")
    return 0


def _made(builder: Builder, place: Path, logs: Path) -> Path:
    """A machine of 2 GB to be changed, which is not counted."""
    print("Building the image that is changed", flush=True)
    variables = {"DIB_RELEASE": "bookworm", **mirrors.mirrors()}
    words = (
        *("debian-minimal", "vm", "cloud-init", "openssh-server", "--image-size", "2"),
        *("-p", "build-essential,git,vim,curl,rsync"),  # fills two thirds
    )
    directory = place / "given"
    for name in ("tmp", "home"):
        (directory / name).mkdir(parents=True)
    recipe = Recipe(words=words, variables=variables)
    argv = [str(builder.program), *words, "-o", str(directory / "image")]
    usage = measured(argv, builders.environment(builder, recipe, directory), logs / "given.log")
    if usage.status:
        raise builders.BuildFailedError(f"the build failed; see {logs / 'given.log'}")
    return directory / "image.qcow2"


def _run(
    which: str, builder: Builder, what: tuple[Path, str], directory: Path, logs: Path
) -> float:
    """The wall time of one way from the image to the changed image; raise BuildFailedError."""
    given, package = what
    for name in ("tmp", "home"):
        (directory / name).mkdir(parents=True)
    output = directory / "out.qcow2"
    recipe = Recipe(words=(), variables={"DIB_BASE_IMAGE": str(given)})
    environment = builders.environment(builder, recipe, directory)
    argv = [str(builder.program), "-n", "-o", str(output), "existing-image", "-p", package]
    if which == SCRIPT:
        words = [
            "bash",
            "-c",
            f"cd '{directory}'; {STEPS}",
            "bash",
            str(given),
            package,
            str(output),
            _compression(given),
        ]
        argv = ["unshare", "--mount", "--propagation", "private", *words]
    drop_caches()
    log = logs / f"{which.replace(' ', '-')}.log"
    usage = measured(argv, environment, log)
    if usage.status:
        raise builders.BuildFailedError(f"{which} failed; see {log}")
    image.check(output)
    if package not in image.packages(output, directory):
        raise builders.BuildFailedError(f"{which} has not installed {package}; see {log}")
    shutil.rmtree(directory)
    return usage.wall


def _compression(image: Path) -> str:
    argv = ["qemu-img", "info", "--output=json", str(image)]
    told = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    return str(told["format-specific"]["data"]["compression-type"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--runs", type=int, default=1, metavar="N", help="of each (default: 1)")
    add("--image", type=Path, metavar="FILE", help="the qcow2 that is changed (default: a new one)")
    add("--package", default="tree", help="what is added (default: tree)")
    add("--ours", type=Path, metavar="PATH", help="disk-image-create or its virtual environment")
    add("--scratch", type=Path, metavar="DIR", help="where to build (default: $TMPDIR or /tmp)")
    add("--json", type=Path, metavar="FILE", help="write every number there too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
