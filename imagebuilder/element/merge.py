"""The directories of all elements laid over each other, as hooks see them in TMP_HOOKS_PATH."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imagebuilder.element.model import ALL_PHASES, Element, Hook, HooksTree, Phase
from imagebuilder.errors import ElementError

NOT_MERGED = ("tests", "test-elements", "__pycache__")
ENVIRONMENT = "environment.d"
PHASE_OF = {phase.directory: phase.name for phase in ALL_PHASES}
HOOK_NAME = re.compile(r"[0-9A-Za-z_-]+")
ENVIRONMENT_NAME = re.compile(r"[0-9A-Za-z_.-]+")


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file of the merged tree, and where it is from."""

    name: str  # relative to the tree
    element: Element
    path: Path

    @property
    def directory(self) -> str:
        return str(PurePosixPath(self.name).parent)

    @property
    def source(self) -> Path:
        """What to copy: see `merge`."""
        led_to = self.directory in {".", ENVIRONMENT, *PHASE_OF}
        return self.path.resolve() if led_to and self.path.is_file() else self.path


def merge(elements: Sequence[Element]) -> HooksTree:
    """All files of all elements in their order; raise ElementError if two have the same hook and
    neither, or each, says that its own replaces the other.

    Symlinks are entries of their own, to be copied as symlinks, except that top-level files,
    hooks and the files of `environment.d` are given as the files that they lead to.
    """
    merged, replaced = _merged(elements)
    directories = _directories(elements)
    _check_directories(merged, directories)
    entries = [entry for _, entry in sorted(merged.items())]
    refused = {entry.name: _refusal(entry) for entry in entries}
    accepted = [entry for entry in entries if not refused[entry.name]]
    programs = sorted(filter(_in_phase, accepted), key=_turn)
    return HooksTree(
        files={entry.name: entry.source for entry in entries if _is_copied(entry.path)},
        directories=directories,
        hooks=tuple(_hook(entry) for entry in programs),
        environment=tuple(entry.path.name for entry in accepted if entry.directory == ENVIRONMENT),
        ignored=tuple(
            (entry.path, refused[entry.name]) for entry in entries if refused[entry.name]
        ),
        replaced=replaced,
    )


def mode_for_others(directory: Path) -> int:
    """What others than its owner may do in a directory, but for writing, which a umask decides."""
    return directory.stat().st_mode & 0o055


def present(directory: Path, phase: Phase, tree: HooksTree) -> tuple[Hook, ...]:
    """The hooks of a phase that are in the merged tree now, in the order they run.

    Hooks of an earlier phase may have added some, which no element is known to own.
    """
    owned = {hook.name: hook for hook in tree.of(phase.name)}
    place = directory / phase.directory
    paths = place.iterdir() if place.is_dir() else ()
    programs = [path for path in paths if path.is_file() and not _hook_refusal(path)]
    return tuple(
        owned.get(path.name) or _added(directory, phase, path, tree)
        for path in sorted(programs, key=lambda path: _number(path.name))
    )


def _added(directory: Path, phase: Phase, path: Path, tree: HooksTree) -> Hook:
    """A hook that an earlier one has added; a link to an element's file is that element's."""
    real, top = path.resolve(), directory.resolve()
    name = real.relative_to(top) if real.is_relative_to(top) else path
    source = tree.files.get(str(name)) if path.is_symlink() else None
    element = source.parents[len(name.parts) - 1].name if source else "an earlier hook"
    return Hook(phase=phase.name, name=path.name, element=element, source=source or path)


def environment_files(directory: Path) -> tuple[str, ...]:
    """The files of `environment.d` that are in the merged tree now, in the order of sourcing."""
    place = directory / ENVIRONMENT
    paths = place.iterdir() if place.is_dir() else ()
    return tuple(
        sorted(p.name for p in paths if p.is_file() and ENVIRONMENT_NAME.fullmatch(p.name))
    )


def _merged(
    elements: Sequence[Element],
) -> tuple[dict[str, _Entry], tuple[tuple[Path, Path], ...]]:
    """All entries by their names, and pairs of hooks where the first replaces the second."""
    merged: dict[str, _Entry] = {}
    replaced = []
    for element in elements:
        for name, path in _files_of(element):
            entry, other = _Entry(name, element, path), merged.get(name)
            if other is not None and name.count("/") == 1:
                entry, other = _replacing(entry, other)
                replaced.append((entry.path, other.path))
            merged[name] = entry
    return merged, tuple(replaced)


def _replacing(entry: _Entry, other: _Entry) -> tuple[_Entry, _Entry]:
    """Of two hooks of one name first the one whose element wants it in the place of the other."""
    wants = [each.name in each.element.replaces for each in (entry, other)]
    if wants[0] == wants[1]:
        raise _duplicate(entry.name, other.path, entry.path)
    return (entry, other) if wants[0] else (other, entry)


def _files_of(element: Element) -> Iterator[tuple[str, Path]]:
    """The element's files and their names in the merged tree."""
    for path in _listed(element.path):
        if path.is_dir():
            if _is_merged(path):
                yield from _files_in(path)
        elif path.is_file() and path.suffix != ".pyc":
            yield path.name, path


def _files_in(directory: Path) -> Iterator[tuple[str, Path]]:
    for path in _listed(directory):
        if not path.name.startswith("."):
            yield from _files_below(f"{directory.name}/{path.name}", path)


def _files_below(name: str, path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_symlink() or not path.is_dir():
        yield name, path
    elif path.name != "__pycache__":
        for below in _listed(path):
            yield from _files_below(f"{name}/{below.name}", below)


def _directories(elements: Sequence[Element]) -> dict[str, Path]:
    """Directories in the elements' directories, empty ones too; the last element's counts."""
    pairs = (
        pair
        for element in elements
        for top in _listed(element.path)
        if top.is_dir() and _is_merged(top)
        for path in _listed(top)
        if not path.name.startswith(".")
        for pair in _directories_below(f"{top.name}/{path.name}", path)
    )
    return dict(sorted(dict(pairs).items()))


def _directories_below(name: str, path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_dir() and not path.is_symlink() and path.name != "__pycache__":
        yield name, path
        for below in _listed(path):
            yield from _directories_below(f"{name}/{below.name}", below)


def _is_merged(directory: Path) -> bool:
    return directory.name not in NOT_MERGED and not directory.name.startswith(".")


def _listed(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir())
    except OSError as error:
        raise ElementError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _duplicate(name: str, first: Path, second: Path) -> ElementError:
    return ElementError(
        f"two elements have the hook {name!r}: {first} and {second}",
        where=str(second),
        hint="rename one of them, leave out one of the elements, override a whole element from a"
        " directory that is earlier on ELEMENTS_PATH, or have one hook replace the other:"
        f" 'replaces: [{name}]' in its element.yaml",
    )


def _check_directories(merged: Mapping[str, _Entry], directories: Mapping[str, Path]) -> None:
    """Raise ElementError if what is a file in one element is a directory in another."""
    needed = {
        str(parent): entry.path.parent
        for name, entry in sorted(merged.items(), reverse=True)
        for parent in PurePosixPath(name).parents
    }
    for name, directory in sorted((needed | dict(directories)).items()):
        file = merged.get(name)
        if file is not None:
            raise ElementError(
                f"{file.name!r} is a file in one element and a directory in another:"
                f" {file.path} and {directory}",
                where=str(file.path),
                hint="rename one of them",
            )


def _is_copied(path: Path) -> bool:
    return path.is_symlink() or path.is_file()


def _refusal(entry: _Entry) -> str:
    """Why the entry will not be used as what it looks like; nothing if it will be."""
    if not (_in_phase(entry) or entry.directory == ENVIRONMENT):
        return "" if _is_copied(entry.path) else "not a regular file"
    if not entry.path.is_file():
        return "not a regular file" if entry.path.exists() else "a symlink that leads nowhere"
    if _in_phase(entry):
        return _hook_refusal(entry.path)
    return "" if ENVIRONMENT_NAME.fullmatch(entry.path.name) else _bad_name("dots, ")


def _hook_refusal(path: Path) -> str:
    if "." in path.name:
        return "a dot in its name"
    if not HOOK_NAME.fullmatch(path.name):
        return _bad_name()
    return "" if path.stat().st_mode & 0o111 else "not executable"


def _bad_name(also: str = "") -> str:
    return f"something in its name besides letters, digits, {also}'-' and '_'"


def _in_phase(entry: _Entry) -> bool:
    return entry.directory in PHASE_OF


def _hook(entry: _Entry) -> Hook:
    return Hook(
        phase=PHASE_OF[entry.directory],
        name=entry.path.name,
        element=entry.element.name,
        source=entry.source,
    )


def _turn(entry: _Entry) -> tuple[int, int, str]:
    return list(PHASE_OF).index(entry.directory), *_number(entry.path.name)


def _number(name: str) -> tuple[int, str]:
    """The key of the order that `sort -n` gives in the C locale."""
    number = re.match(r"-?[0-9]+", name)
    return int(number[0]) if number else 0, name
