"""The rules of diskimage-builder's `dib-lint`, and the comments that switch them off.

`# dib-lint: disable=sete setu` in a file, or `ignore =` under `[dib-lint]` in tox.ini, leaves out
rules by their names.
"""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from imagebuilder.errors import CommandError
from imagebuilder.process import Command, Runner, find

NOT_LOOKED_AT = re.compile(r".*~|#.*#|.*\.(orig|rst|yaml|py|pyc)")
DISABLE = re.compile(r"^# dib-lint: disable=(.*)$", re.MULTILINE)
ODD_INDENT = re.compile(r"(?: {4})* {1,3}[^ ]")
OUTSIDE = re.compile(r"(root|extra-data|block-device|finalise|cleanup)\.d")
SAFE_SUDO = re.compile(
    r"dib-lint: safe_sudo|^#|install-packages"
    r"|TARGET_ROOT|IMAGE_BLOCK_DEVICE|TMP_MOUNT_PATH|TMP_IMAGE_PATH"
)
SAFE_WHICH = re.compile(r"dib-lint: which|^#")
CACHES = ("__pycache__",)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that is looked at, and the rules that do not count in it."""

    path: Path
    text: str
    excluded: frozenset[str]

    @property
    def first(self) -> str:
        return self.text.partition("\n")[0]

    @property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    @property
    def commands(self) -> list[str]:
        """Lines without their indentation; those that end with a backslash go on in the next."""
        return [line.strip() for line in self.text.replace("\\\n", "").split("\n")]

    @property
    def is_script(self) -> bool:
        return self.first.startswith("#!")

    @property
    def is_python(self) -> bool:
        return self.is_script and "python" in self.first

    @property
    def is_bash(self) -> bool:
        return self.first.startswith("#!/bin/bash")


Rule = Callable[[File], Iterator[str]]  # texts in which PATH stands for the file's
PATH = "{path}"


def lint(elements: Path, library: Path, run: Runner) -> Iterator[str]:
    """What is wrong with the elements, and with the library if there is one; a text for each."""
    everywhere = globally_excluded(Path("tox.ini"))
    ignored = _ignored_by_git((*_files(elements), *_files(library)), run)
    for path in _files(elements):
        if path not in ignored and not NOT_LOOKED_AT.fullmatch(path.name):
            file = _load(path, everywhere)
            for rule in RULES:
                yield from rule(file)
            yield from _flake8(file, run)
    yield from _of_elements(elements, everywhere)
    executables = [p for p in _files(elements) if p.suffix == ".rst" or p.stat().st_mode & 0o111]
    for path in (*executables, *_files(library)):
        if path not in ignored:
            yield from _whitespace(_load(path, everywhere))
    yield from _documents(elements)


def globally_excluded(settings: Path) -> frozenset[str]:
    """The rules that a tox.ini leaves out."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(settings)
    except configparser.Error:  # dib-lint is not what should complain about it
        return frozenset()
    return frozenset(parser.get("dib-lint", "ignore", fallback="").split())


def _executable(file: File) -> Iterator[str]:
    if file.is_script and not file.path.stat().st_mode & 0o111:
        yield f"{PATH} is not executable"


def _indent(file: File) -> Iterator[str]:
    if file.is_script and not file.is_python:
        odd = [f"{n}:{line}" for n, line in enumerate(file.lines, 1) if ODD_INDENT.match(line)]
        if odd:
            yield "\n".join((f"{PATH} should use 4 spaces indent", *odd))


def _sorted(file: File) -> Iterator[str]:
    names = [line for line in file.lines if line and not line.startswith("#")]
    if file.path.name == "element-deps" and names != sorted(names):
        yield f"{PATH} is not sorted alphabetically\n -- {' '.join(sorted(names))}"


def _bash_alone(file: File) -> Iterator[str]:
    if re.match(r"#!.*bash", file.first) and file.first != "#!/bin/bash":
        yield f"{PATH} : only use #!/bin/bash for scripts"


def _missing(pattern: str, complaint: str) -> Rule:
    """A rule that wants a line in all scripts of bash."""

    def rule(file: File) -> Iterator[str]:
        if file.is_bash and not re.search(pattern, file.text, re.MULTILINE):
            yield f"{PATH} {complaint}"

    return rule


def _environment(file: File) -> Iterator[str]:
    if "environment.d" in str(file.path):
        if "set -x" in file.text:
            yield f"Environment file {PATH} should not set tracing"
        if file.path.stat().st_mode & 0o111:
            yield f"Environment file {PATH} should not be marked as executable"


def _export(file: File) -> Iterator[str]:
    if re.search(r"export .*\$\(", file.text):
        yield f"Split export and assignments in {PATH}"


def _sudo(file: File) -> Iterator[str]:
    if OUTSIDE.search(str(file.path.parent)):
        for line in file.commands:
            if "sudo " in line and not SAFE_SUDO.search(line):
                yield f"{PATH} : potentially unsafe sudo\n -- {line}"


def _which(file: File) -> Iterator[str]:
    for line in file.commands:
        if "which " in line and not SAFE_WHICH.search(line):
            yield f"{PATH} : potential use of which\n -- {line}"


def _source_newline(file: File) -> Iterator[str]:
    if file.path.name.startswith("source-repository-") and not file.text.endswith("\n"):
        yield f"{PATH} does not end with a newline"


def _named(name: str, rule: Rule) -> Rule:
    """The rule, but not where it is left out."""

    def named(file: File) -> Iterator[str]:
        if not name or name not in file.excluded:
            yield from (text.replace(PATH, str(file.path)) for text in rule(file))

    return named


RULES = tuple(
    _named(name, rule)
    for name, rule in (
        ("executable", _executable),
        ("indent", _indent),
        ("", _sorted),
        ("", _bash_alone),
        ("sete", _missing(r"^set -[^ \n]*e", "is not set -e")),
        ("setu", _missing(r"^set -[^ \n]*u", "is not set -u")),
        ("setpipefail", _missing(r"^set -.*o pipefail", "is not set -o pipefail")),
        ("dibdebugtrace", _missing(r"DIB_DEBUG_TRACE", "does not follow DIB_DEBUG_TRACE")),
        ("", _environment),
        ("", _export),
        ("safe_sudo", _sudo),
        ("which", _which),
        ("", _source_newline),
    )
)
WHITESPACE = (
    ("tabindent", re.compile(r"^ *\t", re.MULTILINE), f"{PATH} contains tab characters"),
    ("newline", re.compile(r"[^\n]\Z"), f"No newline at end of file: {PATH}"),
)


def _flake8(file: File, run: Runner) -> Iterator[str]:
    if not file.is_python:
        return
    program = find("flake8")
    if program is None:
        yield f"{file.path} cannot be checked: flake8 is not installed"
        return
    try:
        run(Command((program, str(file.path))))
    except CommandError as error:
        yield f"{file.path} failed flake8\n{error.what}"


def _of_elements(elements: Path, everywhere: frozenset[str]) -> Iterator[str]:
    for element in sorted(path for path in elements.iterdir() if path.is_dir()):
        if element.name not in CACHES and not (element / "README.rst").is_file():
            yield f"{element} lacks a README.rst"
    if "mddocs" not in everywhere:
        yield from (f".md docs found: {path}" for path in _files(elements) if path.suffix == ".md")


def _whitespace(file: File) -> Iterator[str]:
    for name, pattern, complaint in WHITESPACE:
        if name not in file.excluded and pattern.search(file.text):
            yield complaint.replace(PATH, str(file.path))


def _documents(elements: Path) -> Iterator[str]:
    for path in _files(elements):
        if path.suffix == ".yaml":
            try:
                yaml.safe_load(path.read_bytes())
            except (yaml.YAMLError, ValueError) as error:
                yield f"{path} is not a valid YAML file\n{error}"
        elif path.name == "pkg-map" and not path.stat().st_mode & 0o111:
            try:
                json.loads(path.read_bytes())
            except ValueError as error:
                yield f"{path} is not a valid JSON file\n{error}"


def _load(path: Path, everywhere: frozenset[str]) -> File:
    text = path.read_text(encoding="utf-8", errors="replace")
    own = " ".join(DISABLE.findall(text)).split()
    return File(path=path, text=text, excluded=everywhere | frozenset(own))


def _ignored_by_git(paths: Iterable[Path], run: Runner) -> frozenset[Path]:
    """Those that a .gitignore names; none where there is no git, or no repository."""
    if find("git") is None:
        return frozenset()
    listed = "\n".join(map(str, paths)).encode()
    program = "git check-ignore --stdin 2>/dev/null || true"
    answer = run(Command(("bash", "-c", program), stdin=listed, cwd=Path.cwd())).output
    return frozenset(map(Path, answer.splitlines()))


def _files(top: Path) -> list[Path]:
    return sorted(p for p in top.rglob("*") if p.is_file() and not p.is_symlink())
