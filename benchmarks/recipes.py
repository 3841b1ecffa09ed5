"""What both builders are asked for: a machine, a tree that is already there, or hooks alone."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

import mirrors
from builders import Recipe

ELEMENTS = Path(__file__).resolve().parent / "elements"
PHASES = ("extra-data.d", "pre-install.d", "install.d", "post-install.d", "cleanup.d")
TREE_PACKAGES = (
    "linux-image-amd64,systemd-sysv,udev,initramfs-tools,zstd,python3,locales,openssh-server,"
    "grub-pc-bin,grub-efi-amd64-bin,ca-certificates,sudo,firmware-linux-free,perl,git"
)


def recipe(options: argparse.Namespace, place: Path) -> Recipe:
    """The recipe that the command line describes; a tree is bootstrapped if none is given."""
    if options.hooks:
        return hooks(options.hooks, place)
    return tree(options, place) if options.pour else machine(options)


def machine(options: argparse.Namespace) -> Recipe:
    """A machine's disk from the distribution's packages."""
    packages = ("-p", options.packages) if options.packages else ()
    variables = {"DIB_RELEASE": options.release, **mirrors.mirrors()}
    words = (*packages, *options.elements.split())
    return Recipe(words=words, variables=variables, type=options.type)


def tree(options: argparse.Namespace, place: Path) -> Recipe:
    """One filesystem with a tree that is already there: nothing remains but to write it."""
    given = options.tree.resolve() if options.tree else _bootstrap(options.release, place / "tree")
    done = subprocess.run(["du", "-sxm", str(given)], capture_output=True, text=True, check=True)
    print(f"tree: {done.stdout.split()[0]} MiB, {sum(1 for _ in given.rglob('*'))} files")
    variables = {"GIVEN_TREE": str(given), "ELEMENTS_PATH": str(ELEMENTS)}
    return Recipe(words=("-n", "given-tree"), variables=variables, type=options.type)


def hooks(number: int, place: Path) -> Recipe:
    """`number` hooks that do nothing, spread over five phases, in a tree of busybox; as a tar.

    The kernel's caches are left alone, because the runner is measured and not the disk.
    """
    element = place / "elements" / "no-op-hooks"
    for index in range(number):
        hook = element / PHASES[index % len(PHASES)] / f"{index:02}-nothing"
        hook.parent.mkdir(parents=True, exist_ok=True)
        hook.write_text("#!/bin/sh\n")
        hook.chmod(0o755)
    shutil.copytree(ELEMENTS / "tiny-root", element.with_name("tiny-root"))
    variables = {"ELEMENTS_PATH": str(element.parent)}
    # Without a size, diskimage-builder's journal has no room.
    words = ("-n", "--image-size", "1", "tiny-root", "no-op-hooks")
    return Recipe(words=words, variables=variables, type="tar", warm=True)


def _bootstrap(release: str, into: Path) -> Path:
    print(f"Bootstrapping a tree of {release} to pour", flush=True)
    found = mirrors.mirrors()[mirrors.ARCHIVE]
    argv = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={TREE_PACKAGES}"]
    subprocess.run([*argv, release, str(into), found], check=True)
    return into
