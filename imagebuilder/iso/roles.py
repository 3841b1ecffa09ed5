"""What the files of an installer's ISO image are for.

Kernels and initrds are those that the menus name, wherever a distribution puts them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imagebuilder.iso import grubcfg, isolinuxcfg, menu
from imagebuilder.iso.menu import Entry, Loader
from imagebuilder.iso.model import BLOCK, BootImage, Iso, Node, Partition
from imagebuilder.iso.tree import Tree

READERS = {Loader.GRUB: grubcfg.entries, Loader.ISOLINUX: isolinuxcfg.entries}
PACKAGE = re.compile(r"\.(deb|udeb|rpm|apk)$")
LARGEST_MENU = 2**20
ESP_TYPES = ("0xef", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
HOOKS: Mapping[str, str] = {
    "preseed.cfg": "answers for debian-installer",
    "preseed": "answers for debian-installer",
    "nocloud": "answers for cloud-init and subiquity",
    "autoinstall.yaml": "answers for subiquity",
    "ks.cfg": "answers for Anaconda (kickstart)",
    "auto-installer-capable": "can take answer.toml (Proxmox)",
    "answer.toml": "answers for Proxmox",
    "auto-installer-mode.toml": "where Proxmox looks for answers",
    "autoinst.xml": "answers for AutoYaST",
    ".disk/info": "by which loaders find this medium",
    ".discinfo": "by which Anaconda knows this medium",
    "md5sum.txt": "checksums of files",
    "sha256sum.txt": "checksums of files",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One file or directory, and what it is."""

    role: str
    path: str
    note: str = ""


def roles(tree: Tree) -> list[Role]:
    """Every role that a file of the image has, loaders first."""
    return [
        *_boot_images(tree),
        *_menus(tree),
        *_started(tree),
        *_layers(tree),
        *_pools(tree),
        *(
            Role(role="hook", path=path, note=note)
            for path, note in HOOKS.items()
            if path in tree.nodes
        ),
    ]


def entries(tree: Tree) -> list[Entry]:
    """The entries of all menus that are files of the image."""
    found: list[Entry] = []
    for path, loader in menu.menus(tree.nodes).items():
        if is_menu(tree.nodes[path]):
            text = tree.read(path).decode(errors="surrogateescape")
            found += READERS[loader](text)
    return found


def is_menu(node: Node) -> bool:
    """Whether a file may be a menu, by its type and size."""
    return node.is_file and not node.packed and node.size <= LARGEST_MENU


def boot_file(tree: Tree, image: BootImage) -> Node | None:
    """The file that a boot image is, if it is one."""
    return next(
        (n for n in tree.nodes.values() if n.extents and n.extents[0][0] == image.start), None
    )


def esp_place(iso: Iso, tree: Tree) -> tuple[int, int] | None:
    """Where the EFI system partition is: first byte and length. None if there is none."""
    image = iso.uefi
    if image is None:
        return None
    if node := boot_file(tree, image):
        return image.start, node.size
    for part in iso.partitions:
        if part.start * 512 == image.start:
            return image.start, part.count * 512
    return image.start, image.size


def other_esps(iso: Iso) -> list[Partition]:
    """Partitions that firmware would start from on a disk, beside the one that it does on a CD."""
    starts = {iso.uefi.start} if iso.uefi else set()
    found = []
    for part in iso.partitions:
        if part.type in ESP_TYPES and part.start * BLOCK not in starts:
            starts.add(part.start * BLOCK)
            found.append(part)
    return found


def _boot_images(tree: Tree) -> Iterator[Role]:
    for number, image in enumerate(tree.iso.images, 1):
        node = boot_file(tree, image)
        who = image.platform.name if image.platform else "an unknown platform"
        path = node.path if node else f"(bytes from {image.start} on, outside the file tree)"
        role = "EFI system partition" if image is tree.iso.uefi else "loader"
        yield Role(role=role, path=path, note=f"El Torito image {number}, for {who}")


def _menus(tree: Tree) -> Iterator[Role]:
    for path, loader in menu.menus(tree.nodes).items():
        node = tree.nodes[path]
        if is_menu(node):
            text = tree.read(path).decode(errors="surrogateescape")
            count = len(READERS[loader](text))
            yield Role(role="menu", path=path, note=f"{loader.value}, {count} entries")


def _started(tree: Tree) -> Iterator[Role]:
    found = entries(tree)
    for role, paths in (
        ("kernel", [entry.kernel for entry in found]),
        ("initrd", [path for entry in found for path in entry.initrds]),
    ):
        for path in dict.fromkeys(path for path in paths if path):
            node = tree.nodes.get(path)
            yield Role(role=role, path=path, note=f"{node.size} bytes" if node else "missing")


def _layers(tree: Tree) -> Iterator[Role]:
    """Root filesystems; those of casper are stacked by the dots in their names."""
    for path, node in sorted(tree.nodes.items()):
        if path.endswith((".squashfs", ".squash", ".erofs", "squashfs.img")):
            stem = path.rpartition("/")[2].rpartition(".")[0]
            below = stem.rpartition(".")[0]
            parent = f"{path.rpartition('/')[0]}/{below}.squashfs".lstrip("/")
            note = f", on {below}.squashfs" if parent in tree.nodes else ""
            yield Role(role="squashfs", path=path, note=f"{node.size} bytes{note}")


def _pools(tree: Tree) -> Iterator[Role]:
    counts: dict[str, int] = {}
    for path in tree.nodes:
        if PACKAGE.search(path):
            top = path.split("/")[0] if path.startswith("pool/") else path.rpartition("/")[0]
            counts[top] = counts.get(top, 0) + 1
    for path, count in sorted(counts.items()):
        yield Role(role="packages", path=path, note=f"{count}")
