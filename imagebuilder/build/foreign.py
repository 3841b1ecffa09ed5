"""Whether this host can run programs of the image's architecture, which hooks inside consist of.

A kernel does so natively, or through an emulator that is registered with binfmt_misc under the flag
F, so that it need not be in the image.
"""

from __future__ import annotations

from imagebuilder.errors import CommandError, ToolMissingError
from imagebuilder.options import host_arch
from imagebuilder.plan.model import Draft
from imagebuilder.process import Command, Runner, run
from imagebuilder.tools import table as tools

BOOTSTRAPPED = frozenset({"debian", "ubuntu"})  # features of elements that fill an empty tree
INSTALL = "apt install arch-test qemu-user-static binfmt-support"


def check(draft: Draft, run: Runner = run) -> None:
    """Raise ToolMissingError where programs are needed that the host cannot run."""
    arch = draft.request.arch
    features = tools.of_elements(element.name for element in draft.elements)
    if arch == host_arch() or not BOOTSTRAPPED & set(features):
        return
    try:
        run(Command(("arch-test", arch)))
    except ToolMissingError as error:
        raise ToolMissingError(
            f"an image for {arch} takes programs that show whether this host runs those of {arch}",
            hint=f"{INSTALL} (Debian's names), or build on a machine of that architecture",
        ) from error
    except CommandError as error:
        raise ToolMissingError(
            f"this host ({host_arch()}) cannot run programs for {arch}",
            hint=f"{INSTALL} (Debian's names); where nothing has started binfmt-support, as in a "
            "container, 'update-binfmts --enable' or systemd-binfmt; or build on a machine of that "
            "architecture",
        ) from error
