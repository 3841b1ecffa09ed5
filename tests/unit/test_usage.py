"""What takes how much of an image."""

from pathlib import Path

from imagebuilder.build import usage
from imagebuilder.events import Event
from imagebuilder.options import Request

MIB = 2**20


def test_directories_count_with_their_content_and_hard_links_once(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/tool").write_bytes(b"x" * MIB)
    (tmp_path / "usr/bin/same").hardlink_to(tmp_path / "usr/bin/tool")
    sizes = dict(usage.measure(tmp_path))
    assert sizes["/usr/bin/same"] >= MIB
    assert sizes["/usr/bin/tool"] == 0
    assert MIB <= sizes["/usr"] <= sizes["/"] < 2 * MIB


def test_small_ones_are_left_out_unless_all_are_wanted() -> None:
    sizes = [("/", 30 * MIB), ("/a", 20 * MIB), ("/b", 10 * MIB), ("/c", 10 * MIB - 1)]
    told = list(usage.report(sizes, least=usage.LEAST))
    assert [line.split()[-1] for line in told[1:]] == ["/", "/a", "/b"]
    assert told[1] == "      30 MiB  /"
    assert len(list(usage.report(sizes, least=0))) == 5


def test_nothing_is_said_unless_it_is_asked_for(tmp_path: Path) -> None:
    said: list[Event] = []
    usage.tell(Request(environment={"DIB_SHOW_IMAGE_USAGE": "0"}), tmp_path, said.append)
    assert said == []
    usage.tell(Request(environment={"DIB_SHOW_IMAGE_USAGE_FULL": "1"}), tmp_path, said.append)
    assert len(said) == 2
