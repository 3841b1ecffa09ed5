"""Other ways to the same disk: a chain of plain tools, and mkosi. Each is timed from nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mirrors
from builders import SYSTEM_PATH, BuildFailedError
from measured import drop_caches, measured

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
MKOSI_PACKAGES = (
    "mkosi,systemd-repart,systemd-boot,systemd-ukify,dosfstools,mtools,e2fsprogs,uidmap,zstd,cpio,"
    "kmod,xz-utils,ca-certificates,udev,debian-archive-keyring"
)
BOOTED_OTHERWISE = ("grub", "shim", "mokutil", "linux-image-6")  # of an image with GRUB
# mkosi of the directory it finds; it gets a root of its own, where its tools are.
MKOSI = """set -eu
mount --bind "$1" "$1"
cd "$1"
mkdir -p bench
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
cp -L /etc/resolv.conf /etc/hosts etc/
mount --bind "$2" bench
pivot_root . .
umount --lazy .
cd /bench/recipe
exec mkosi --force build
"""
MKOSI_CONF = """[Distribution]
Distribution=debian
Release={release}
LocalMirror={mirror}

[Output]
Format=disk
Output=image
OutputDirectory=/bench/output
CompressOutput=no

[Content]
WithRecommends=no
Packages={packages}

[Build]
BuildSources=
WorkspaceDirectory=/bench/work
PackageCacheDirectory=/bench/packages
"""
PARTITIONS = {
    "00-esp.conf": "Type=esp\nFormat=vfat\nCopyFiles=/boot:/\nCopyFiles=/efi:/\n"
    "SizeMinBytes=550M\nSizeMaxBytes=550M",
    "10-bios.conf": "Type=21686148-6449-6e6f-744e-656564454649\nSizeMinBytes=8M\nSizeMaxBytes=8M",
    "20-root.conf": "Type=root\nFormat=ext4\nCopyFiles=/\nSizeMinBytes={root}M",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to make: `packages` of a `release`, in `place`, with logs in `logs`."""

    release: str
    packages: Iterable[str]
    place: Path
    logs: Path


def chain(job: Job) -> dict[str, float]:
    """Seconds of mmdebstrap into a directory, `mke2fs -d` and `qemu-img convert -c`."""
    tree, raw, image = (job.place / name for name in ("tree", "disk.raw", "disk.qcow2"))
    drop_caches()
    taken = {"mmdebstrap": _bootstrap(job, tree)}
    used = subprocess.run(["du", "-sxk", str(tree)], capture_output=True, text=True, check=True)
    blocks = f"{int(int(used.stdout.split()[0]) * 1.3)}k"
    mke2fs = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(tree), str(raw), blocks]
    taken["mke2fs -d"] = _timed(job, "mke2fs", mke2fs)
    convert = ["qemu-img", "convert", "-c", "-O", "qcow2", str(raw), str(image)]
    taken["qemu-img convert -c"] = _timed(job, "convert", convert)
    _clear(job.place)
    return taken


def mkosi(job: Job, root: Path, megabytes: int) -> dict[str, float]:
    """Seconds of mkosi: an ESP, a BIOS boot partition, and a root of at least `megabytes`."""
    recipe = job.place / "recipe"
    (recipe / "mkosi.repart").mkdir(parents=True)
    for name in ("output", "work", "packages"):
        (job.place / name).mkdir()
    kept = sorted(name for name in job.packages if not name.startswith(BOOTED_OTHERWISE))
    (recipe / "mkosi.conf").write_text(
        MKOSI_CONF.format(
            release=job.release,
            mirror=mirrors.mirrors()[mirrors.ARCHIVE],
            packages=",".join([*kept, "systemd-boot"]),
        )
    )
    for name, text in PARTITIONS.items():
        content = f"[Partition]\n{text.format(root=megabytes)}\n"
        (recipe / "mkosi.repart" / name).write_text(content)
    drop_caches()
    inside = ["unshare", "--mount", "--propagation", "private", "bash", "-c", MKOSI, "mkosi"]
    seconds = _timed(job, "mkosi", [*inside, str(root), str(job.place)])
    if not (job.place / "output" / "image.raw").exists():
        raise BuildFailedError(f"mkosi has made no image; see {job.logs / 'mkosi.log'}")
    _clear(job.place)
    return {"mkosi": seconds}


def mkosi_root(place: Path) -> Path:
    """A root of trixie with mkosi and its tools; bookworm's mkosi needs the kernel's vfat."""
    root = place / "mkosi-root"
    print("Bootstrapping a root with mkosi", flush=True)
    argv = ["mmdebstrap", "--quiet", "--variant=apt", f"--include={MKOSI_PACKAGES}"]
    subprocess.run([*argv, "trixie", str(root), mirrors.mirrors()[mirrors.ARCHIVE]], check=True)
    return root


def _bootstrap(job: Job, tree: Path) -> float:
    found = mirrors.mirrors()
    suites = {
        job.release: found[mirrors.ARCHIVE],
        f"{job.release}-updates": found[mirrors.ARCHIVE],
        f"{job.release}-security": found[mirrors.SECURITY],
    }
    lines = [f"deb [signed-by={KEYRING}] {url} {suite} main" for suite, url in suites.items()]
    include = f"--include={','.join(sorted(job.packages))}"
    argv = ["mmdebstrap", "--verbose", "--mode=root", "--variant=minbase", include]
    return _timed(job, "mmdebstrap", [*argv, job.release, str(tree), *lines])


def _timed(job: Job, name: str, argv: Sequence[str]) -> float:
    log = job.logs / f"{name}.log"
    usage = measured(argv, _environment(job.place), log)
    if usage.status:
        raise BuildFailedError(f"{name} failed with status {usage.status}; see {log}")
    return usage.wall


def _environment(place: Path) -> Mapping[str, str]:
    passed = {
        name: text for name, text in os.environ.items() if name.endswith(("_proxy", "_PROXY"))
    }
    return passed | {"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "HOME": str(place)}


def _clear(place: Path) -> None:
    for path in place.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
