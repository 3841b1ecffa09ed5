"""Layers go in whole, come out only as they went in, and never fail a build."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagebuilder.cache import entry
from imagebuilder.cache.model import Draft, Layer, Origin
from imagebuilder.cache.store import Store, shortened
from imagebuilder.errors import ConfigError

Keep = Callable[..., Layer]
KEY = "ab" * 32


def rewrite(layer: Layer, **fields: object) -> None:
    """Change the meta of an entry as if it had been written like that."""
    path = layer.tree.parent / "meta.json"
    known = entry.decode(path.read_bytes())
    path.write_bytes(entry.encode({**known, **fields}))


def test_a_kept_layer_is_found_as_it_was(store: Store, keep: Keep) -> None:
    kept = keep("install")
    found = store.find(kept.key)
    assert found
    assert (found.tree / "etc/hostname").read_text() == "web\n"
    assert (found.step, found.inodes, found.inputs) == ("install", 8, {"variable X": "install"})
    assert found.size == kept.size > 0
    assert found.tree == store.root / "entries" / kept.key / "tree"
    assert datetime.now(UTC) - found.created < timedelta(minutes=1)


def test_nothing_is_found_in_a_store_that_is_not_there(store: Store) -> None:
    assert store.find(KEY) is None
    assert (store.entries(), store.keys(), store.chain(KEY)) == ((), (), ())
    assert not store.root.exists()


def test_only_its_owner_may_look_into_a_store(store: Store, keep: Keep) -> None:
    keep("a")
    assert store.root.stat().st_mode & 0o777 == 0o700
    assert (store.root / "entries").stat().st_mode & 0o777 == 0o700


def test_a_draft_that_is_not_committed_leaves_nothing(store: Store) -> None:
    with store.draft() as draft:
        (draft.tree / "file").write_text("x")
        (draft.work / "work").mkdir(mode=0)
        assert draft.tree.stat().st_mode & 0o777 == 0o755
    assert list((store.root / "drafts").iterdir()) == []


def test_a_committed_draft_leaves_nothing_but_the_layer(store: Store, keep: Keep) -> None:
    kept = keep("a")
    assert list((store.root / "drafts").iterdir()) == []
    assert {path.name for path in kept.tree.parent.iterdir()} == {
        "tree", "manifest", "meta.json", "used",
    }  # fmt: skip


def flip(tree: Path) -> None:
    with (tree / "etc/hostname").open("r+b") as file:
        file.write(b"W")


def flip_and_set_mtime(tree: Path) -> None:
    before = (tree / "etc/hostname").stat()
    flip(tree)
    os.utime(tree / "etc/hostname", ns=(before.st_atime_ns, before.st_mtime_ns))


def set_attribute(tree: Path) -> None:
    os.setxattr(tree / "usr/bin/tool", "user.new", b"1")


def break_meta(tree: Path) -> None:
    path = tree.parent / "meta.json"
    path.write_bytes(path.read_bytes().replace(b'"step": "a"', b'"step": "b"'))


def clear_meta(tree: Path) -> None:
    (tree.parent / "meta.json").write_bytes(b"")


def break_manifest(tree: Path) -> None:
    path = tree.parent / "manifest"
    text = path.read_bytes()
    path.write_bytes(text[:9] + bytes([text[9] ^ 1]) + text[10:])


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (flip, "etc/hostname has another mtime"),
        (flip_and_set_mtime, "etc/hostname has another ctime"),
        (lambda tree: os.truncate(tree / "usr/bin/tool", 3), "usr/bin/tool has another size"),
        (lambda tree: (tree / "var/empty").unlink(), "var has another mtime, var/empty is missing"),
        (lambda tree: (tree / "usr/bin/tool").chmod(0o755), "usr/bin/tool has another mode"),
        (lambda tree: tree.chmod(0o700), "/ has another mode"),
        (lambda tree: (tree / "new").mkdir(), "new was added"),
        (set_attribute, "usr/bin/tool has another ctime"),
        (break_meta, "meta.json has changed"),
        (clear_meta, "meta.json is not whole"),
        (lambda tree: (tree.parent / "meta.json").unlink(), "meta.json cannot be read"),
        (break_manifest, "manifest has changed"),
        (lambda tree: (tree.parent / "manifest").unlink(), "manifest: No such file"),
        (lambda tree: tree.rename(tree.parent / "moved"), "tree: No such file"),
    ],
)
def test_a_damaged_layer_is_a_miss_and_removed(
    store: Store, keep: Keep, told: list[str], damage: Callable[[Path], object], fault: str
) -> None:
    kept = keep("a")
    damage(kept.tree)
    assert store.find(kept.key) is None
    assert not kept.tree.parent.exists()
    assert len(told) == 1
    assert told[0].startswith(f"cached layer {kept.key[:12]} cannot be used: ")
    assert fault in told[0]
    assert list((store.root / "drafts").iterdir()) == []


def test_a_layer_in_the_place_of_another_is_a_miss(store: Store, keep: Keep) -> None:
    kept = keep("a")
    kept.tree.parent.rename(store.root / "entries" / KEY)
    assert store.find(KEY) is None
    assert store.keys() == ()


def test_a_file_in_the_place_of_an_entry_is_a_miss_and_replaced(store: Store, keep: Keep) -> None:
    kept = keep("a")
    store.discard(kept.key)
    (store.root / "entries" / kept.key).write_text("")
    with store.hold((kept.key,)):
        assert store.find(kept.key) is None
        keep("a")
        assert store.find(kept.key)


def test_an_entry_of_a_newer_format_is_a_miss_and_left_alone(store: Store, keep: Keep) -> None:
    kept = keep("a")
    rewrite(kept, format=2)
    assert store.find(kept.key) is None
    with store.draft() as draft:
        assert store.commit(draft, kept.key, Origin(step="a")) is None
    assert (kept.tree / "etc/hostname").exists()


def test_an_entry_of_another_user_namespace_is_a_miss_and_left_alone(
    store: Store, keep: Keep
) -> None:
    kept = keep("a")
    rewrite(kept, users="0 100000 65536; 0 100000 65536")
    assert store.find(kept.key) is None
    assert (kept.tree / "etc/hostname").exists()


def test_after_a_restart_only_settled_layers_are_hits(
    store: Store, keep: Keep, told: list[str]
) -> None:
    early, late = keep("early"), keep("late")
    rewrite(late, boot="another")
    store.settle(store.entries())
    rewrite(early, boot="another")
    assert store.find(early.key)
    assert store.find(late.key) is None
    assert "before the machine stopped" in told[0]


def test_a_layer_whose_parent_was_made_anew_is_a_miss(store: Store, keep: Keep) -> None:
    base = keep("base")
    top = keep("top", base)
    assert store.chain(top.key) == (base, top)
    store.discard(base.key)
    keep("base")
    assert store.find(top.key) is None
    assert store.chain(top.key) == ()


def test_a_layer_without_its_parent_is_a_miss(store: Store, keep: Keep) -> None:
    base = keep("base")
    top = keep("top", base)
    (base.tree / "etc/hostname").unlink()
    assert store.chain(top.key) == ()
    assert store.find(top.key) is None
    assert store.keys() == ()


def test_a_layer_on_one_that_is_not_kept_is_not_kept(
    store: Store, keep: Keep, told: list[str]
) -> None:
    base = keep("base")
    store.discard(base.key)
    with store.draft() as draft:
        assert store.commit(draft, KEY, Origin(step="top", parent=base)) is None
        assert draft.tree.is_dir()
    assert told == ["the layer of top is not cached: the layer below it is gone"]


def test_of_two_layers_with_one_key_the_first_is_kept(keep: Keep) -> None:
    first = keep("a", files={"file": "first"})
    second = keep("a", files={"file": "second"})
    assert second.stamp == first.stamp
    assert (second.tree / "file").read_text() == "first"


def test_a_damaged_layer_is_replaced_even_while_it_is_held(store: Store, keep: Keep) -> None:
    kept = keep("a", files={"file": "first"})
    with store.hold((kept.key,)):
        (kept.tree / "file").write_text("bad")
        assert store.find(kept.key) is None
        assert kept.tree.exists()
        keep("a", files={"file": "second"})
        found = store.find(kept.key)
        assert found
        assert (found.tree / "file").read_text() == "second"
    store.sweep()
    assert list((store.root / "drafts").iterdir()) == []


def test_a_tree_that_cannot_be_kept_stays_in_its_draft(store: Store, told: list[str]) -> None:
    with store.draft() as draft:
        (draft.tree / "file").write_text("x")
        (store.root / "entries").rmdir()
        assert store.commit(draft, KEY, Origin(step="install")) is None
        assert (draft.tree / "file").read_text() == "x"
    assert told == ["the layer of install is not cached: No such file or directory"]


def test_a_held_layer_is_not_discarded(store: Store, keep: Keep) -> None:
    kept = keep("a")
    with store.hold((kept.key,)), store.hold((kept.key,)):
        assert not store.discard(kept.key)
    assert store.discard(kept.key)
    assert not store.discard(kept.key)


def test_use_is_noted(store: Store, keep: Keep) -> None:
    kept = keep("a")
    os.utime(kept.tree.parent / "used", (0, 0))
    assert store.entries()[0].used == datetime.fromtimestamp(0, UTC)
    store.used(kept.key)
    assert datetime.now(UTC) - store.entries()[0].used < timedelta(minutes=1)
    store.used(KEY)


def test_drafts_of_the_living_survive_a_sweep_and_those_of_the_dead_do_not(store: Store) -> None:
    with store.draft() as draft:
        dead = store.root / "drafts" / "0123"
        (dead / "entry" / "tree").mkdir(parents=True)
        (dead / "lock").touch()
        store.sweep()
        assert draft.tree.is_dir()
        assert not dead.exists()


def test_a_store_where_none_can_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught, Store(tmp_path / "file").draft():
        pass
    assert caught.value.where == str(tmp_path / "file")
    assert "set DIB_IMAGE_CACHE" in caught.value.hint


def test_without_a_store_claims_and_holds_are_free(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file")
    with store.claim(KEY), store.hold((KEY,)):
        assert store.find(KEY) is None
    store.settle(store.entries())
    store.sweep()


@pytest.mark.parametrize("key", ["", "../../etc", "AB" * 32, "ab" * 31])
def test_what_is_no_key_is_refused(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="not the key of a layer"):
        store.find(key)
    with pytest.raises(ValueError, match="not the key of a layer"):
        store.commit(Draft(tree=store.root, work=store.root), key, Origin(step="a"))


def test_odd_names_links_and_sockets_are_kept(store: Store) -> None:
    with store.draft() as draft:
        os.mkfifo(draft.tree / "caf\udce9\n")
        (draft.tree / "link").symlink_to("/nowhere//else")
        (draft.tree / "one").write_text("x")
        (draft.tree / "two").hardlink_to(draft.tree / "one")
        fd = os.open(draft.tree, os.O_PATH)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"/proc/self/fd/{fd}/socket")
        os.close(fd)
        kept = store.commit(draft, KEY, Origin(step="install"))
    assert kept
    assert kept.inodes == 6
    assert store.find(KEY)
    (kept.tree / "caf\udce9\n").unlink()
    assert store.find(KEY) is None


def test_meta_is_json_that_others_can_read(keep: Keep) -> None:
    document = json.loads((keep("a").tree.parent / "meta.json").read_text())
    assert (document["format"], document["step"]) == (1, "a")
    assert document["inputs"] == [["variable X", "a"]]


def test_many_faults_are_counted() -> None:
    assert shortened(("a", "b", "c", "d", "e")) == "a, b, c and 2 more"
    assert shortened(("a",)) == "a"
