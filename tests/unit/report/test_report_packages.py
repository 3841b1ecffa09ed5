"""dpkg's status file, whatever is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagebuilder.report.packages import Package, load, parse

STATUS = """\
Package: zlib1g
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Version: 1:1.2.13.dfsg-1
Installed-Size: 168
Description: compression library - runtime
 Status: deinstall ok config-files
 .
 zlib is a library.

Package: gone
Status: deinstall ok config-files
Version: 1

Package: adduser
Status: hold ok installed
Installed-Size: 686
Architecture: all
Version: 3.134
"""


def test_installed_packages_are_listed_by_name() -> None:
    assert parse(STATUS) == (
        Package(name="adduser", version="3.134", architecture="all", size=686 * 1024),
        Package(name="zlib1g", version="1:1.2.13.dfsg-1", architecture="amd64", size=168 * 1024),
    )


def test_field_names_may_have_any_case() -> None:
    (package,) = parse("PACKAGE: a\nstatus: install ok installed\nVERSION: 1\n")
    assert package == Package(name="a", version="1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n \n\n",
        "no colon here",
        "Status: install ok installed\n",
        "Package:\nStatus: install ok installed\n",
        "Package: a\nStatus: install ok half-installed\n",
        "Package: a\nStatus:\n",
        "\x00\xff: \x01\n\n::::",
    ],
)
def test_what_is_no_installed_package_is_passed_over(text: str) -> None:
    assert parse(text) == ()


@pytest.mark.parametrize("size", ["", "-3", "many", "1e9", "٣", "9" * 5000])
def test_a_size_that_is_no_number_is_none(size: str) -> None:
    (package,) = parse(f"Package: a\nStatus: install ok installed\nInstalled-Size: {size}\n")
    assert package.size == 0


def test_one_package_of_two_architectures_is_listed_twice() -> None:
    stanza = "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: "
    assert [p.architecture for p in parse(f"{stanza}i386\n\n{stanza}amd64\n")] == ["amd64", "i386"]


def test_the_list_is_read_from_a_tree(tmp_path: Path) -> None:
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_bytes(STATUS.encode() + b"\n\xff\xfe")
    assert [package.name for package in load(tmp_path)] == ["adduser", "zlib1g"]


def test_a_tree_without_dpkg_has_no_packages(tmp_path: Path) -> None:
    assert load(tmp_path) == ()


def test_the_list_is_not_read_from_outside_the_tree(tmp_path: Path) -> None:
    outside, tree = tmp_path / "status", tmp_path / "tree"
    outside.write_text(STATUS)
    (tree / "var/lib/dpkg").mkdir(parents=True)
    (tree / "var/lib/dpkg/status").symlink_to(outside)
    assert load(tree) == ()
