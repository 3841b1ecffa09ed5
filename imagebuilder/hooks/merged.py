"""Writes the merged hooks tree, and beside it what the core has worked out for the hooks."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from imagebuilder.element import pkgmap, svcmap
from imagebuilder.element.merge import mode_for_others
from imagebuilder.element.model import Element, HooksTree, PackageChange
from imagebuilder.errors import FULL, ConfigError, SpaceError
from imagebuilder.plan.model import Plan

DATA = "imagebuilder"
LIBRARY = f"{DATA}/lib"
OWN_LIBRARY = Path(__file__).parents[1] / "lib"
RUN_PARTS = "dib-run-parts"
# Elements whose own files come first have a say; the name is diskimage-builder's.
INSTALL_TYPE = "environment.d/11-dib-install-type.bash"
DEFAULT_INSTALL_TYPE = "export DIB_DEFAULT_INSTALLTYPE=${DIB_DEFAULT_INSTALLTYPE:-source}\n"
OURSELVES = """\
#!/bin/bash
PYTHONPATH={home}${{PYTHONPATH:+:$PYTHONPATH}} exec {python} -m imagebuilder "$@"
"""


def copy(tree: HooksTree, to: Path) -> None:
    """Write the merged hooks tree; symlinks among its data stay symlinks."""
    for name, source in tree.files.items():
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copy2(source, target, follow_symlinks=False)
        except OSError as error:
            if error.errno in FULL:
                raise _no_room(target) from error
            raise ConfigError(f"cannot be read: {error.strerror}", where=str(source)) from error
    for name, source in reversed([*tree.directories.items()]):
        target = to / name
        target.mkdir(parents=True, exist_ok=True)
        target.chmod(0o700 | mode_for_others(source))


def _no_room(target: Path) -> SpaceError:
    hint = "TMPDIR names another directory for scratch files"
    return SpaceError("no space left on device", where=str(target), hint=hint)


def write_library(to: Path) -> None:
    """Write what hooks find as `$_LIB`, the program that runs hooks, and the way to install.

    `$_LIB/imagebuilder` is this program; it works on the host only.
    """
    try:
        shutil.copytree(OWN_LIBRARY, to / LIBRARY)
    except shutil.Error as error:  # has the reasons of all files, as text alone
        raise _no_room(to / LIBRARY) from error
    ours = to / LIBRARY / "imagebuilder"
    home, python = (shlex.quote(str(p)) for p in (Path(__file__).parents[2], sys.executable))
    ours.write_text(OURSELVES.format(home=home, python=python))
    ours.chmod(0o755)
    shutil.copy2(OWN_LIBRARY / RUN_PARTS, to / RUN_PARTS)
    (to / INSTALL_TYPE).parent.mkdir(exist_ok=True)
    (to / INSTALL_TYPE).write_text(DEFAULT_INSTALL_TYPE)


def write(to: Path, plan: Plan) -> None:
    """Write everything that the core has worked out for the hooks."""
    elements = plan.draft.elements
    write_packages(to, plan.packages)
    write_package_maps(to, elements)
    write_service_map(to, elements, plan.environment.get("DISTRO_NAME", ""))


def write_packages(to: Path, changes: Mapping[str, PackageChange]) -> None:
    """Write `packages/<phase>.d/install` and `uninstall`, and diskimage-builder's JSON form."""
    document: dict[str, dict[str, list[list[str]]]] = {}
    for phase, change in changes.items():
        for verb, requests in (("install", change.install), ("uninstall", change.uninstall)):
            names = dict.fromkeys(name for request in requests for name in request.names)
            _write_lines(to / DATA / "packages" / f"{phase}.d" / verb, tuple(names))
            document.setdefault(f"{phase}.d", {})[verb] = [[r.name, r.element] for r in requests]
    text = json.dumps(document, indent=1, sort_keys=True)
    _write_lines(to / DATA / "package-installs.json", (text,))


def write_package_maps(to: Path, elements: tuple[Element, ...]) -> None:
    """Write every element's pkg-map in the flat form that needs no Python to read."""
    for element in elements:
        source = element.path / "pkg-map"
        if source.is_file():
            flat = pkgmap.flatten(pkgmap.load(source))
            _write_lines(to / DATA / "pkg-map" / element.name, tuple(flat.splitlines()))


def write_service_map(to: Path, elements: tuple[Element, ...], distribution: str) -> None:
    """Write all elements' svc-map as lines `service: name`, which are YAML as well."""
    services = svcmap.merge(elements, distribution)
    _write_lines(to / DATA / "svc-map", tuple(f"{key}: {name}" for key, name in services.items()))


def _write_lines(path: Path, lines: tuple[str, ...]) -> None:
    if lines:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines))
