"""`imagebuilder cache`: what it prints, and its exit status."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from imagebuilder.cache.downloads import Downloads
from imagebuilder.cache.model import Layer, Origin
from imagebuilder.cache.outputs import Made, OutputStore
from imagebuilder.cache.store import Store
from imagebuilder.cli import cache
from imagebuilder.errors import ConfigError

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "layers")


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the verb on the store; its status and output."""

    def run(*words: str, **environment: str) -> tuple[int, str]:
        parser = argparse.ArgumentParser()
        cache.add_arguments(parser)
        arguments = parser.parse_args(words)
        arguments.environment = {"DIB_IMAGE_CACHE": str(tmp_path), **environment}
        status = cache.run(arguments)
        return status, capsys.readouterr().out

    return run


def keep(store: Store, step: str) -> Layer:
    with store.draft() as draft:
        (draft.tree / "file").write_bytes(bytes(10000))
        layer = store.commit(draft, hashlib.sha256(step.encode()).hexdigest(), Origin(step=step))
    assert layer
    return layer


def test_layers_are_listed_in_a_table_those_used_last_first(store: Store, cli: Run) -> None:
    first, second = keep(store, "root"), keep(store, "pre-install")
    os.utime(first.tree.parent / "used", (0, 0))
    status, text = cli("ls")
    titles, one, two = text.splitlines()
    assert status == 0
    assert titles.split() == ["ID", "STEP", "SIZE", "AGE", "LAST", "USED"]
    assert one.startswith(f"{second.key[:12]}  pre-install  ")
    assert two.startswith(f"{first.key[:12]}  root         ")
    assert two.endswith(" d")
    assert titles.index("AGE") == one.index("0 s")


def test_layers_are_listed_as_json(store: Store, cli: Run) -> None:
    kept = keep(store, "root")
    (document,) = json.loads(cli("ls", "--json")[1])
    assert (document["id"], document["step"], document["inodes"]) == (kept.key, "root", 2)
    assert document["size"] == kept.size


def test_a_cache_that_is_not_there_has_no_layers(store: Store, cli: Run) -> None:
    assert cli("ls") == (0, f"no layers in {store.root}\n")
    assert cli("ls", "--json") == (0, "[]\n")
    assert cli("verify") == (0, "0 layers checked, 0 damaged\n")
    assert cli("prune") == (0, "0 layers, 0 B removed, 0 layers, 0 B left\n")
    assert not store.root.exists()


def test_the_option_says_where_the_cache_is(store: Store, cli: Run) -> None:
    keep(store, "root")
    place = str(store.root.parent)
    assert "root" in cli("ls", "--image-cache", place, DIB_IMAGE_CACHE="/nowhere")[1]


def test_without_any_word_the_cache_is_in_the_home_directory(cli: Run, tmp_path: Path) -> None:
    _, text = cli("ls", DIB_IMAGE_CACHE="", HOME=str(tmp_path))
    assert text == f"no layers in {tmp_path}/.cache/image-create/layers\n"


def test_the_room_and_the_limits_are_told(store: Store, cli: Run) -> None:
    kept = keep(store, "root")
    _, text = cli("du", IMAGEBUILDER_CACHE_MAX_SIZE="3GiB", IMAGEBUILDER_CACHE_MAX_AGE="7")
    assert text == (
        f"1 layer, {kept.size} in {store.root}\nlimits: 3 GiB, 7 days after the last use\n"
    )


def test_verify_says_what_was_checked(store: Store, cli: Run) -> None:
    kept = keep(store, "root")
    name = kept.key[:12]
    end = "1 layer checked, 0 damaged\n"
    assert cli("verify") == (0, f"{name}  root  metadata checked\n{end}")
    recorded = f"{name}  root  metadata checked, digests recorded\n{end}"
    assert cli("verify", "--digest") == (0, recorded)
    assert cli("verify", name) == (0, f"{name}  root  content checked\n{end}")


def test_verify_fails_if_a_layer_is_damaged_and_removes_it(store: Store, cli: Run) -> None:
    kept, other = keep(store, "root"), keep(store, "install")
    (kept.tree / "file").chmod(0o600)
    status, text = cli("verify")
    assert status == 1
    assert f"{kept.key[:12]}  damaged, removed: file has another mode\n" in text
    assert text.endswith("2 layers checked, 1 damaged\n")
    assert store.keys() == (other.key,)


def test_verify_leaves_a_damaged_layer_that_is_in_use(store: Store, cli: Run) -> None:
    kept = keep(store, "root")
    (kept.tree / "file").unlink()
    with store.hold((kept.key,)):
        status, text = cli("verify")
    assert (status, store.keys()) == (1, (kept.key,))
    assert "damaged, in use and left alone" in text


def test_verify_refuses_an_id_that_no_layer_has(store: Store, cli: Run) -> None:
    keep(store, "root")
    with pytest.raises(ConfigError, match="0 layers have ids that begin with 'zz'"):
        cli("verify", "zz")


def test_prune_removes_what_is_too_old(store: Store, cli: Run) -> None:
    kept, other = keep(store, "root"), keep(store, "install")
    os.utime(kept.tree.parent / "used", (0, 0))
    assert cli("prune", "--max-age", "1") == (0, (
        f"removed {kept.key[:12]}  root  {kept.size}\n"
        f"1 layer, {kept.size} removed, 1 layer, {other.size} left\n"
    ))  # fmt: skip


def test_prune_removes_what_is_too_much(store: Store, cli: Run) -> None:
    keep(store, "root")
    assert cli("prune", "--max-size", "1TiB")[1].startswith("0 layers, ")
    assert cli("prune", "--max-size", "1K")[1].endswith(" removed, 0 layers, 0 B left\n")


def test_prune_obeys_the_variables(store: Store, cli: Run) -> None:
    keep(store, "root")
    assert "1 layer, " in cli("prune", IMAGEBUILDER_CACHE_MAX_SIZE="1")[1]
    assert store.keys() == ()


def test_prune_all_leaves_only_what_is_in_use(store: Store, cli: Run) -> None:
    kept = keep(store, "root")
    keep(store, "install")
    with store.hold((kept.key,)):
        assert cli("prune", "--all")[1].endswith(f"1 layer, {kept.size} left (in use)\n")
    assert store.keys() == (kept.key,)


@pytest.mark.parametrize(
    ("words", "where"), [(("--max-size", "big"), "--max-size"), (("--max-age", "x"), "--max-age")]
)
def test_prune_refuses_what_is_no_limit(cli: Run, words: tuple[str, ...], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cli("prune", *words)
    assert caught.value.where == where


def test_what_is_damaged_or_not_ours_is_not_listed_but_told(
    store: Store, cli: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    store.make()
    (store.root / "entries" / ("ab" * 32)).mkdir()
    parser = argparse.ArgumentParser()
    cache.add_arguments(parser)
    place = ("--image-cache", str(store.root.parent))
    cache.run(argparse.Namespace(**vars(parser.parse_args(["ls", *place])), environment={}))
    assert "not listed: 1 that are damaged or not ours" in capsys.readouterr().err
    assert cli("prune")[1].startswith("removed 1 that could not be used\n0 layers, ")


def test_sizes_are_aligned_to_the_right() -> None:
    rows = [("a", "1 KiB", "x"), ("bcd", "100 KiB", "y")]
    assert cache.table(("ID", "SIZE", "AGE"), rows).splitlines() == [
        "ID      SIZE  AGE",
        "a      1 KiB  x",
        "bcd  100 KiB  y",
    ]


def download(store: Store, content: bytes) -> str:
    """Keep a download beside the layers; its digest."""
    downloads = Downloads(store.root.with_name("downloads"))
    downloads.make()
    source = store.root.with_name("source")
    source.write_bytes(content)
    digest = downloads.keep(source)
    downloads.remember("http://mirror.example/x.deb", digest)
    return digest


def test_downloads_are_listed_with_their_addresses(store: Store, cli: Run) -> None:
    assert cli("ls", "--downloads")[1].startswith("no downloads in ")
    digest = download(store, b"package")
    titles, row = cli("ls", "--downloads")[1].splitlines()
    assert titles.split() == ["SHA256", "SIZE", "LAST", "USED", "FROM"]
    assert row.split() == [digest[:12], "7", "B", "0", "s", "http://mirror.example/x.deb"]
    (document,) = json.loads(cli("ls", "--downloads", "--json")[1])
    assert (document["sha256"], document["size"]) == (digest, 7)


def test_du_counts_downloads(store: Store, cli: Run) -> None:
    download(store, b"package")
    assert f"1 download, 7 B in {store.root.with_name('downloads')}\n" in cli("du")[1]


def test_verify_reads_downloads_and_removes_what_is_damaged(store: Store, cli: Run) -> None:
    digest = download(store, b"package")
    assert cli("verify") == (0, "0 layers checked, 0 damaged\n1 download checked, 0 damaged\n")
    (store.root.with_name("downloads") / "files" / digest).write_bytes(b"pacKage")
    status, text = cli("verify")
    assert (status, text.splitlines()[1]) == (1, "1 download checked, 1 damaged and removed")
    assert cli("verify")[0] == 0


def test_prune_removes_downloads_as_well(store: Store, cli: Run) -> None:
    download(store, b"package")
    assert cli("prune", "--max-size", "1MiB")[1].count("download") == 0
    assert "1 download, 7 B removed\n" in cli("prune", "--all")[1]
    assert cli("ls", "--downloads")[1].startswith("no downloads in ")


def test_outputs_are_counted_checked_and_pruned(tmp_path: Path, cli: Run) -> None:
    outputs, image, key = OutputStore(tmp_path / "outputs"), tmp_path / "image", "a" * 64
    image.write_bytes(b"content" * 1000)
    made = Made(image, "0" * 64, image.stat().st_mtime_ns)
    outputs.keep(key, [made], {})
    assert "1 set of outputs, " in cli("du")[1]
    assert "1 set of outputs checked, 0 changed" in cli("verify")[1]
    image.write_bytes(b"other")
    status, text = cli("verify")
    assert status == 0
    assert "1 set of outputs checked, 1 changed since and forgotten" in text
    assert outputs.entries() == {}
    outputs.keep(key, [made._replace(modified=image.stat().st_mtime_ns)], {})
    assert "1 set of outputs removed" in cli("prune", "--all")[1]
    assert image.read_bytes() == b"other"
