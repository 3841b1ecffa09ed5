"""A row of the table of tools, and the ways of writing one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DEBIAN, UBUNTU, REDHAT, SUSE = "debian", "ubuntu", "redhat", "suse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program, or (with `files`) a file of which any one will do, or a Python library.

    `packages` are by family of distributions; `version` are the arguments that make the program
    tell its version, none if it cannot; `minimum` is the oldest version that will do. A library
    is known by the `module` that it brings, and to pip as `name`.
    """

    name: str
    features: tuple[str, ...]
    purpose: str
    packages: Mapping[str, str]
    version: tuple[str, ...] = ("--version",)
    minimum: str = ""
    files: tuple[str, ...] = ()
    module: str = ""


def named(debian: str, redhat: str = "", suse: str = "") -> Mapping[str, str]:
    """What a package is called by each family; by default as in Debian, or as in Red Hat's."""
    return {DEBIAN: debian, REDHAT: redhat or debian, SUSE: suse or redhat or debian}


def for_tests(
    name: str,
    what: str,
    packages: Mapping[str, str],
    *,
    version: tuple[str, ...] = ("--version",),
    files: tuple[str, ...] = (),
) -> Tool:
    """A row for what only tests need."""
    purpose = f"tests of {what}"
    return Tool(
        name=name,
        features=("test",),
        purpose=purpose,
        packages=packages,
        version=version,
        files=files,
    )


def for_networks(name: str, packages: Mapping[str, str], files: tuple[str, ...]) -> Tool:
    """A row for a boot loader that machines get by network."""
    purpose = "boot loader for networks"
    return Tool(
        name=name,
        features=("netboot",),
        purpose=purpose,
        packages=packages,
        files=files,
        version=(),
    )


def shared(name: str) -> tuple[str, ...]:
    """Where a shared library may be."""
    triplets = ("x86_64-linux-gnu", "aarch64-linux-gnu")
    directories = (*(f"lib/{triplet}" for triplet in triplets), "lib64", "lib")
    return tuple(f"/usr/{directory}/{name}" for directory in directories)


def library(name: str, module: str, feature: str, debian: str) -> Tool:
    """A row for a Python library."""
    return Tool(
        name=name,
        features=(feature,),
        purpose="Python library",
        packages={DEBIAN: debian, REDHAT: debian, SUSE: debian},
        module=module,
    )
