from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from imagebuilder.build.keep import Keeper
from imagebuilder.cache.store import Store
from imagebuilder.disk.image import Borrowed, Image, stamp
from imagebuilder.plan.digest import StepId


def test_files_are_known_by_their_copies_in_the_store(tmp_path: Path) -> None:
    source = tmp_path / "made"
    (source / "etc").mkdir(parents=True)
    (source / "etc" / "hostname").write_text("web")
    (source / "link").symlink_to("etc")
    keeper = Keeper(Store(tmp_path / "cache"), print)
    step = StepId(phase="install", id="ab" * 32, inputs={}, known=True)
    keeper.keep(step, source, ExitStack())
    keeper.finish()
    assert keeper.parent is not None
    before, after = (
        stamp((tree / "etc" / "hostname").stat()) for tree in (source, keeper.parent.tree)
    )
    assert keeper.stamps == {before: after}
    assert before != after
    disk = Image(file=tmp_path / "disk", borrowed=(Borrowed(0, 3, "hostname", 0, before),))
    assert disk.copied(keeper.stamps).borrowed[0].stamp == after
