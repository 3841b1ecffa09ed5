"""Outputs that were made before from the same: they are left, or put back, instead of made."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from imagebuilder.build import check
from imagebuilder.build.account import Account
from imagebuilder.cache.outputs import File, Made, OutputStore, is_equal, is_same
from imagebuilder.events import Listener, Said
from imagebuilder.formats import place, sparse
from imagebuilder.formats.memory import Memory
from imagebuilder.formats.model import Artefact, Output
from imagebuilder.options import Request, cache_directory
from imagebuilder.plan import digest
from imagebuilder.plan.model import Plan
from imagebuilder.report.write import directory_of

OUTPUTS = "outputs"
MOST_BESIDE = 8 << 20  # bytes
MOST_EARLIER = 2  # outputs that are looked at for what was compressed before


def store_of(request: Request) -> OutputStore:
    """The store of outputs of a build."""
    return OutputStore(cache_directory(request) / OUTPUTS)


def identify(plan: Plan, tree: str, fingerprints: Mapping[str, str]) -> str:
    """The id of everything that comes of the tree with this id; empty if that is not known.

    It is not if a hook in cleanup.d may do anything, nor where hooks work on the disk itself or
    make the files of a CD.
    """
    request = plan.request
    usual = directory_of(request.output_name)
    saved = plan.environment.get("DIB_MANIFEST_SAVE_DIR") or usual
    if not tree or request.refresh or plan.draft.attached or Path(saved) != usual:
        return ""
    if check.has_medium(plan.draft):
        return ""
    steps = [step for step in digest.steps(plan, fingerprints) if step.name == "cleanup"]
    inputs = {name: value for step in steps for name, value in step.inputs.items()}
    known = request.incremental or all(step.known for step in steps)
    return digest.of_outputs(plan, tree, inputs) if known else ""


def find(plan: Plan, key: str, listen: Listener) -> tuple[Artefact, ...]:
    """The outputs under their final names, if they were made before and are as they were."""
    store, wanted = store_of(plan.request), check.outputs(plan.draft, plan.epoch)
    known = store.find(key) if key else None
    if known is None or len(known.files) != len(wanted):
        return ()
    links = [store.link(key, number) for number in range(len(wanted))]
    pairs = list(zip(known.files, wanted, links, strict=True))
    if all(_is_in_place(file, output) for file, output, _ in pairs):
        listen(Said("cache: outputs are up to date"))
    elif all(is_equal(file, link) for file, _, link in pairs):
        listen(Said("cache: outputs taken from it"))
        for file, output, link in pairs:
            if not _is_in_place(file, output):
                _put(output, link)
        made = [_artefact(output, file) for file, output, _ in pairs]
        store.keep(key, _made(made), known.beside)
    else:
        return ()
    _put_beside(plan, known.beside)
    return tuple(_artefact(output, file) for file, output, _ in pairs)


def memory(request: Request) -> Memory:
    """What outputs can be made from faster: earlier ones."""
    return Memory(() if request.no_cache else store_of(request).indexed(MOST_EARLIER))


def keep(plan: Plan, key: str, made: Account) -> None:
    """Remember outputs that were just made; they cannot be if there is much beside them.

    Without a key they are remembered for their parts alone, until there are others of that name.
    """
    if plan.request.no_cache:
        return
    key = key or digest.identify("", {"outputs of": str(Path(plan.request.output_name).resolve())})
    directory = directory_of(plan.request.output_name)
    beside = {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    if sum(map(len, beside.values())) <= MOST_BESIDE:
        files = _made(made.artefacts)
        store_of(plan.request).keep(key, files, beside, made.memory.made)


def _made(artefacts: Iterable[Artefact]) -> list[Made]:
    return [Made(each.path, each.content, each.modified) for each in artefacts]


def _is_in_place(file: File, output: Output) -> bool:
    names = [Path(f"{output.path}.{kind}") for kind in output.checksums]
    return is_same(file, output.path) and all(name.is_file() for name in names)


def _put(output: Output, link: Path) -> None:
    """Give an output its final name: a file that nobody else has, else a copy of it."""
    if link.stat().st_nlink > 1:
        place.place(output, _copying(link), lambda: link.stat().st_size)
        return
    temporary = output.path.with_name(f".{secrets.token_hex(8)}.new")
    try:
        temporary.hardlink_to(link)
        place.move(temporary, output)
    except OSError:
        place.place(output, _copying(link), lambda: link.stat().st_size)
    finally:
        temporary.unlink(missing_ok=True)


def _copying(source: Path) -> Callable[[Path], None]:
    def fill(target: Path) -> None:
        with source.open("rb") as original, target.open("wb") as file:
            sparse.copy(original.fileno(), file.fileno())

    return fill


def _put_beside(plan: Plan, beside: Mapping[str, bytes]) -> None:
    directory = directory_of(plan.request.output_name)
    for name, data in beside.items():
        path = directory / name
        if not (path.is_file() and path.read_bytes() == data):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def _artefact(output: Output, file: File) -> Artefact:
    sums = {
        kind: Path(f"{output.path}.{kind}")
        .read_text(errors="replace")
        .split(maxsplit=1)[0]
        .lstrip("\\")
        for kind in output.checksums
    }
    status = output.path.stat()
    return Artefact(
        path=output.path,
        format=output.format,
        size=status.st_size,
        content=file.content,
        modified=status.st_mtime_ns,
        digests=sums,
    )
