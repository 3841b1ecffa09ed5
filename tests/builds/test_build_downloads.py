"""The download cache: shared by builds, closed to the hooks, and all there is offline."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagebuilder.cache.downloads import Downloads

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]
WORDS = ("-n", "-t", "tar", "-o", "out")
PROGRAM = (Path(__file__).parents[2] / "elements/cache-url/bin/cache-url").read_text()
INSIDE = "/tmp/in_target.d/imagebuilder/downloads"
URL = "http://mirror.example/dists/tiny/InRelease"
MISSING = "http://mirror.example/pool/linux-image_6.1_amd64.deb"


def downloads(workshop: Workshop) -> Downloads:
    return Downloads(workshop.directory / ".cache/image-create/downloads")


def build(workshop: Workshop, *words: str, **variables: str) -> str:
    """The log of a build that has to succeed."""
    done = workshop.create(*WORDS, *words, OVERWRITE_OLD_IMAGE="1", **variables)
    assert done.returncode == 0, done.stdout
    return done.stdout


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_what_hooks_leave_is_kept_by_its_content(workshop: Workshop) -> None:
    workshop.element("host", {
        "extra-data.d/50-new": "echo host >$TMP_BUILD_DIR/downloads/new/any\n",
        "install.d/50-new": f"echo inside >{INSIDE}/new/any\n",
    })  # fmt: skip
    build(workshop, "tiny", "host")
    kept = downloads(workshop)
    assert set(kept.digests()) == {sha256(b"host\n"), sha256(b"inside\n")}
    assert all(map(kept.find, kept.digests()))


def test_what_hooks_leave_is_kept_even_if_the_build_fails(workshop: Workshop) -> None:
    workshop.element("bad", {
        "extra-data.d/50-new": "echo host >$TMP_BUILD_DIR/downloads/new/any\n",
        "install.d/50-bad": "exit 3\n",
    })  # fmt: skip
    assert workshop.create(*WORDS, "tiny", "bad").returncode == 3
    assert downloads(workshop).digests() == (sha256(b"host\n"),)


def test_no_hook_can_write_to_the_store(workshop: Workshop) -> None:
    workshop.element("evil", {
        "extra-data.d/50-evil": "! touch $TMP_BUILD_DIR/downloads/store/files/evil\n",
        "install.d/50-evil": f"ls {INSIDE}/store/files\n! touch {INSIDE}/store/files/evil\n",
    })  # fmt: skip
    assert "Read-only file system" in build(workshop, "tiny", "evil")


def test_what_the_tree_says_about_addresses_is_not_believed(workshop: Workshop) -> None:
    record = f"{sha256(b'evil')} {URL}"
    other = f"{sha256(b'evil')} http://mirror.example/image.qcow2"
    workshop.element("evil", {
        "install.d/50-evil": f"printf evil >{INSIDE}/new/any\n"
        f"printf '%s\\n' '{record}' '{other}' >{INSIDE}/new/urls\n",
    })  # fmt: skip
    build(workshop, "tiny", "evil")
    kept = downloads(workshop)
    assert kept.find(sha256(b"evil"))
    assert [entry.url for entry in kept.entries()] == [""]


def test_nothing_of_the_cache_is_in_the_image(workshop: Workshop) -> None:
    workshop.element("user", {"install.d/50-user": f"cat {INSIDE}/store/files/* >/dev/null\n"})
    workshop.element("source", {
        "extra-data.d/50-new": "echo host >$TMP_BUILD_DIR/downloads/new/any\n",
    })  # fmt: skip
    build(workshop, "tiny", "source")
    build(workshop, "tiny", "user")
    with_cache = (workshop.directory / "out.tar").read_bytes()
    assert b"downloads" not in with_cache


def test_offline_no_hook_has_a_network(workshop: Workshop) -> None:
    look = "echo devices: $(grep -c : /proc/net/dev)\n"
    workshop.element("look", {"extra-data.d/50-look": look, "install.d/50-look": look})
    assert "devices: 1" not in build(workshop, "--no-cache", "tiny", "look")
    assert build(workshop, "--no-cache", "--offline", "tiny", "look").count("devices: 1") == 2


@pytest.mark.parametrize("phase", ["root.d", "install.d"])
def test_offline_what_is_missing_ends_the_build_in_one_line(workshop: Workshop, phase: str) -> None:
    place = f"{INSIDE}/new" if phase == "install.d" else "$TMP_BUILD_DIR/downloads/new"
    workshop.element("wants", {f"{phase}/50-wants": f"echo {MISSING} >>{place}/missing\nexit 9\n"})
    line = f"not in the download cache: the package linux-image ({MISSING})"
    done = workshop.create(*WORDS, "--offline", "tiny", "wants")
    assert done.returncode == 1
    assert line in done.stdout
    assert "run the same build once without --offline" in done.stdout
    assert "50-wants" in done.stdout.split(line)[0].splitlines()[-1]
    done = workshop.imagebuilder("build", *WORDS, "--offline", "tiny", "wants")
    assert done.returncode == 7
    assert workshop.create(*WORDS, "tiny", "wants").returncode == 9


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A directory, and its address on loopback."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    directory = tmp_path / "served"
    directory.mkdir()
    made = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory)))
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield directory, f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.mark.skipif(not Path("/usr/lib/apt/apt-helper").exists(), reason="needs apt-helper")
def test_an_index_that_the_tree_has_fetched_is_fetched_once_more_by_the_host(
    workshop: Workshop, server: tuple[Path, str]
) -> None:
    directory, address = server
    (directory / "dists").mkdir()
    (directory / "dists/InRelease").write_text("signed")
    record = f"{sha256(b'evil')} {address}/dists/InRelease"
    workshop.element("new", {"install.d/50-new": f"echo {record} >{INSIDE}/new/urls\n"})
    build(workshop, "tiny", "new")
    kept = downloads(workshop)
    assert kept.recall(f"{address}/dists/InRelease") == sha256(b"signed")
    assert kept.find(sha256(b"signed"))


def fetching(workshop: Workshop, *words: str) -> None:
    """Write an element that runs cache-url, and shows what it has got."""
    call = f"$TMP_HOOKS_PATH/bin/cache-url {' '.join(words)} $TMP_BUILD_DIR/got\n"
    shown = "echo got: $(cat $TMP_BUILD_DIR/got)\n"
    workshop.element("fetch", {"bin/cache-url": PROGRAM, "extra-data.d/50-fetch": call + shown})


needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")


@needs_curl
def test_cache_url_fetches_and_has_it_offline(workshop: Workshop, server: tuple[Path, str]) -> None:
    directory, address = server
    (directory / "file").write_text("content")
    fetching(workshop, f"{address}/file")
    words = ("--no-cache", "tiny", "fetch")
    log = build(workshop, *words)
    assert "for the first time" in log
    assert "got: content" in log
    assert downloads(workshop).recall(f"{address}/file") == sha256(b"content")
    (directory / "file").unlink()
    assert "got: content" in build(workshop, *words, "--offline")
    downloads(workshop).path(sha256(b"content")).write_text("cOntent")
    done = workshop.create(*WORDS, *words, "--offline", OVERWRITE_OLD_IMAGE="1")
    assert done.returncode == 1
    assert f"not in the download cache: {address}/file" in done.stdout


@needs_curl
def test_cache_url_has_a_digest_from_the_cache_or_refuses(
    workshop: Workshop, server: tuple[Path, str]
) -> None:
    directory, address = server
    (directory / "file").write_text("content")
    fetching(workshop, "--sha256", sha256(b"content"), f"{address}/file")
    words = ("--no-cache", "tiny", "fetch")
    build(workshop, *words)
    (directory / "file").write_text("another")
    assert "from the download cache" in build(workshop, *words)
    downloads(workshop).discard(sha256(b"content"))
    done = workshop.create(*WORDS, *words, OVERWRITE_OLD_IMAGE="1")
    assert done.returncode == 1
    assert "is not what was expected" in done.stdout


@needs_curl
def test_cache_url_says_that_the_server_does_not_have_it(
    workshop: Workshop, server: tuple[Path, str]
) -> None:
    fetching(workshop, f"{server[1]}/nothing")
    assert workshop.create(*WORDS, "tiny", "fetch").returncode == 44


@needs_curl
def test_cache_url_keeps_what_the_server_has_not_changed(
    workshop: Workshop, server: tuple[Path, str]
) -> None:
    directory, address = server
    (directory / "file").write_text("content")
    os.utime(directory / "file", (1000000000, 1000000000))
    call = f"$TMP_HOOKS_PATH/bin/cache-url {address}/file $TMP_BUILD_DIR/got\n"
    workshop.element("twice", {"bin/cache-url": PROGRAM, "extra-data.d/50-twice": call * 2})
    log = build(workshop, "tiny", "twice")
    assert log.count("for the first time") == 1
    assert log.count("Server copy has not changed") == 1


def test_a_plan_offline_finds_what_is_in_the_cache(workshop: Workshop) -> None:
    look = "cat $TMP_BUILD_DIR/downloads/store/files/*\n"
    workshop.element("look", {"fingerprint.d/50-look": look})
    workshop.element("host", {"extra-data.d/50-new": "echo x >$TMP_BUILD_DIR/downloads/new/x\n"})
    words = (*WORDS, "--offline", "tiny", "look")
    assert "not known: " in workshop.imagebuilder("plan", *words).stdout
    build(workshop, "tiny", "host")
    done = workshop.imagebuilder("plan", *words)
    assert done.returncode == 0, done.stderr
    assert "not known: " not in done.stdout
