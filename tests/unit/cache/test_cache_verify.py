"""Contents are compared with digests once those have been recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from imagebuilder.cache import entry
from imagebuilder.cache.model import Layer, Origin
from imagebuilder.cache.store import Store
from imagebuilder.cache.verify import State, digests, verify

Keep = Callable[..., Layer]


def behind_the_clock(layer: Layer, path: str, text: str) -> None:
    """Change a content, and have the manifest agree with it, as damage of the disk would."""
    (layer.tree / path).write_text(text)
    place = layer.tree.parent
    fields = entry.decode((place / "meta.json").read_bytes())
    entry.write(place, layer.key, Origin(step=layer.step, inputs=layer.inputs))
    assert entry.decode((place / "meta.json").read_bytes())["created"] >= fields["created"]


def test_without_digests_only_metadata_are_checked(store: Store, keep: Keep) -> None:
    kept = keep("install")
    verdict = verify(store, kept.key)
    assert (verdict.state, verdict.step) == (State.METADATA, "install")


def test_digests_are_recorded_once_and_then_compared(store: Store, keep: Keep) -> None:
    kept = keep("install")
    states = [verify(store, kept.key, digest=digest).state for digest in (True, True, False)]
    assert states == [State.RECORDED, State.CONTENT, State.CONTENT]
    assert store.find(kept.key)


def test_a_changed_content_is_damage_and_the_layer_is_removed(store: Store, keep: Keep) -> None:
    kept = keep("install")
    verify(store, kept.key, digest=True)
    behind_the_clock(kept, "etc/hostname", "Web\n")
    assert store.find(kept.key)
    verdict = verify(store, kept.key)
    assert (verdict.state, verdict.removed) == (State.DAMAGED, True)
    assert verdict.faults == ("etc/hostname has another content",)
    assert store.keys() == ()


def test_a_changed_inode_is_damage(store: Store, keep: Keep) -> None:
    kept = keep("install")
    (kept.tree / "usr/bin/tool").chmod(0o4755)
    verdict = verify(store, kept.key)
    assert (verdict.state, verdict.removed) == (State.DAMAGED, True)
    assert verdict.faults == ("usr/bin/tool has another mode",)


def test_damaged_digests_are_damage(store: Store, keep: Keep) -> None:
    kept = keep("install")
    verify(store, kept.key, digest=True)
    path = kept.tree.parent / "digests"
    path.write_bytes(path.read_bytes()[:-1])
    assert verify(store, kept.key).faults == ("digests has changed",)


def test_a_damaged_layer_that_is_held_stays(store: Store, keep: Keep) -> None:
    kept = keep("install")
    (kept.tree / "etc/hostname").unlink()
    with store.hold((kept.key,)):
        assert not verify(store, kept.key).removed
    assert store.keys() == (kept.key,)


def test_a_layer_of_a_newer_format_is_not_checked(store: Store, keep: Keep) -> None:
    kept = keep("install")
    path = kept.tree.parent / "meta.json"
    path.write_bytes(entry.encode({**entry.decode(path.read_bytes()), "format": 9}))
    verdict = verify(store, kept.key)
    assert (verdict.state, verdict.faults) == (State.FOREIGN, ("it has format 9, not 1",))
    assert kept.tree.exists()


def test_a_layer_that_is_not_there_is_neither_fine_nor_damaged(store: Store) -> None:
    assert verify(store, "ab" * 32).state is State.ABSENT


def test_digests_tell_contents_targets_and_attributes_apart(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same").write_text("x")
        (tmp_path / name / "file").write_text(name)
        (tmp_path / name / "link").symlink_to(name)
    one, two = digests(tmp_path / "one"), digests(tmp_path / "two")
    assert one.keys() == two.keys() == {b"", b"same", b"file", b"link"}
    assert {path for path in one if one[path] != two[path]} == {b"file", b"link"}
