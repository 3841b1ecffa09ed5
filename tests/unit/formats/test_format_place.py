import errno
import fcntl
import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagebuilder.errors import BuildError, CommandError, ConfigError, SpaceError
from imagebuilder.formats import place
from imagebuilder.formats.model import Output

MOMENT = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def output(path: Path, *checksums: str, overwrite: bool = False) -> Output:
    return Output(path=path, format="raw", checksums=checksums, overwrite=overwrite)


def put(path: Path, content: bytes, *checksums: str, overwrite: bool = False) -> None:
    wanted = output(path, *checksums, overwrite=overwrite)
    place.place(wanted, lambda target: target.write_bytes(content), lambda: len(content))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def refuse(target: Path) -> None:
    target.write_bytes(b"half")
    raise OSError(errno.EIO, "Input/output error")


def fill_up(target: Path) -> None:
    target.write_bytes(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_file_has_what_was_written_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    put(tmp_path / "web.raw", b"content")
    assert (tmp_path / "web.raw").read_bytes() == b"content"
    assert names(tmp_path) == ["web.raw"]


def test_the_artefact_knows_its_size_and_digests(tmp_path: Path) -> None:
    wanted = output(tmp_path / "web.raw", "sha256")
    made = place.place(wanted, lambda target: target.write_bytes(b"content"), lambda: 0)
    assert (made.path, made.size) == (tmp_path / "web.raw", 7)
    assert made.digests == {"sha256": hashlib.sha256(b"content").hexdigest()}


def test_the_umask_decides_who_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        put(tmp_path / "web.raw", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "web.raw").stat().st_mode & 0o777 == 0o640


def test_until_it_is_finished_the_final_name_is_not_there(tmp_path: Path) -> None:
    seen: list[bool] = []
    wanted = output(tmp_path / "web.raw")
    place.place(wanted, lambda _: seen.append((tmp_path / "web.raw").exists()), lambda: 0)
    assert seen == [False]


def test_checksum_files_name_the_path_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    put(Path("web.raw"), b"content", "md5", "sha256")
    md5, sha256 = hashlib.md5(b"content", usedforsecurity=False), hashlib.sha256(b"content")
    assert Path("web.raw.md5").read_text() == f"{md5.hexdigest()}  web.raw\n"
    assert Path("web.raw.sha256").read_text() == f"{sha256.hexdigest()}  web.raw\n"


def test_odd_characters_are_escaped_as_coreutils_does() -> None:
    assert place.checksum_line("00", Path("a\\b\nc")) == "\\00  a\\\\b\\nc\n"


def test_an_older_output_goes_on_under_another_name_with_its_checksums(tmp_path: Path) -> None:
    put(tmp_path / "web.raw", b"old", "md5")
    put(tmp_path / "web.raw", b"new", "md5")
    kept = [name for name in names(tmp_path) if name.startswith("web-")]
    assert len(kept) == 2
    assert (tmp_path / kept[0]).read_bytes() == b"old"
    assert kept[1] == kept[0] + ".md5"
    assert (
        hashlib.md5(b"old", usedforsecurity=False).hexdigest() in (tmp_path / kept[1]).read_text()
    )


def test_outputs_of_one_second_are_all_kept(tmp_path: Path) -> None:
    for number in range(4):
        put(tmp_path / "web.raw", f"{number}".encode())
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("name", "older"),
    [
        ("web.qcow2", "web-2024.05.06-07.08.09.qcow2"),
        ("web.1.raw", "web.1-2024.05.06-07.08.09.raw"),
        ("web", "web-2024.05.06-07.08.09"),
    ],
)
def test_older_outputs_are_named_as_diskimage_builder_does(name: str, older: str) -> None:
    assert place.rotated(name, MOMENT) == older


def test_overwriting_keeps_nothing_of_the_older_output(tmp_path: Path) -> None:
    put(tmp_path / "web.raw", b"old", "md5")
    put(tmp_path / "web.raw", b"new", overwrite=True)
    assert names(tmp_path) == ["web.raw"]
    assert (tmp_path / "web.raw").read_bytes() == b"new"


def test_the_target_of_a_symlink_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "web.raw").symlink_to("precious")
    put(tmp_path / "web.raw", b"new", overwrite=True)
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert not (tmp_path / "web.raw").is_symlink()


def test_a_failure_leaves_the_older_output_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path / "web.raw", b"old", "md5")
    with pytest.raises(BuildError, match=r"web\.raw: cannot be written: Input/output error"):
        place.place(output(tmp_path / "web.raw"), refuse, lambda: 0)
    assert names(tmp_path) == ["web.raw", "web.raw.md5"]
    assert (tmp_path / "web.raw").read_bytes() == b"old"


def test_a_full_disk_says_how_much_was_needed_and_is_free(tmp_path: Path) -> None:
    with pytest.raises(
        SpaceError, match=r"web\.raw: no space left: up to 3 GiB .*3221225472.*free"
    ):
        place.place(output(tmp_path / "web.raw"), fill_up, lambda: 3 * 2**30)
    assert names(tmp_path) == []


def test_a_program_that_found_the_disk_full_means_the_same(tmp_path: Path) -> None:
    def fail(target: Path) -> None:
        raise CommandError("exit status 1\nqemu-img: No space left on device", where=str(target))

    with pytest.raises(SpaceError, match="no space left"):
        place.place(output(tmp_path / "web.raw"), fail, lambda: 0)


def test_any_other_failure_of_a_program_is_its_own(tmp_path: Path) -> None:
    def fail(target: Path) -> None:
        raise CommandError("exit status 1\nqemu-img: no", where=str(target))

    with pytest.raises(CommandError, match="qemu-img: no"):
        place.place(output(tmp_path / "web.raw"), fail, lambda: 0)


def test_the_leftover_of_a_dead_builder_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".web.raw.partial-0123abcd").write_bytes(b"half")
    (tmp_path / ".other.raw.partial-0123abcd").write_bytes(b"half")
    put(tmp_path / "web.raw", b"whole")
    assert names(tmp_path) == [".other.raw.partial-0123abcd", "web.raw"]


def test_what_a_living_builder_writes_is_left_alone(tmp_path: Path) -> None:
    with (tmp_path / ".web.raw.partial-0123abcd").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        put(tmp_path / "web.raw", b"whole")
    assert names(tmp_path) == [".web.raw.partial-0123abcd", "web.raw"]


def test_a_filesystem_without_nameless_files_gets_a_hidden_name_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "O_TMPFILE", 0)  # then it is refused, as such a filesystem does
    seen: list[str] = []
    wanted = output(tmp_path / "web.raw", "md5")
    place.place(wanted, lambda _: seen.extend(names(tmp_path)), lambda: 0)
    assert seen[0].startswith(".web.raw.partial-")
    assert names(tmp_path) == ["web.raw", "web.raw.md5"]


def test_a_failure_removes_the_hidden_name_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "O_TMPFILE", 0)
    with pytest.raises(BuildError):
        place.place(output(tmp_path / "web.raw"), refuse, lambda: 0)
    assert names(tmp_path) == []


def test_a_missing_directory_is_named_before_the_build(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no directory .*/none\n.*mkdir -p"):
        place.check(output(tmp_path / "none/web.raw"))


def test_a_directory_is_not_an_output(tmp_path: Path) -> None:
    (tmp_path / "web.raw").mkdir()
    with pytest.raises(ConfigError, match=r"web\.raw: is a directory"):
        place.check(output(tmp_path / "web.raw"))


def test_a_device_is_not_an_output() -> None:
    with pytest.raises(ConfigError, match="/dev/full: is not a regular file"):
        place.check(output(Path("/dev/full")))


def test_a_directory_that_cannot_be_written_to_is_refused() -> None:
    with pytest.raises(ConfigError, match="/proc/self cannot be written to"):
        place.check(output(Path("/proc/self/web.raw")))


def test_an_absent_or_older_file_is_fine(tmp_path: Path) -> None:
    place.check(output(tmp_path / "web.raw"))
    (tmp_path / "web.raw").write_bytes(b"old")
    place.check(output(tmp_path / "web.raw"))
