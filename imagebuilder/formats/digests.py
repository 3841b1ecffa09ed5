"""Digests of what is being written, worked out beside the writing: a thread for each algorithm."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Queue

AHEAD = 16  # pieces that may wait for a thread


@dataclass(frozen=True, slots=True)
class Digests:
    """What takes the pieces, and, after the last one, gives the digests in hexadecimal."""

    add: Callable[[bytes], None]
    end: Callable[[], Mapping[str, str]]


@contextmanager
def running(algorithms: Iterable[str]) -> Generator[Digests, None, None]:
    """Digests that go on as pieces come; no thread is left behind."""
    queues: dict[str, Queue[bytes]] = {name: Queue(AHEAD) for name in algorithms}

    def add(piece: bytes) -> None:
        for queue in queues.values():
            queue.put(piece)

    with ThreadPoolExecutor(max(1, len(queues))) as pool:
        found = {name: pool.submit(_digest, name, queue) for name, queue in queues.items()}

        def end() -> Mapping[str, str]:
            add(b"")
            return {name: future.result() for name, future in found.items()}

        try:
            yield Digests(add, end)
        finally:
            add(b"")  # those that have ended do not read it


def _digest(algorithm: str, queue: Queue[bytes]) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    while piece := queue.get():
        digest.update(piece)
    return digest.hexdigest()
