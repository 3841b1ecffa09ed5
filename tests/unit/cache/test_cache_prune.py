"""What goes first when the store gets too large or too old."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from imagebuilder.cache import entry, history
from imagebuilder.cache.model import Layer, Limits
from imagebuilder.cache.prune import prune
from imagebuilder.cache.store import Store
from imagebuilder.sizes import Size

Keep = Callable[..., Layer]
UNLIMITED = Limits(max_size=None, max_age=None)
NOTHING = Limits(max_size=Size(0), max_age=None)


def use(layer: Layer, days: float) -> None:
    """Pretend that the last use was so many days ago."""
    then = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    os.utime(layer.tree.parent / "used", (then, then))


def steps(layers: tuple[Layer, ...]) -> list[str]:
    return [layer.step for layer in layers]


def room_for(*layers: Layer) -> Limits:
    return Limits(max_size=Size(sum(layer.size for layer in layers)), max_age=None)


def test_within_the_limits_everything_stays(store: Store, keep: Keep) -> None:
    keep("a")
    assert prune(store, UNLIMITED) == ()
    assert prune(store, Limits()) == ()
    assert steps(store.entries()) == ["a"]


def test_what_was_used_least_recently_goes_until_the_rest_fits(store: Store, keep: Keep) -> None:
    layers = [keep(name) for name in "abc"]
    for layer, days in zip(layers, (2, 9, 4), strict=True):
        use(layer, days)
    assert steps(prune(store, room_for(layers[0]))) == ["b", "c"]
    assert steps(store.entries()) == ["a"]


def test_what_was_not_used_for_long_goes(store: Store, keep: Keep) -> None:
    old, new = keep("old"), keep("new")
    use(old, 31)
    use(new, 29)
    assert steps(prune(store, Limits(max_size=None, max_age=timedelta(days=30)))) == ["old"]


def test_a_layer_goes_before_the_one_below_it(store: Store, keep: Keep) -> None:
    base = keep("base")
    middle = keep("middle", base)
    top = keep("top", middle)
    for layer in (base, middle, top):
        use(layer, 3)
    assert steps(prune(store, room_for(base, middle))) == ["top"]
    assert steps(prune(store, room_for(base))) == ["middle"]


def test_use_of_a_layer_is_use_of_those_below(store: Store, keep: Keep) -> None:
    base, other = keep("base"), keep("other")
    top = keep("top", base)
    use(base, 9)
    use(other, 5)
    use(top, 1)
    assert steps(prune(store, room_for(base, top))) == ["other"]
    assert prune(store, Limits(max_size=None, max_age=timedelta(days=7))) == ()


def test_layers_without_their_parents_go_first(store: Store, keep: Keep) -> None:
    base = keep("base")
    middle = keep("middle", base)
    keep("top", middle)
    new = keep("new")
    use(new, 9)
    store.discard(base.key)
    assert steps(prune(store, UNLIMITED)) == ["top", "middle"]
    assert steps(store.entries()) == ["new"]


def test_what_is_held_stays_and_all_below_it(store: Store, keep: Keep) -> None:
    base = keep("base")
    top = keep("top", base)
    keep("other")
    with store.hold((top.key,)):
        assert steps(prune(store, NOTHING)) == ["other"]
    assert steps(prune(store, NOTHING)) == ["top", "base"]


def test_damaged_entries_go(store: Store, keep: Keep) -> None:
    kept = keep("a")
    (kept.tree.parent / "meta.json").write_text("{}")
    (store.root / "entries" / ("ab" * 32)).mkdir()
    assert prune(store, UNLIMITED) == ()
    assert store.keys() == ()


def test_entries_of_a_newer_format_go_only_with_everything(store: Store, keep: Keep) -> None:
    path = keep("a").tree.parent / "meta.json"
    path.write_bytes(entry.encode({**entry.decode(path.read_bytes()), "format": 9}))
    prune(store, Limits(max_size=Size(1), max_age=timedelta(0)))
    assert len(store.keys()) == 1
    prune(store, NOTHING)
    assert store.keys() == ()


def test_what_is_left_is_settled(store: Store, keep: Keep) -> None:
    kept = keep("a")
    assert not (kept.tree.parent / "settled").exists()
    prune(store, UNLIMITED)
    assert (kept.tree.parent / "settled").exists()
    assert store.find(kept.key)


def test_drafts_of_the_dead_old_names_and_free_locks_go(store: Store, keep: Keep) -> None:
    kept = keep("a")
    with store.hold((kept.key, "cd" * 32)), store.claim("ab" * 32):
        pass
    history.remember(store, "old", {})
    os.utime(store.root / "names" / "old.json", (0, 0))
    (store.root / "drafts" / "0123").mkdir()
    with store.claim("cd" * 32):
        prune(store, Limits())
    locks = {path.name[:2] + path.suffix for path in (store.root / "locks").iterdir()}
    assert locks == {kept.key[:2] + ".hold", "cd.claim", "dr"}
    assert list((store.root / "drafts").iterdir()) == []
    assert list((store.root / "names").iterdir()) == []


def test_a_store_that_is_not_there_is_not_made(store: Store) -> None:
    assert prune(store, NOTHING) == ()
    assert not store.root.exists()
