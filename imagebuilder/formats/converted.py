"""What qemu-img makes of the disk: vmdk, vdi, vhdx, vhd, and any other of its formats.

`vmdk` is the file that VMware's hosted products and QEMU work on (`monolithicSparse`).
`vmdk-stream` (`streamOptimized`, compressed) is what vSphere and the import of other clouds take.

`vhd` is the dynamic VHD of Xen and others. `azure` is what Azure takes instead, a fixed VHD, with
holes in the file where the disk has them; `--qemu-img-options vhd:subformat=fixed` makes `vhd`
the same. The disk in both has a whole number of MiB; one that has not is enlarged, with its GPT
moved to the new end.

Any other name is handed to qemu-img, and the file's name ends in it. What qemu-img cannot write
is an error before the build begins.

Times in these files are the epoch, and ids follow from the content: equal disks give equal
bytes, in a file of the same name, from the same version of qemu-img. Of formats that are not
listed here that is not known.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.errors import ConfigError, nearest
from imagebuilder.formats import place, qemu_img, stamped
from imagebuilder.formats.grown import grown
from imagebuilder.formats.model import Artefact, Output, Source
from imagebuilder.process import Runner, find
from imagebuilder.registry import names
from imagebuilder.sizes import UNITS

SOURCE = Source.DISK
FEATURES = ("qemu-img",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How an output's type is made: qemu-img's name for it, and what it gets."""

    driver: str
    suffix: str
    options: tuple[str, ...] = ()
    step: int = 1  # the disk's size is a multiple of it, in bytes


EXACT = "force_size=on"  # else the size is what cylinders, heads and sectors come to
STREAM = ("subformat=streamOptimized", "adapter_type=lsilogic")
RECIPES = {
    "vhd": Recipe(
        driver="vpc", suffix=".vhd", options=("subformat=dynamic", EXACT), step=UNITS["MiB"]
    ),
    "azure": Recipe(
        driver="vpc", suffix=".azure.vhd", options=("subformat=fixed", EXACT), step=UNITS["MiB"]
    ),
    "vmdk": Recipe(driver="vmdk", suffix=".vmdk"),
    "vmdk-stream": Recipe(driver="vmdk", suffix=".stream.vmdk", options=STREAM),
    "vdi": Recipe(driver="vdi", suffix=".vdi"),
    "vhdx": Recipe(driver="vhdx", suffix=".vhdx"),
}
SUFFIXES = {name: recipe.suffix for name, recipe in RECIPES.items()}


def write(source: Path, output: Output, run: Runner) -> Artefact:
    """Convert the disk `source` to the output."""
    return place.place(
        output,
        lambda path: _fill(source, path, output, run),
        lambda: source.stat().st_blocks * 512,
    )


def check(output: Output) -> None:
    """Raise ConfigError if qemu-img cannot write the format, with these options."""
    driver, own = for_qemu_img(output.format)
    strange = output.format not in RECIPES
    if strange and find("qemu-img") is None:
        raise _unknown(output.format, "and qemu-img, which may know it, is not installed")
    refusal = qemu_img.refused(driver, qemu_img.combined(own, output.options))
    if refusal and strange:
        raise _unknown(output.format, f"nor can qemu-img write it: {refusal}")
    if refusal:
        raise ConfigError(f"qemu-img cannot write it: {refusal}", where=f"-t {output.format}")


def _unknown(name: str, why: str) -> ConfigError:
    known = names("formats")
    return ConfigError(
        f"no format is called {name!r}, {why}",
        where="-t",
        hint=nearest(name, known) or f"there are: {', '.join(known)}, and those of qemu-img",
    )


def alters(name: str) -> bool:
    """Whether the disk is larger while it is converted."""
    return _recipe(name).step > 1


def for_qemu_img(name: str) -> tuple[str, tuple[str, ...]]:
    """qemu-img's name for the format, and the options that it gets."""
    recipe = _recipe(name)
    return recipe.driver, recipe.options


def _fill(source: Path, target: Path, output: Output, run: Runner) -> None:
    recipe = _recipe(output.format)
    options = qemu_img.combined(recipe.options, output.options)
    with ExitStack() as stack:
        stack.enter_context(grown(source, recipe.step))
        run(qemu_img.convert(source, target, recipe.driver, options))
    stamped.settle(recipe.driver, target, output)


def _recipe(name: str) -> Recipe:
    return RECIPES.get(name) or Recipe(driver=name, suffix=f".{name}")
