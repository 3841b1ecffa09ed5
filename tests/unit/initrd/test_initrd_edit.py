"""Changes of an initrd, seen as the kernel would see them."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagebuilder.codec import table
from imagebuilder.errors import ConfigError
from imagebuilder.initrd import edit, load, newc, rootfs
from imagebuilder.initrd.model import Archive, Entry, Initrd
from imagebuilder.initrd.rootfs import Rootfs

DIRECTORY, FILE, LINK, DEVICE = 0o40755, 0o100644, 0o120777, 0o20600


def directory(name: str) -> Entry:
    return Entry(name=name, mode=DIRECTORY)


def file(name: str, content: bytes = b"x", *, ino: int = 0, nlink: int = 1) -> Entry:
    return Entry(name=name, mode=FILE, content=content, ino=ino, nlink=nlink)


def link(name: str, target: str) -> Entry:
    return Entry(name=name, mode=LINK, content=target.encode())


MERGED = (
    directory("usr"), directory("usr/lib"), directory("usr/bin"), link("lib", "usr/lib"),
    file("usr/bin/a", b"", ino=9, nlink=3), file("usr/bin/b", b"", ino=9, nlink=3),
    file("usr/bin/c", b"busy", ino=9, nlink=3), file("init", b"#!/bin/sh\n"),
    Entry(name="dev", mode=DIRECTORY), Entry(name="dev/console", mode=DEVICE, rdev=(5, 1)),
)  # fmt: skip
MICROCODE = (
    directory("kernel"), directory("kernel/x86"), directory("kernel/x86/microcode"),
    file("kernel/x86/microcode/GenuineIntel.bin", b"m" * 100),
)  # fmt: skip


def archive(entries: Sequence[Entry]) -> bytes:
    return newc.write(edit.rounded(Archive(entries=tuple(entries))))


BASE = archive(MICROCODE) + gzip.compress(archive(MERGED), mtime=0)


def seen(data: bytes) -> Rootfs:
    root = rootfs.of(load.load(data, "x"))
    assert root.lost == []
    return root


def edited(initrd: Initrd) -> Rootfs:
    return seen(load.write(initrd))


def base() -> Initrd:
    return load.load(BASE, "initrd.img")


def test_appending_leaves_what_was_there_to_the_byte() -> None:
    assert edit.append(BASE, [file("x")], "x").startswith(BASE)


def test_an_appended_segment_is_compressed_like_the_last_one() -> None:
    new = load.load(edit.append(BASE, [file("x")], "x"), "x")
    assert [segment.kind for segment in new.segments] == ["cpio", "gzip", "gzip"]


def test_an_appended_segment_starts_after_four_zeros_at_a_multiple_of_four() -> None:
    new = load.load(edit.append(BASE, [file("x")], "x"), "x").segments[-1]
    assert new.before >= 4
    assert new.start % 4 == 0


@pytest.mark.parametrize("first", ["cpio", *table.BY_NAME])
@pytest.mark.parametrize("second", ["cpio", *table.BY_NAME])
def test_every_kind_can_follow_every_kind(first: str, second: str) -> None:
    whole = archive(MERGED)
    data = whole if first == "cpio" else table.BY_NAME[first].pack(whole, b"")
    new = load.load(edit.append(data, [file("etc")], "x", second), "x")
    assert [segment.kind for segment in new.segments] == [first, second]
    assert not any(segment.objection for segment in new.segments)


def test_an_addition_below_a_symlink_goes_where_it_leads() -> None:
    root = seen(edit.append(BASE, [directory("lib"), directory("lib/x"), file("lib/x/y")], "x"))
    assert "usr/lib/x/y" in root
    assert root.files["lib"].target == "usr/lib"


def test_missing_directories_are_added() -> None:
    root = seen(edit.append(BASE, [file("etc/a/b/c")], "x"))
    assert root.files["etc/a/b"].mode == DIRECTORY


def test_directories_that_are_there_keep_their_mode() -> None:
    mine = Entry(name="usr", mode=0o40700)
    assert seen(edit.append(BASE, [mine, file("usr/x")], "x")).files["usr"].mode == DIRECTORY


def test_a_hard_link_that_is_replaced_leaves_the_other_names_alone() -> None:
    root = seen(edit.append(BASE, [file("usr/bin/a", b"mine")], "x"))
    assert root.files["usr/bin/a"].content == b"mine"
    assert root.files["usr/bin/b"].content == b"busy"


def test_a_device_that_is_replaced_gets_its_new_number() -> None:
    null = Entry(name="dev/console", mode=DEVICE, rdev=(1, 3))
    assert seen(edit.append(BASE, [null], "x")).files["dev/console"].rdev == (1, 3)


def test_nothing_new_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"x: nothing to add: all of it is there already"):
        edit.append(BASE, [directory("usr")], "x")


def test_appending_behind_what_the_kernel_does_not_read_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"would not read what follows segment 1: .*crc64"):
        edit.append(lzma.compress(archive(MERGED)), [file("x")], "x")


def test_a_file_in_the_place_of_a_directory_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"usr/bin is a directory in it, and cannot become"):
        edit.append(BASE, [file("usr/bin")], "x")


def test_a_directory_in_the_place_of_a_file_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"init is a file in it, not a directory"):
        edit.append(BASE, [file("init/x")], "x")


def test_an_edit_keeps_early_segments_to_the_byte() -> None:
    new = load.write(edit.delete(base(), "init"))
    assert new.startswith(archive(MICROCODE))
    assert load.load(new, "x").segments[0].early


def test_new_files_go_into_the_last_segment_that_is_not_early() -> None:
    new = load.load(load.write(edit.add(base(), [file("x")])), "x")
    assert [segment.entries for segment in new.segments] == [4, 11]


def test_an_initrd_of_early_segments_alone_gets_another() -> None:
    early = load.load(archive(MICROCODE), "x")
    new = load.load(load.write(edit.add(early, [file("init")])), "x")
    assert [segment.early for segment in new.segments] == [True, False]


def test_a_deleted_file_is_gone_from_every_segment() -> None:
    twice = edit.append(BASE, [file("init", b"newer")], "x")
    new = load.write(edit.delete(load.load(twice, "x"), "init"))
    assert b"init" not in b"".join(newc.write_all(s.archives) for s in load.load(new, "x").segments)


def test_a_deleted_directory_is_gone_with_all_that_is_in_it() -> None:
    root = edited(edit.delete(base(), "usr/bin"))
    assert not [path for path in root.files if path.startswith("usr/bin")]


def test_a_deleted_symlink_leaves_its_target() -> None:
    root = edited(edit.delete(base(), "lib"))
    assert "lib" not in root
    assert root.is_directory("usr/lib")


def test_a_deleted_hard_link_leaves_its_content_with_the_others() -> None:
    new = edit.delete(base(), "usr/bin/c")
    root = edited(new)
    assert root.files["usr/bin/b"].content == b"busy"
    entries = new.segments[1].archives[0].entries
    assert [(e.nlink, e.content) for e in entries if e.ino == 9] == [(2, b""), (2, b"busy")]


def test_a_changed_hard_link_changes_under_all_its_names() -> None:
    root = edited(edit.change(base(), "usr/bin/a", lambda content: content.upper()))
    assert {root.files[f"usr/bin/{name}"].content for name in "abc"} == {b"BUSY"}


def test_owners_devices_and_dates_survive_an_edit() -> None:
    odd = Entry(name="odd", mode=0o104711, uid=7, gid=8, mtime=9, content=b"x")
    initrd = load.load(gzip.compress(archive((*MERGED, odd))), "x")
    after = edit.change(initrd, "init", lambda _: b"new")
    before, entries = (i.segments[0].archives[0].entries for i in (initrd, after))
    assert [e for e in entries if e.name != "init"] == [e for e in before if e.name != "init"]


def test_a_path_that_is_not_there_cannot_be_deleted() -> None:
    with pytest.raises(ConfigError, match=r"initrd.img: sbin/init is not in it\n.*there is init"):
        edit.delete(base(), "sbin/init")


def test_only_regular_files_have_content_to_change() -> None:
    with pytest.raises(ConfigError, match=r"usr/lib is no regular file"):
        edit.change(base(), "lib", lambda content: content)


def test_other_compression_leaves_early_segments_raw() -> None:
    new = load.load(load.write(edit.converted(base(), "xz")), "x")
    assert [segment.kind for segment in new.segments] == ["cpio", "xz"]


def test_what_the_kernel_would_not_read_is_mended_by_an_edit() -> None:
    wrong = load.load(lzma.compress(archive(MERGED)), "x")
    new = load.load(load.write(edit.mended(wrong)), "x")
    assert new.segments[0].objection == ""


def test_a_second_segment_is_where_the_kernel_finds_it_after_an_edit() -> None:
    data = BASE + bytes(1) + gzip.compress(archive([file("extra")]))
    new = load.load(load.write(edit.delete(load.load(data, "x"), "init")), "x")
    assert new.segments[2].before >= 4
    assert "extra" in rootfs.of(new)


PATHS = st.sampled_from([
    "a",
    "usr/bin/a",
    "usr/bin/b",
    "lib/x",
    "lib",
    "d/e/f",
    "dev/console",
    "init",
])


@settings(deadline=None, max_examples=80)
@given(paths=st.lists(PATHS, unique=True, min_size=1, max_size=4), content=st.binary(max_size=9))
def test_adding_and_appending_come_to_the_same(paths: list[str], content: bytes) -> None:
    wanted = [file(path, content) for path in paths]
    one, other = edited(edit.add(base(), wanted)), seen(edit.append(BASE, wanted, "x"))
    assert facts(one) == facts(other)


@settings(deadline=None, max_examples=60)
@given(path=PATHS.filter(lambda path: path != "lib"))
def test_deleting_what_was_added_gives_what_was_there(path: str) -> None:
    first = edit.add(base(), [file(path, b"new")])
    real = rootfs.of(first).real(path, follow=False)
    after, before = facts(edited(edit.delete(first, path))), facts(rootfs.of(base()))
    assert {p: f for p, f in before.items() if p != real}.items() <= after.items()
    assert real not in after


def facts(root: Rootfs) -> dict[str, tuple[object, ...]]:
    return {p: (f.mode, f.uid, f.gid, f.rdev, f.content) for p, f in root.files.items()}
