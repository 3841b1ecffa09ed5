"""The cache under fire: killed builders, full and read-only filesystems, real overlays."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imagebuilder.cache import prune as pruning
from imagebuilder.cache.model import Limits, Origin
from imagebuilder.cache.store import Store
from imagebuilder.sandbox import kernel
from imagebuilder.sizes import Size

pytestmark = pytest.mark.tools

ROOT = Path(__file__).parents[2]
KEY = "ab" * 32
PRELUDE = """
import hashlib, os, random, sys
from pathlib import Path
from imagebuilder.cache.model import Limits, Origin
from imagebuilder.cache.prune import prune
from imagebuilder.cache.store import Store
from imagebuilder.sizes import Size
store = Store(Path(sys.argv[1]))
"""
WORKER = """
def tell(said):
    if "cannot be used" in said.text:
        print("BAD", said.text, flush=True)

store = Store(store.root, tell)

def content(key):
    return (key * 2000).encode()

def good(layer):
    texts = [(layer.tree / f"d{n}" / "file").read_bytes() for n in range(20)]
    return texts == [content(layer.key)] * 20

keys = [hashlib.sha256(bytes([n])).hexdigest() for n in range(6)]
print("ready", flush=True)
store.sweep()
while True:
    key = random.choice(keys)
    with store.hold((key,)):
        layer = store.find(key)
        if layer is None:
            with store.claim(key):
                layer = store.find(key)
                if layer is None:
                    with store.draft() as draft:
                        for n in range(20):
                            (draft.tree / f"d{n}").mkdir()
                            (draft.tree / f"d{n}" / "file").write_bytes(content(key))
                        layer = store.commit(draft, key, Origin(step="kill"))
                    print("made", flush=True)
        if layer is None or not good(layer):
            print("BAD", key, flush=True)
        store.used(key)
    if random.random() < 0.1:
        prune(store, Limits(max_size=Size(random.choice((0, 10**6))), max_age=None))
    if random.random() < 0.1:
        store.sweep()
"""


def start(program: str, *words: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + program, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ready(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def private_mounts() -> None:
    """Give this (forked) process mounts of its own."""
    kernel.unshare(kernel.Namespace.MOUNT)
    kernel.mount("", "/", "", kernel.Mount.RECURSIVE | kernel.Mount.PRIVATE)


def can_mount() -> bool:
    probe = os.fork()
    if probe == 0:
        try:
            private_mounts()
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitpid(probe, 0)[1] == 0


needs_mounts = pytest.mark.skipif(not can_mount(), reason="may not mount")


def inside(program: str, *words: str | Path) -> str:
    """Run a program in a mount namespace of its own; its output."""
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable, "-c",
         PRELUDE + program, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_kill_makes_a_wrong_layer(tmp_path: Path) -> None:
    chance = random.Random(7)  # ruff: ignore[suspicious-non-cryptographic-random-usage] - no secret
    workers = [ready(start(WORKER, tmp_path / "layers")) for _ in range(3)]
    texts, kills = [], 0
    end = time.monotonic() + 10
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.05, 0.4))
        victim = workers.pop(0)
        victim.send_signal(signal.SIGKILL)
        kills += 1
        texts.append(victim.communicate()[0])
        workers.append(ready(start(WORKER, tmp_path / "layers")))
    for worker in workers:
        worker.kill()
        texts.append(worker.communicate()[0])
    assert kills > 10
    assert "".join(texts).count("made") > 10
    assert "BAD" not in "".join(texts)
    store = Store(tmp_path / "layers")
    kept = store.keys()
    assert [key for key in kept if store.find(key) is None] == []
    pruning.prune(store, Limits(max_size=Size(0), max_age=None))
    assert list((store.root / "drafts").iterdir()) == []
    assert [path.name for path in (store.root / "locks").iterdir()] == ["drafts"]


def test_who_waits_takes_over_when_the_first_is_killed(tmp_path: Path) -> None:
    program = """
with store.claim("ab" * 32, lambda: print("waiting", flush=True)):
    print("ready", flush=True)
    sys.stdin.read()
"""
    store = Store(tmp_path / "layers")
    first = ready(start(program, store.root))
    second = start(program, store.root)
    assert second.stdout
    assert second.stdout.readline() == "waiting\n"
    begun = time.monotonic()
    first.kill()
    ready(second)
    assert time.monotonic() - begun < 2
    second.kill()
    for process in (first, second):
        process.communicate()


@needs_mounts
def test_a_full_filesystem_fails_nothing_but_the_cache(tmp_path: Path) -> None:
    text = inside("""
from imagebuilder.errors import SpaceError
from imagebuilder.sandbox import kernel
kernel.mount("tmpfs", sys.argv[1], "tmpfs", options="size=2m")
store = Store(Path(sys.argv[1]) / "layers", print)
with store.draft() as draft:
    for n in range(2000):
        (draft.tree / f"file{n}").touch()
    try:
        (draft.tree / "big").write_bytes(bytes(4 << 20))
    except OSError:
        pass
    print(store.commit(draft, "ab" * 32, Origin(step="install")), (draft.tree / "file1").exists())
print(store.keys(), os.listdir(store.root / "drafts"))
(store.root / "big").touch()
try:
    (store.root / "big").write_bytes(bytes(4 << 20))
except OSError:
    pass
with store.draft() as draft:
    print(store.commit(draft, "ab" * 32, Origin(step="install")))
""", tmp_path)  # fmt: skip
    assert text.count("the layer of install is not cached: No space left on device") == 2
    assert "None True\n() []\n" in text
    assert text.endswith("None\n")


@needs_mounts
def test_a_store_without_a_free_inode_is_a_space_error(tmp_path: Path) -> None:
    text = inside("""
from imagebuilder.errors import SpaceError
from imagebuilder.sandbox import kernel
kernel.mount("tmpfs", sys.argv[1], "tmpfs", options="nr_inodes=8")
try:
    with store.draft():
        pass
except SpaceError as error:
    print(error)
""", tmp_path)  # fmt: skip
    assert "no room for cached layers\n  hint: try 'imagebuilder cache prune'" in text


@needs_mounts
def test_a_read_only_store_is_used_and_not_written_to(tmp_path: Path) -> None:
    store = Store(tmp_path / "layers")
    keys = [hashlib.sha256(bytes([n])).hexdigest() for n in range(2)]
    for key in keys:
        with store.draft() as draft:
            (draft.tree / "file").write_text(key)
            store.commit(draft, key, Origin(step="install"))
    (store.root / "entries" / keys[1] / "tree" / "file").chmod(0o600)
    text = inside("""
from imagebuilder.errors import ConfigError
from imagebuilder.cache import history
from imagebuilder.sandbox import kernel
from imagebuilder.sandbox.kernel import Mount
kernel.mount(sys.argv[1], sys.argv[1], flags=Mount.BIND)
kernel.mount("", sys.argv[1], flags=Mount.BIND | Mount.REMOUNT | Mount.READ_ONLY)
good, bad = sys.argv[2:]
with store.claim(bad), store.hold((good, bad)):
    print(store.writable, store.find(good) is not None, store.find(bad))
store.used(good)
store.settle(store.entries())
store.sweep()
history.remember(store, "web", {})
print(len(prune(store, Limits(max_size=Size(0), max_age=None))))
try:
    with store.draft():
        pass
except ConfigError as error:
    print(error)
""", store.root, *keys)  # fmt: skip
    assert text.startswith("False True None\n0\n")
    assert "no place for cached layers: " in text
    assert store.keys() == tuple(sorted(keys))


@needs_mounts
def test_layers_of_an_overlay_are_kept_stacked_and_removed(tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    merged.mkdir()
    text = inside("""
from imagebuilder.sandbox import kernel
merged = Path(sys.argv[2])

def overlay(draft, *layers):
    lower = ":".join(str(layer.tree) for layer in layers)
    options = f"lowerdir={lower},upperdir={draft.tree},workdir={draft.work}"
    kernel.mount("overlay", merged, "overlay", options=options)

with store.draft() as draft:
    (draft.tree / "etc").mkdir()
    (draft.tree / "etc" / "gone").write_text("x")
    (draft.tree / "dir").mkdir()
    (draft.tree / "dir" / "old").write_text("x")
    os.mknod(draft.tree / "null", 0o20666, os.makedev(1, 3))
    base = store.commit(draft, "aa" * 32, Origin(step="root"))
with store.draft() as draft:
    overlay(draft, base)
    (merged / "etc" / "gone").unlink()
    (merged / "dir" / "old").unlink()
    (merged / "dir").rmdir()
    (merged / "dir").mkdir(mode=0o700)
    (merged / "dir" / "new").write_text("y")
    os.chown(merged / "dir" / "new", 33, 33)
    kernel.unmount(merged)
    top = store.commit(draft, "bb" * 32, Origin(step="install", parent=base))
chain = store.chain("bb" * 32)
print([layer.step for layer in chain])
whiteout = (top.tree / "etc" / "gone").lstat()
print(oct(whiteout.st_mode), whiteout.st_rdev)
print(os.getxattr(top.tree / "dir", "trusted.overlay.opaque"))
with store.draft() as draft:
    overlay(draft, *reversed(chain))
    print(os.listdir(merged / "etc"), os.listdir(merged / "dir"))
    print((merged / "null").is_char_device())
    kernel.unmount(merged)
print([layer.step for layer in store.chain("bb" * 32)])
print(len(prune(store, Limits(max_size=Size(0), max_age=None))), os.listdir(store.root / "entries"))
""", tmp_path / "layers", merged)  # fmt: skip
    assert text.splitlines() == [
        "['root', 'install']",
        "0o20000 0",
        "b'y'",
        "[] ['new']",
        "True",
        "['root', 'install']",
        "2 []",
    ]


@needs_mounts
def test_what_is_mounted_in_a_draft_is_neither_kept_nor_emptied(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    text = inside("""
from imagebuilder.sandbox import kernel
from imagebuilder.sandbox.kernel import Mount
store = Store(store.root, lambda said: print(said.text))
with store.draft() as draft:
    for place in (draft.tree / "a" / "bound", draft.tree.parents[1] / "bound"):
        place.mkdir(parents=True)
        kernel.mount(sys.argv[2], place, flags=Mount.BIND)
    (draft.tree / "a" / "proc").mkdir()
    kernel.mount("proc", draft.tree / "a" / "proc", "proc")
    print(store.commit(draft, "ab" * 32, Origin(step="install")))
""", tmp_path / "layers", precious)  # fmt: skip
    assert (precious / "file").read_text() == "x"
    assert "the layer of install is not cached: something is mounted here" in text
    assert "cannot be removed: Device or resource busy" in text
    store = Store(tmp_path / "layers")
    store.sweep()
    assert list((store.root / "drafts").iterdir()) == []
    assert (precious / "file").read_text() == "x"


def test_immutable_files_are_removed(tmp_path: Path) -> None:
    store = Store(tmp_path / "layers")
    with store.draft() as draft:
        (draft.tree / "etc").mkdir()
        (draft.tree / "etc" / "resolv.conf").write_text("x")
        for flag, path in (("+i", "etc/resolv.conf"), ("+a", "etc")):
            if subprocess.run(["chattr", flag, draft.tree / path], check=False).returncode:
                pytest.skip("chattr does not work here")
    assert list((store.root / "drafts").iterdir()) == []


def test_six_thousand_inodes_are_checked_within_a_fifth_of_a_second(tmp_path: Path) -> None:
    store = Store(tmp_path / "layers")
    with store.draft() as draft:
        for directory in range(60):
            (draft.tree / f"d{directory}").mkdir()
            for file in range(99):
                (draft.tree / f"d{directory}" / f"f{file}").touch()
        store.commit(draft, KEY, Origin(step="install"))
    begun = time.process_time()
    found = store.find(KEY)
    assert time.process_time() - begun < 0.2
    assert found
    assert found.inodes == 6001
