"""Variables that an element reads and says nothing about.

What a script reads cannot be known without running it. What is looked for here are names in
capitals after a `$`, other than those that the script sets itself, that every hook gets, or that
some element exports from its `environment.d`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from imagebuilder.element.merge import ENVIRONMENT
from imagebuilder.element.model import Element
from imagebuilder.lint.model import Finding, Script, numbered
from imagebuilder.lint.scripts import SHELLS, in_phases, of_environment, scripts_in

READ = re.compile(r"(?<![\\$])\$\{?#?!?([A-Z][A-Z0-9_]{2,})\b(?!\{)")
SET = re.compile(
    r"(?:^|[\s;&|({])(?:export\s+|local\s+|declare\s+(?:-\w+\s+)*|readonly\s+)?([A-Z][A-Z0-9_]{2,})\+?="
)
NAMED = re.compile(
    r"\b(?:read|mapfile|readarray|for|local|declare|printf\s+-v|getopts\s+\S+)\s[^;|#]*"
)
EXPORTED = re.compile(r"\b([A-Z][A-Z0-9_]{2,})=|\bexport\b([^;#=]*)")
WORD = re.compile(r"[A-Z][A-Z0-9_]{2,}")
PROVIDED = frozenset(
    WORD.findall("""
    ARCH DIB_ARGS DIB_BLOCK_DEVICE_PARAMS_YAML DIB_BOOT_LABEL DIB_CHECKSUM DIB_DEBUG_TRACE
    DIB_DEFAULT_INSTALLTYPE DIB_ENV DIB_IMAGE_CACHE DIB_IMAGE_SIZE DIB_LOCKFILES DIB_MOUNTPOINTS
    DIB_OFFLINE DIB_PYTHON_EXEC DIB_QUIET DIB_ROOT_FSTYPE DIB_ROOT_LABEL DISTRO_NAME DIB_RELEASE
    DIB_INIT_SYSTEM DIB_PYTHON DIB_PYTHON_VERSION DIB_MANIFEST_IMAGE_DIR DIB_MANIFEST_SAVE_DIR
    DIB_BLOCK_DEVICE EFI_BOOT_DIR ELEMENTS_PATH FS_TYPE IMAGE_BLOCK_DEVICE IMAGE_BLOCK_DEVICES
    IMAGE_ELEMENT IMAGE_ELEMENT_YAML IMAGE_NAME SOURCE_DATE_EPOCH TARGET_ROOT TMP_BUILD_DIR
    TMP_HOOKS_PATH TMP_IMAGE_DIR TMP_IMAGE_PATH TMP_MOUNT_PATH TMPDIR TMP_DIR
    BOOTDIR KERNEL RAMDISK INITRD MODULE_ROOT LIB_UDEV_ROOT DIB_RUN_PARTS
    IMAGEBUILDER_EARLY_PACKAGES
    IMAGEBUILDER_FILESYSTEMS IMAGEBUILDER_PARTITION_TABLE IMAGEBUILDER_ROOT_UUID
    HOME PATH USER LOGNAME SHELL TERM LANG LC_ALL PWD OLDPWD HOSTNAME HOSTTYPE OSTYPE MACHTYPE
    RANDOM SECONDS LINENO UID EUID GROUPS PPID IFS OPTARG OPTIND REPLY FUNCNAME PIPESTATUS
    DIRSTACK SHLVL EPOCHSECONDS EPOCHREALTIME COLUMNS LINES SUDO_UID SUDO_GID SUDO_USER YUM
""")
)
PROVIDED_NAMES = re.compile(
    r"BASH\w*|(HTTPS?|FTP|NO|ALL)_PROXY|DIB_(INSTALLTYPE|REPOLOCATION|REPOREF|REPOTYPE)_\w+"
    r"|DIB_(KERNEL_VERSION|SIGNED_KERNEL_VERSION|BAREMETAL_\w+_PATTERN|MODULE_ROOT|LIB_UDEV_ROOT)"
)


def check(element: Element, found: Sequence[Script], given: frozenset[str]) -> Iterator[Finding]:
    """Hooks and `environment.d` read declared variables; `given` are those others export."""
    described = _described(element, found)
    own = _assigned(of_environment(element, found))
    seen: set[str] = set()
    for script in _readers(element, found):
        there = _assigned([script]) | own | PROVIDED | given
        for number, line in enumerate(script.lines, 1):
            for name in _read(line):
                if (
                    name in seen
                    or name in there
                    or name in described
                    or PROVIDED_NAMES.fullmatch(name)
                ):
                    continue
                seen.add(name)
                yield Finding(
                    where=numbered(script.path, number),
                    rule="variable",
                    what=f"reads {name}, which element.yaml does not declare and README not name",
                    hint=f"declare it under 'variables' in {element.path / 'element.yaml'}",
                )


def exported(element: Element) -> frozenset[str]:
    """The variables that an element's `environment.d` exports, as far as that can be seen."""
    return frozenset(_assigned(scripts_in(element.path / ENVIRONMENT)))


def _readers(element: Element, found: Sequence[Script]) -> Iterator[Script]:
    yield from of_environment(element, found)
    yield from (s for s in in_phases(element, found) if s.interpreter in SHELLS)


def _read(line: str) -> list[str]:
    code = line.lstrip()
    return [] if code.startswith("#") else READ.findall(code)


def _assigned(found: Iterable[Script]) -> set[str]:
    names: set[str] = set()
    for script in found:
        for line in script.lines:
            names.update(SET.findall(line))
            for part in NAMED.findall(line):
                names.update(
                    WORD.findall(part.replace("$", " $")) if "$" not in part else _unread(part)
                )
            for _, listed in EXPORTED.findall(line):
                names.update(WORD.findall(listed))
    return names


def _unread(part: str) -> list[str]:
    """The names in a piece of shell that do not follow a `$`."""
    return re.findall(r"(?<![\w${#!])([A-Z][A-Z0-9_]{2,})", part)


def _described(element: Element, found: Iterable[Script]) -> frozenset[str]:
    """The names that element.yaml declares or that a README has anywhere."""
    texts = [
        s.lines for s in found if s.path.parent == element.path and s.path.name.startswith("README")
    ]
    words = {word for lines in texts for line in lines for word in WORD.findall(line)}
    return frozenset(words | {variable.name for variable in element.variables})
