"""`imagebuilder cache`: what is kept, whether it is whole, and what is to go."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from imagebuilder.cache import bound, verify
from imagebuilder.cache.downloads import DIRECTORY, Downloads
from imagebuilder.cache.model import MAX_AGE, MAX_SIZE, Layer, Limits, limits, parse_days
from imagebuilder.cache.outputs import OutputStore
from imagebuilder.cache.store import SHORT, Store, shortened
from imagebuilder.cache.verify import State, Verdict
from imagebuilder.cli import cache_downloads, cache_outputs, cache_sources
from imagebuilder.cli.table import age, table
from imagebuilder.cli.words import sentence
from imagebuilder.errors import ConfigError
from imagebuilder.events import Event, Said
from imagebuilder.options import Request, cache_directory
from imagebuilder.sizes import Size

LAYERS = "layers"  # in the directory of caches
DAMAGED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--image-cache", metavar="DIR", default=argparse.SUPPRESS,
                       help="directory of caches [DIB_IMAGE_CACHE]")  # fmt: skip
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, (_, summary) in ACTIONS.items():
        action = actions.add_parser(
            name, parents=[place], help=summary, description=sentence(summary)
        )
        _add_own(name, action)


def _add_own(name: str, action: argparse.ArgumentParser) -> None:
    # fmt: off
    if name == "ls":
        action.add_argument("--downloads", action="store_true", help="list downloads instead")
        action.add_argument(
            "--sources", action="store_true", help="list clones, archives and pip's cache instead"
        )
        action.add_argument("--json", action="store_true", help="print JSON")
    elif name == "verify":
        action.add_argument("ids", nargs="*", metavar="ID",
                            help="check these, by the first digits of their id (default: all)")
        action.add_argument("--digest", action="store_true",
                            help="read contents, and record digests where there are none")
    elif name == "prune":
        action.add_argument("--max-size", metavar="SIZE",
                            help=f"keep no more than this [{MAX_SIZE}]")
        action.add_argument("--max-age", metavar="DAYS",
                            help=f"keep nothing that was not used for so long [{MAX_AGE}]")
        action.add_argument("--all", action="store_true", help="keep nothing")
    # fmt: on


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for; the exit status is 1 if something is damaged."""
    given = getattr(arguments, "image_cache", "") or arguments.environment.get(
        "DIB_IMAGE_CACHE", ""
    )
    request = Request(image_cache=given, environment=arguments.environment)
    store = Store(cache_directory(request) / LAYERS, _tell)
    act, _ = ACTIONS[arguments.action]
    return act(store, arguments)


def _downloads(store: Store) -> Downloads:
    return Downloads(store.root.with_name(DIRECTORY), _tell)


def _outputs(store: Store) -> OutputStore:
    return OutputStore(store.root.with_name(cache_outputs.DIRECTORY))


def _ls(store: Store, arguments: argparse.Namespace) -> int:
    if arguments.downloads:
        return cache_downloads.ls(_downloads(store), arguments)
    if arguments.sources:
        return cache_sources.ls(store.root.parent, arguments)
    layers = sorted(store.entries(), key=lambda layer: (layer.used, layer.key), reverse=True)
    if arguments.json:
        print(json.dumps([_document(layer) for layer in layers], indent=2))
    elif layers:
        now = datetime.now(UTC)
        rows = [
            (layer.key[:SHORT], layer.step, str(layer.size), age(layer.created, now),
             age(layer.used, now))
            for layer in layers
        ]  # fmt: skip
        print(table(("ID", "STEP", "SIZE", "AGE", "LAST USED"), rows))
    else:
        print(f"no layers in {store.root}")
    if others := len(store.keys()) - len(layers):
        print(f"not listed: {others} that are damaged or not ours", file=sys.stderr)
    return 0


def _du(store: Store, arguments: argparse.Namespace) -> int:
    bound = limits(arguments.environment)
    layers = store.entries()
    print(f"{_sum(layers)} in {store.root}")
    cache_outputs.du(_outputs(store))
    cache_downloads.du(_downloads(store))
    cache_sources.du(store.root.parent)
    if bound.max_size is not None and bound.max_age is not None:
        days = bound.max_age / timedelta(days=1)
        print(f"limits: {bound.max_size}, {days:g} days after the last use")
    return 0


def _verify(store: Store, arguments: argparse.Namespace) -> int:
    keys = _chosen(arguments.ids, store.keys())
    verdicts = []
    for key in keys:
        try:
            verdict = verify.verify(store, key, digest=arguments.digest)
        except OSError as error:
            raise ConfigError(
                f"digests cannot be recorded: {error.strerror}", where=str(store.root)
            ) from error
        print(_remark(verdict), flush=True)
        verdicts.append(verdict)
    damaged = [verdict for verdict in verdicts if verdict.state is State.DAMAGED]
    print(f"{_count(verdicts)} checked, {len(damaged)} damaged")
    if arguments.ids:
        return DAMAGED if damaged else 0
    cache_outputs.verify(_outputs(store))  # a user may have changed them, so that is no fault
    lost = cache_downloads.verify(_downloads(store))
    return DAMAGED if damaged or lost else 0


def _prune(store: Store, arguments: argparse.Namespace) -> int:
    if store.root.exists() and not store.writable:
        raise ConfigError("cannot be written to", where=str(store.root))
    before = store.keys()
    done = bound.prune(store, _downloads(store), _limits(arguments))
    cache_outputs.prune(_outputs(store), _limits(arguments))
    cache_sources.prune(store.root.parent, _limits(arguments))
    removed = done.layers
    others = len(set(before) - set(store.keys())) - len(removed)
    for layer in removed:
        print(f"removed {layer.key[:SHORT]}  {layer.step}  {layer.size}")
    if others > 0:
        print(f"removed {others} that could not be used")
    left = store.entries()
    used = " (in use)" if arguments.all and left else ""
    print(f"{_sum(removed)} removed, {_sum(left)} left{used}")
    if done.downloads:
        print(f"{cache_downloads.total(done.downloads)} removed")
    return 0


def _limits(arguments: argparse.Namespace) -> Limits:
    if arguments.all:
        return Limits(max_size=Size(0), max_age=None)
    bound = limits(arguments.environment)
    size, days = arguments.max_size, arguments.max_age
    return Limits(
        max_size=Size.parse(size, where="--max-size") if size else bound.max_size,
        max_age=parse_days(days, where="--max-age") if days else bound.max_age,
    )


def _chosen(prefixes: Sequence[str], keys: Sequence[str]) -> tuple[str, ...]:
    chosen: list[str] = []
    for prefix in prefixes:
        found = [key for key in keys if key.startswith(prefix.lower())]
        if len(found) != 1:
            raise ConfigError(
                f"{len(found)} layers have ids that begin with {prefix!r}",
                hint="'imagebuilder cache ls' lists them",
            )
        chosen += found
    return tuple(dict.fromkeys(chosen)) if prefixes else tuple(keys)


def _remark(verdict: Verdict) -> str:
    end = ""
    if verdict.state is State.DAMAGED:
        end = ", removed" if verdict.removed else ", in use and left alone"
    faults = f": {shortened(verdict.faults)}" if verdict.faults else ""
    step = f"{verdict.step}  " if verdict.step else ""
    return f"{verdict.key[:SHORT]}  {step}{verdict.state.value}{end}{faults}"


def _sum(layers: Sequence[Layer]) -> str:
    return f"{_count(layers)}, {Size(sum(layer.size for layer in layers))}"


def _count(things: Sequence[object]) -> str:
    return f"{len(things)} layer{'' if len(things) == 1 else 's'}"


def _document(layer: Layer) -> dict[str, Any]:
    return {
        "id": layer.key,
        "step": layer.step,
        "size": int(layer.size),
        "inodes": layer.inodes,
        "created": layer.created.isoformat(timespec="seconds"),
        "used": layer.used.isoformat(timespec="seconds"),
        "parent": layer.parent,
        "tree": str(layer.tree),
        "inputs": dict(layer.inputs),
    }


def _tell(event: Event) -> None:
    if isinstance(event, Said):
        print(f"{'warning: ' if event.warning else ''}{event.text}", file=sys.stderr, flush=True)


Action = Callable[[Store, argparse.Namespace], int]
ACTIONS: dict[str, tuple[Action, str]] = {
    "ls": (_ls, "list the layers, or the downloads, that are kept"),
    "du": (_du, "say how much room they take"),
    "verify": (_verify, "check that they are what they were, and remove those that are not"),
    "prune": (_prune, "remove what is too much or was not used for long"),
}
