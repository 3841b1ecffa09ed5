"""The table of host tools."""

from __future__ import annotations

import pytest

from imagebuilder.errors import ConfigError
from imagebuilder.machine import firmware
from imagebuilder.machine.model import Firmware
from imagebuilder.tools import table as tools


def names(features: tuple[str, ...]) -> list[str]:
    return [tool.name for tool in tools.needed(features)]


def test_a_feature_brings_its_tools_in_the_tables_order() -> None:
    assert names(("vfat",)) == ["mkfs.vfat", "mmd", "mcopy"]
    assert names(("uefi", "boot")) == ["qemu-img", "qemu-system-x86_64", "UEFI firmware"]


def test_an_unknown_feature_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match="no tools are known for 'teleport'") as caught:
        tools.needed(("shell", "teleport"))
    assert "qcow2" in caught.value.hint


def test_no_row_is_there_twice() -> None:
    every = [tool.name for tool in tools.TOOLS]
    assert len(every) > 20
    assert len(set(every)) == len(every)


def test_every_tool_that_is_not_for_tests_has_a_package_in_every_family() -> None:
    used = [tool for tool in tools.TOOLS if tool.features != ("test",)]
    assert len(used) > 15
    for tool in used:
        assert all(tools.package(tool, (family,)) for family in tools.INSTALL), tool.name


def test_jobs_and_elements_name_known_features_only() -> None:
    named = {f for features in (*tools.JOBS.values(), *tools.ELEMENTS.values()) for f in features}
    assert {"debian", "uefi"} <= named <= set(tools.FEATURES)


def test_what_tests_need_includes_what_builds_and_boots_need() -> None:
    assert set(tools.JOBS["test"]) >= {*tools.JOBS["build"], *tools.JOBS["boot"]}


def test_elements_add_to_what_any_image_needs() -> None:
    vm = ("ext4", "vfat", "qcow2")
    assert tools.of_elements(["vm", "debian-minimal", "debian"]) == (
        *tools.ANY_IMAGE,
        *vm,
        "debian",
    )


def test_the_firmware_that_is_looked_for_is_the_firmware_that_is_used() -> None:
    row = next(tool for tool in tools.TOOLS if tool.name == "UEFI firmware")
    used = firmware.ROMS["x86_64", Firmware.UEFI]
    assert row.files == tuple(str(rom.code) for rom in used)


@pytest.mark.parametrize(
    ("os_release", "families"),
    [
        ('ID=debian\nVERSION_ID="12"\n', ("debian",)),
        ("ID=ubuntu\nID_LIKE=debian\n", ("ubuntu", "debian")),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', ("redhat",)),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', ("suse",)),
        ("ID=plan9\n", ()),
        ("", ()),
    ],
)
def test_a_host_has_families(os_release: str, families: tuple[str, ...]) -> None:
    assert tools.families(os_release) == families


def test_the_nearest_family_names_the_package() -> None:
    row = next(tool for tool in tools.TOOLS if tool.name == "chromium")
    assert tools.package(row, ("ubuntu", "debian")) == "chromium-browser"
    assert tools.package(row, ("debian",)) == "chromium"
    assert tools.package(row, ()) == ""


@pytest.mark.parametrize(
    ("version", "minimum", "older"),
    [
        ("1.9", "1.10", True),
        ("1.10", "1.9", False),
        ("2.0", "2.0", False),
        ("2", "2.0.1", True),
        ("0.1", "", False),
    ],
)
def test_versions_compare_as_numbers(version: str, minimum: str, *, older: bool) -> None:
    assert tools.older(version, minimum) is older
