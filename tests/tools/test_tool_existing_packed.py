"""A compressed qcow2, opened and compressed again: what nobody has changed stays as it is."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from imagebuilder.disk.image import CLUSTER, Image, Packed
from imagebuilder.errors import BuildError, ConfigError
from imagebuilder.existing import overlay, qcow2, source
from imagebuilder.formats import qcow2_writer, zstd
from imagebuilder.formats.clusters import Compressor
from imagebuilder.process import run

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(not zstd.available(), reason="needs libzstd"),
    pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img"),
]
needs_fuse = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/fuse").exists() or not shutil.which(overlay.DAEMON),
    reason=f"needs root, /dev/fuse and {overlay.DAEMON}",
)
SIZE = 40 * CLUSTER + 1536
CHANGES = {3: b"smooth", 20: b"in the rough", 30: b"in a hole", 40: b"at the end"}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Clusters that shrink, some that do not, holes, and an end within a cluster."""
    chance = random.Random(5)  # ruff: ignore[suspicious-non-cryptographic-random-usage] - no secret
    file = tmp_path / "disk.raw"
    with file.open("wb") as target:
        target.write(b"".join(b"%d text " % n * (CLUSTER // 8) for n in range(16)))
        target.write(chance.randbytes(6 * CLUSTER))
        target.seek(35 * CLUSTER)
        target.write(b"last words " * 20000)
        target.truncate(SIZE)
    return file


@pytest.fixture(params=["zlib", "zstd"])
def given(request: pytest.FixtureRequest, raw: Path, tmp_path: Path) -> Path:
    """The same as qemu-img compresses it."""
    options = ("-O", "qcow2", "-o", f"compression_type={request.param}")
    sh("qemu-img", "convert", "-c", *options, raw, tmp_path / "given.qcow2")
    return tmp_path / "given.qcow2"


def sh(*words: str | Path) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def change(file: Path) -> None:
    with file.open("r+b") as target:
        for cluster, text in CHANGES.items():
            target.seek(cluster * CLUSTER + 5)
            target.write(text)


def compressed(monkeypatch: pytest.MonkeyPatch, kind: str) -> list[bytes]:
    """What will be compressed from now on."""
    pieces: list[bytes] = []
    of_kind = qcow2_writer.KINDS[kind]
    with of_kind.compressor() as one:
        cls: type[Compressor] = type(one)
    compress: Callable[..., int] = cls.compress

    def counted(self: Compressor, content: bytes, *others: object) -> int:
        pieces.append(bytes(content))
        return compress(self, content, *others)

    monkeypatch.setattr(cls, "compress", counted)
    return pieces


def check(packed: Packed, disk: Path, expected: Path, given: Path) -> Path:
    """Make an image of the disk; it has to be sound, equal, of the same kind, and as small."""
    target = given.with_name("new.qcow2")
    qcow2_writer.write(Image(file=disk, packed=packed), target)
    sh("qemu-img", "check", target)
    sh("qemu-img", "compare", "-f", "qcow2", "-F", "raw", target, expected)
    assert f"compression type: {packed.kind}" in sh("qemu-img", "info", target)
    assert target.stat().st_size < given.stat().st_size + 3 * CLUSTER
    return target


@pytest.mark.parametrize("changed", [False, True])
def test_what_is_known_by_its_content_is_not_compressed_again(
    raw: Path, given: Path, monkeypatch: pytest.MonkeyPatch, *, changed: bool
) -> None:
    disk = given.with_name("copy.raw")
    packed = source.write_raw(given, disk, run)
    assert packed
    assert disk.read_bytes() == raw.read_bytes()
    assert disk.stat().st_blocks * 512 < 30 * CLUSTER
    if changed:
        change(disk)
        change(raw)
    pieces = compressed(monkeypatch, packed.kind)
    check(packed, disk, raw, given)
    assert len(pieces) == (len(CHANGES) if changed else 0)


@needs_fuse
@pytest.mark.parametrize("changed", [False, True])
def test_only_what_was_written_is_compressed(
    raw: Path, given: Path, monkeypatch: pytest.MonkeyPatch, *, changed: bool
) -> None:
    place = given.with_name("shown.raw")
    with overlay.opened(given, place, run) as shown:
        assert shown
        assert place.read_bytes() == raw.read_bytes()
        if changed:
            change(place)
            change(raw)
            with place.open("r+b") as file, raw.open("r+b") as other:
                for each in (file, other):  # zeros where there was something
                    each.seek(8 * CLUSTER)
                    each.write(bytes(CLUSTER))
        packed = shown.packed()
        assert set(packed.others) - {8} == (set(CHANGES) if changed else set())
        pieces = compressed(monkeypatch, packed.kind)
        target = check(packed, place, raw, given)
        assert len(pieces) == (len(CHANGES) if changed else 0)
        with qcow2.opened(target) as again, qcow2.opened(given) as before:
            assert again
            assert before
            old, new = qcow2.kept(before, CHANGES), qcow2.kept(again, CHANGES)
            for number in set(old) - {8}:
                one = os.pread(before.fd, old[number][1], old[number][0])
                other = os.pread(again.fd, new[number][1], new[number][0])
                assert one == other[: len(one)]
    assert not any(name.startswith("shown") for name in mounted())


def mounted() -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [Path(line.split()[1]).name for line in lines]


@needs_fuse
def test_an_image_that_changes_meanwhile_is_not_made_another_of(given: Path) -> None:
    place = given.with_name("shown.raw")
    with overlay.opened(given, place, run) as shown:
        assert shown
        packed = shown.packed()
        with given.open("ab") as file:
            file.write(b"more")
        with pytest.raises(BuildError, match="was changed while an image was made of it"):
            qcow2_writer.write(Image(file=place, packed=packed), given.with_name("new.qcow2"))


@needs_fuse
@pytest.mark.parametrize("options", [(), ("-c", "-o", "cluster_size=4k")])
def test_only_a_compressed_image_of_common_clusters_is_shown(
    raw: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    sh("qemu-img", "convert", "-O", "qcow2", *options, raw, tmp_path / "plain.qcow2")
    with overlay.opened(tmp_path / "plain.qcow2", tmp_path / "shown.raw", run) as shown:
        assert shown is None
    assert not (tmp_path / "shown.raw").exists()
    assert source.write_raw(tmp_path / "plain.qcow2", tmp_path / "copy.raw", run) is None
    assert (tmp_path / "copy.raw").read_bytes() == raw.read_bytes()


def test_without_a_daemon_nothing_is_shown(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no-such-program", "false"):
        monkeypatch.setattr(overlay, "DAEMON", name)
        with overlay.opened(given, tmp_path / "shown.raw", run) as shown:
            assert shown is None
        assert not (tmp_path / "shown.raw").exists()


def test_a_damaged_cluster_is_refused(given: Path, tmp_path: Path) -> None:
    with qcow2.opened(given) as file:
        assert file
        offset, length = next(iter(qcow2.kept(file, ()).values()))
    with given.open("r+b") as target:
        target.seek(offset)
        target.write(b"\xff" * length)
    with pytest.raises(ConfigError, match="is damaged"):
        source.write_raw(given, tmp_path / "x.raw", run)


def test_a_compressed_cluster_is_never_taken_for_a_plain_one(tmp_path: Path) -> None:
    """Its sectors may be more than a cluster, from where it begins; what follows is another's."""
    path, begin = tmp_path / "tables", 2 * CLUSTER + 500
    entries = {0: qcow2.COMPRESSED | 128 << 54 | begin, 1: 4 * CLUSTER,
               2: qcow2.COMPRESSED | 3 << 54 | 6 * CLUSTER,
               3: qcow2.COMPRESSED | 1 << 54 | (6 * CLUSTER + 1700), 4: qcow2.ZERO}  # fmt: skip
    table = b"".join(entries.get(number, 0).to_bytes(8, "big") for number in range(CLUSTER // 8))
    path.write_bytes(bytes(CLUSTER) + table)
    os.truncate(path, 9 * CLUSTER)
    with path.open("rb") as file:
        known = {"path": path, "fd": file.fileno(), "bits": 16, "size": 5 * CLUSTER}
        given = qcow2.File(**known, tables=(CLUSTER,), kind="zlib")
        assert qcow2.kept(given, (5,)) == {
            0: (begin, CLUSTER - 1), 1: (4 * CLUSTER, CLUSTER),
            2: (6 * CLUSTER, 1700), 3: (6 * CLUSTER + 1700, 1024 - 1700 % 512),
        }  # fmt: skip
        assert list(qcow2.kept(given, (0, 2))) == [1, 3]
