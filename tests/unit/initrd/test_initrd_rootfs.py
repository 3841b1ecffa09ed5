"""What the kernel makes of entries, as `init/initramfs.c` has it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from imagebuilder.errors import ConfigError
from imagebuilder.initrd import load, newc, rootfs
from imagebuilder.initrd.model import Archive, Entry
from imagebuilder.initrd.rootfs import Rootfs

DIRECTORY, FILE, LINK, DEVICE = 0o40755, 0o100644, 0o120777, 0o20600


def directory(name: str) -> Entry:
    return Entry(name=name, mode=DIRECTORY)


def file(name: str, content: bytes = b"x", *, ino: int = 0, nlink: int = 1) -> Entry:
    return Entry(name=name, mode=FILE, content=content, ino=ino, nlink=nlink)


def link(name: str, target: str) -> Entry:
    return Entry(name=name, mode=LINK, content=target.encode())


def made(*archives: Sequence[Entry]) -> Rootfs:
    data = b"".join(newc.write(Archive(entries=tuple(entries))) for entries in archives)
    return rootfs.of(load.load(data, "x"))


def test_names_may_begin_with_a_dot_or_a_slash() -> None:
    root = made([directory("."), directory("./etc"), file("/etc/x")])
    assert sorted(root.files) == ["etc", "etc/x"]


def test_a_later_file_wins() -> None:
    assert made([file("x", b"old")], [file("x", b"new")]).files["x"].content == b"new"


def test_a_file_is_put_where_symlinks_on_the_way_lead() -> None:
    root = made([directory("usr"), directory("usr/lib"), link("lib", "usr/lib")], [file("lib/x")])
    assert "usr/lib/x" in root
    assert "lib/x" not in root


def test_a_directory_takes_the_place_of_a_symlink() -> None:
    root = made(
        [directory("usr"), directory("usr/lib"), link("lib", "usr/lib")], [directory("lib")]
    )
    assert root.is_directory("lib")
    assert root.real("lib/x") == "lib/x"


def test_a_file_takes_the_place_of_a_symlink_and_not_of_its_target() -> None:
    root = made([file("busybox"), link("sh", "busybox")], [file("sh", b"mine")])
    assert (root.files["busybox"].content, root.files["sh"].content) == (b"x", b"mine")


def test_a_file_without_its_directory_is_lost() -> None:
    root = made([file("etc/x")])
    assert not root.files
    assert [why for _, why in root.lost] == ["its directory is missing"]


def test_a_directory_with_content_is_lost() -> None:
    root = made([Entry(name="etc", mode=DIRECTORY, content=b"x")])
    assert [why for _, why in root.lost] == ["it is no file and yet has content"]


def test_the_kernels_own_directories_are_there() -> None:
    assert "dev/null" in made([Entry(name="dev/null", mode=DEVICE, rdev=(1, 3))])


def test_a_file_does_not_take_the_place_of_a_full_directory() -> None:
    root = made([directory("etc"), file("etc/x")], [file("etc")])
    assert root.is_directory("etc")
    assert [why for _, why in root.lost] == ["a directory that is not empty is in its place"]


def test_names_of_one_file_share_its_content() -> None:
    root = made([file("a", b"", ino=5, nlink=2), file("b", b"both", ino=5, nlink=2)])
    assert root.files["a"] is root.files["b"]
    assert root.files["a"].content == b"both"


def test_names_are_shared_within_one_archive_only() -> None:
    root = made([file("a", b"1", ino=5, nlink=2)], [file("b", b"2", ino=5, nlink=2)])
    assert root.files["a"] is not root.files["b"]


def test_a_file_written_over_changes_under_all_its_names() -> None:
    links = [file("a", b"", ino=5, nlink=2), file("b", b"both", ino=5, nlink=2)]
    assert made(links, [file("a", b"new")]).files["b"].content == b"new"


def test_symlinks_in_a_circle_are_refused() -> None:
    root = made([link("a", "b"), link("b", "a")])
    with pytest.raises(ConfigError, match=r"a/x: symlinks lead in a circle"):
        root.real("a/x")


def test_dots_lead_no_further_than_the_root() -> None:
    assert made([directory("etc")]).real("../../etc/./x") == "etc/x"


def test_a_path_that_is_not_there_is_named_with_one_that_is() -> None:
    root = made([directory("usr"), file("usr/init")])
    with pytest.raises(ConfigError) as caught:
        root.find("sbin/init", "initrd.img")
    assert str(caught.value) == "initrd.img: sbin/init is not in it\n  hint: there is usr/init"
