"""Downloads: what is kept is what it was, whoever writes, dies or tampers."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from imagebuilder.cache import lock
from imagebuilder.cache.downloads import Downloads, is_url
from imagebuilder.events import Event, Said

URL = "http://mirror.example/debian/dists/bookworm/InRelease"


@pytest.fixture
def downloads(tmp_path: Path) -> Downloads:
    made = Downloads(tmp_path / "downloads")
    assert made.make()
    return made


def put(downloads: Downloads, content: bytes, name: str = "source") -> str:
    source = downloads.root.with_name(name)
    source.write_bytes(content)
    return downloads.keep(source)


def test_a_file_is_kept_under_the_digest_of_its_content(downloads: Downloads) -> None:
    digest = put(downloads, b"package")
    assert digest == hashlib.sha256(b"package").hexdigest()
    found = downloads.find(digest)
    assert found
    assert found.read_bytes() == b"package"


def test_the_time_of_the_origin_is_kept(downloads: Downloads) -> None:
    source = downloads.root.with_name("source")
    source.write_bytes(b"x")
    os.utime(source, (1000, 2000))
    digest = downloads.keep(source)
    downloads.used(digest)
    assert downloads.path(digest).stat().st_mtime == 2000
    assert time.time() - downloads.path(digest).stat().st_atime < 60


@pytest.mark.parametrize("damage", ["changed", "truncated", "longer", "empty"])
def test_what_is_damaged_is_a_miss_and_goes(downloads: Downloads, damage: str) -> None:
    digest = put(downloads, b"package")
    wrong = {"changed": b"pacKage", "truncated": b"pack", "longer": b"package!", "empty": b""}
    downloads.path(digest).write_bytes(wrong[damage])
    told: list[Event] = []
    assert Downloads(downloads.root, told.append).find(digest) is None
    assert told == [Said(f"cached download {digest[:12]} was damaged", warning=True)]
    assert downloads.digests() == ()


def test_keeping_a_file_again_replaces_a_damaged_one(downloads: Downloads) -> None:
    digest = put(downloads, b"package")
    downloads.path(digest).write_bytes(b"pack")
    assert put(downloads, b"package") == digest
    assert downloads.find(digest)


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory", "nothing"])
def test_only_regular_files_are_taken(downloads: Downloads, kind: str) -> None:
    source = downloads.root.with_name("odd")
    match kind:
        case "symlink":
            source.symlink_to("/etc/passwd")
        case "fifo":
            os.mkfifo(source)
        case "directory":
            source.mkdir()
        case _:
            pass
    told: list[Event] = []
    assert Downloads(downloads.root, told.append).keep(source) == ""
    assert len(told) == 1
    assert "odd is not kept: " in str(told[0])
    assert downloads.digests() == ()
    assert list((downloads.root / "drafts").iterdir()) == []


def test_an_address_leads_to_a_digest(downloads: Downloads) -> None:
    digest = put(downloads, b"index")
    assert downloads.recall(URL) == ""
    downloads.remember(URL, digest)
    assert downloads.recall(URL) == digest
    assert [entry.url for entry in downloads.entries()] == [URL]


def test_a_record_of_another_address_is_not_believed(downloads: Downloads) -> None:
    downloads.remember(URL, put(downloads, b"index"))
    (record,) = (downloads.root / "urls").iterdir()
    record.write_text(record.read_text().replace("bookworm", "bullseye"))
    assert downloads.recall(URL) == ""


@pytest.mark.parametrize("url", ["", "http://a/b c", "http://a/\n", "http://a/é", "http://" * 1000])
def test_what_is_no_address_is_not_written_down(downloads: Downloads, url: str) -> None:
    assert not is_url(url)
    downloads.remember(url, put(downloads, b"index"))
    assert list((downloads.root / "urls").iterdir()) == []


def test_a_store_that_cannot_be_made_keeps_nothing_and_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    downloads = Downloads(tmp_path / "file" / "downloads")
    assert not downloads.make()
    assert downloads.keep(tmp_path / "file") == ""
    assert downloads.digests() == ()
    assert downloads.find("ab" * 32) is None


def test_remains_of_the_dead_are_swept_and_drafts_of_the_living_are_not(
    downloads: Downloads,
) -> None:
    (downloads.root / "drafts" / "dead").write_bytes(b"half")
    with lock.exclusive(downloads.root / "drafts" / "alive"):
        downloads.sweep()
        assert [path.name for path in (downloads.root / "drafts").iterdir()] == ["alive"]


def test_addresses_of_what_is_gone_are_swept(downloads: Downloads) -> None:
    digest = put(downloads, b"index")
    downloads.remember(URL, digest)
    downloads.discard(digest)
    downloads.sweep()
    assert list((downloads.root / "urls").iterdir()) == []


def test_many_at_once_keep_the_same_file_once(downloads: Downloads) -> None:
    source = downloads.root.with_name("source")
    source.write_bytes(b"package" * 100000)
    kept: list[str] = []
    threads = [
        threading.Thread(target=lambda: kept.append(downloads.keep(source))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(kept)) == 1
    assert len(kept) == 8
    assert downloads.digests() == (kept[0],)
    assert downloads.find(kept[0])


def test_a_reader_keeps_what_it_has_opened(downloads: Downloads) -> None:
    digest = put(downloads, b"package")
    with downloads.path(digest).open("rb") as file:
        assert downloads.discard(digest)
        assert file.read() == b"package"


WRITER = """
import sys
from pathlib import Path
from imagebuilder.cache.downloads import Downloads
downloads = Downloads(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    for number in range(4):
        downloads.keep(Path(sys.argv[2]) / str(number))
        downloads.remember(f"http://mirror.example/{number}", "ab" * 32)
"""


def test_a_writer_that_is_killed_leaves_nothing_wrong(downloads: Downloads) -> None:
    sources = downloads.root.with_name("sources")
    sources.mkdir()
    for number in range(4):
        (sources / str(number)).write_bytes(bytes([number]) * 3_000_000)
    for pause in (0.01, 0.03, 0.05, 0.08, 0.13):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, downloads.root, sources], stdout=subprocess.PIPE
        )
        assert writer.stdout
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(pause)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    assert downloads.digests()
    assert [digest for digest in downloads.digests() if downloads.find(digest) is None] == []
    downloads.sweep()
    assert list((downloads.root / "drafts").iterdir()) == []
