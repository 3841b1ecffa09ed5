"""The command line: GNU getopt's rules, diskimage-builder's options."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest

from imagebuilder.batch.load import SCHEMA
from imagebuilder.errors import ConfigError
from imagebuilder.options import OPTIONS, Request, checksums, host_arch, parse, usage
from imagebuilder.sizes import UNITS

GIB, MIB = UNITS["GiB"], UNITS["MiB"]


def asked(*words: str, **environment: str) -> Request:
    return parse(words, environment)


def test_elements_and_options_mix() -> None:
    request = asked("vm", "-o", "web", "debian-minimal", "-t", "raw,tar", "-u")
    assert request.elements == ("base", "vm", "debian-minimal", "block-device-mbr")
    assert request.name == "web"
    assert request.types == ("raw", "tar")
    assert request.uncompressed


def test_two_dashes_end_the_options() -> None:
    assert asked("--", "-x").elements == ("base", "-x")


def test_long_options_can_be_abbreviated_and_joined() -> None:
    assert asked("--root-l=disk", "a").root_label == "disk"
    assert asked("--image-s", "2", "a").image_size == 2 * GIB


def test_short_options_cluster() -> None:
    request = asked("-nxu", "a")
    assert (request.no_base, request.trace, request.uncompressed) == (True, 1, True)


def test_positionals_are_split_again_and_empty_ones_ignored() -> None:
    assert asked("", "base vm", "", "debian-minimal").elements[:3] == (
        "base",
        "vm",
        "debian-minimal",
    )


def test_image_element_comes_first() -> None:
    assert asked("b", IMAGE_ELEMENT="a", SKIP_BASE="1").elements == ("a", "b")


def test_no_element_is_refused() -> None:
    with pytest.raises(ConfigError, match="At least one distribution root element"):
        asked("-o", "x", "")


def test_an_unknown_option_names_what_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"(?s)--image-sise not recognized.*--image-size"):
        asked("--image-sise", "1", "a")


def test_an_ambiguous_abbreviation_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a unique prefix"):
        asked("--image", "1", "a")


def test_vm_brings_a_block_device_unless_one_is_named() -> None:
    assert "block-device-mbr" in asked("vm", "x").elements
    assert "block-device-efi" in asked("-a", "arm64", "vm", "x").elements
    assert asked("vm", "x", "block-device-gpt").elements == ("base", "vm", "x", "block-device-gpt")
    assert asked("x").elements == ("base", "x")


def test_sizes_are_decimal_and_trailing_text_is_ignored() -> None:
    assert asked("--image-size", "2.5", "a").image_size == 5 * GIB // 2
    assert asked("--image-size", "3GB", "a").image_size == 3 * GIB
    assert asked("--image-extra-size", "100", "a").extra_size == 100 * MIB
    assert asked("--mkfs-journal-size", "8", "a").journal_size == 8 * MIB


def test_a_size_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="--image-size: not a number: 'big'"):
        asked("--image-size", "big", "a")


def test_packages_add_up_and_may_be_empty() -> None:
    assert asked("-p", "a,b", "-p", "", "-p", "c", "x").packages == ("a", "b", "c")


def test_the_last_name_wins_and_a_single_type_is_stripped_from_it() -> None:
    assert asked("-o", "a", "-o", "b.qcow2", "x").output_name == "b"
    assert asked("-o", "b.qcow", "x").output_name == "b.qcow"
    assert asked("-o", "b.raw", "-t", "raw,qcow2", "x").output_name == "b.raw"


@pytest.mark.parametrize(
    ("text", "names"),
    [("1", "md5,sha256"), ("0", ""), ("sha256", "sha256"), ("md5 sha256", "md5,sha256")],
)
def test_checksum_variable(text: str, names: str) -> None:
    assert checksums(text) == names


def test_variables_set_options_and_options_win() -> None:
    request = asked("--image-size", "1", "a", DIB_IMAGE_SIZE="5", DIB_NO_TMPFS="1", ARCH="arm64")
    assert (request.image_size, request.no_tmpfs, request.arch) == (GIB, True, "arm64")


def test_a_variable_says_what_its_option_does() -> None:
    valued = [option for option in OPTIONS if option.variable and option.metavar]
    assert len(valued) > 12
    for option in valued:
        flag = f"--{option.long}" if option.long else f"-{option.short}"
        by_option, by_variable = asked(flag, "3", "a"), asked("a", **{option.variable: "3"})
        assert getattr(by_option, option.field) == getattr(by_variable, option.field), option
        assert getattr(by_option, option.field) != getattr(asked("a"), option.field), option


def test_an_empty_variable_is_unset() -> None:
    request = asked("a", DIB_IMAGE_SIZE="", ARCH="", DIB_OFFLINE="")
    assert (request.image_size, request.arch, request.offline) == (None, host_arch(), False)


def test_help_and_version_need_no_element() -> None:
    assert asked("-h").help
    assert asked("--version").version


def test_every_option_is_in_the_help_and_is_understood() -> None:
    text = usage("disk-image-create")
    assert len(OPTIONS) > 20
    for option in OPTIONS:
        flag = f"--{option.long}" if option.long else f"-{option.short}"
        assert flag in text
        words = [flag, "1"] if option.metavar else [flag]
        assert asked(*words, "element")


def test_a_ramdisk_is_made_by_an_element_of_its_own() -> None:
    words = ("-n", "debian-minimal")
    assert parse(words, {}, ramdisk=True).elements == ("ramdisk", "debian-minimal")
    assert parse(words, {"RAMDISK_ELEMENT": "a"}, ramdisk=True).elements[0] == "a"
    named = parse((*words, "--ramdisk-element", "b"), {"RAMDISK_ELEMENT": "a"}, ramdisk=True)
    assert named.elements[0] == "b"
    assert named.ramdisk
    assert not parse((*words, "--ramdisk-element", "b"), {}).ramdisk


def test_no_option_of_ours_spoils_an_abbreviation_of_diskimage_builders() -> None:
    assert asked("--no", "a").no_tmpfs
    assert asked("--in", "package", "a").install_type == "package"
    assert asked("--mkfs=-i 8192", "a").mkfs_options == "-i 8192"
    assert asked("--h").help
    assert asked("--image-s=2", "--no", "a").image_size == 2 * GIB


def test_a_variable_of_a_flag_is_off_for_few_words() -> None:
    assert not any(asked("a", DIB_NO_TMPFS=off).no_tmpfs for off in ("", "0", "no", "false"))
    assert all(asked("a", DIB_NO_TMPFS=on).no_tmpfs for on in ("1", "yes", "2", "x"))


def test_c_leaves_the_variables_that_are_about_images() -> None:
    given = {"MINE": "1", "DIB_X": "2", "PATH": "/bin", "http_proxy": "p", "break": "after-root",
             "ELEMENTS_PATH": "", "PIP_CERT": "/x", "QEMU_IMG_OPTIONS": "a=b"}  # fmt: skip
    kept = asked("-c", "a", **given).environment
    assert kept.keys() == given.keys() - {"MINE", "PIP_CERT"}
    assert asked("a", **{**given, "CLEAR_ENV": "1"}).environment == {**kept, "CLEAR_ENV": "1"}
    assert asked("a", **given).environment == given


def test_break_points_and_caches_do_not_go_together() -> None:
    assert asked("a", **{"break": "after-error"}).no_cache
    assert not asked("a", **{"break": ""}).no_cache


def test_every_key_of_files_of_images_is_an_options() -> None:
    keys = [option.key for option in OPTIONS if option.key]
    assert len(keys) == len(set(keys)) > 20
    schema = json.loads(files("imagebuilder").joinpath(SCHEMA).read_text())
    beyond = {"elements", "environment", "ramdisk"}
    assert {*keys} == schema["items"]["properties"].keys() - beyond


@pytest.mark.parametrize(
    ("option", "digits"),
    [
        ("--image-size", 400),
        ("--image-size", 11),
        ("--max-online-resize", 5000),
        ("--hook-timeout", 11),
        ("--mkfs-journal-size", 14),
    ],
)
def test_numbers_that_nothing_can_hold_are_refused(option: str, digits: int) -> None:
    with pytest.raises(ConfigError, match=r"too large: 9+$") as raised:
        parse([option, "9" * digits, "vm"], {})
    assert raised.value.where == option


@pytest.mark.parametrize(
    ("machine", "arch"),
    [
        ("x86_64", "amd64"),
        ("aarch64", "arm64"),
        ("armv7l", "armhf"),
        ("armv6l", "armhf"),
        ("ppc64le", "ppc64le"),
        ("s390x", "s390x"),
    ],
)
def test_the_hosts_architecture_has_debians_name(
    machine: str, arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert parse(["x"], {}).arch == arch
    assert parse(["x"], {"ARCH": "riscv64"}).arch == "riscv64"
