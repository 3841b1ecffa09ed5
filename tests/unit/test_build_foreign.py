"""Images for other architectures are refused before anything is made, if they cannot be."""

from __future__ import annotations

import pytest

from imagebuilder.build import foreign
from imagebuilder.errors import CommandError, ToolMissingError
from imagebuilder.options import host_arch, parse
from imagebuilder.plan import make
from imagebuilder.plan.model import Draft
from imagebuilder.process import Command, Result, missing

OTHER = "riscv64" if host_arch() != "riscv64" else "arm64"


class Host:
    """A host whose arch-test succeeds, fails or is not there."""

    def __init__(self, status: int | None) -> None:
        self.status = status
        self.commands: list[tuple[str, ...]] = []

    def run(self, command: Command) -> Result:
        self.commands.append(command.argv)
        if self.status is None:
            raise missing(command.argv[0])
        if self.status:
            raise CommandError("arch-test failed")
        return Result(command, 0, f"{command.argv[1]}: ok\n")


def draft(*words: str) -> Draft:
    return make.draft(parse(("-t", "tar", *words), {}))


def test_the_hosts_own_architecture_takes_no_program() -> None:
    host = Host(None)
    foreign.check(draft("debian-minimal"), host.run)
    assert not host.commands


def test_an_architecture_that_the_host_runs_is_built() -> None:
    host = Host(0)
    foreign.check(draft("-a", OTHER, "debian-minimal"), host.run)
    assert host.commands == [("arch-test", OTHER)]


@pytest.mark.parametrize(("status", "said"), [(1, "cannot run programs for"), (None, "takes pro")])
def test_another_is_refused_with_what_to_install(status: int | None, said: str) -> None:
    with pytest.raises(ToolMissingError, match=said) as caught:
        foreign.check(draft("-a", OTHER, "ubuntu-minimal"), Host(status).run)
    assert OTHER in str(caught.value)
    assert "apt install arch-test qemu-user-static binfmt-support" in caught.value.hint
