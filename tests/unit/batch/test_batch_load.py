"""Files of images become command lines as diskimage-builder makes them of the same files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imagebuilder import schema
from imagebuilder.batch.load import KEYS, SCHEMA, Image, load
from imagebuilder.errors import ConfigError

EVERY_KEY = """\
- elements: [vm, debian]
  skip-base: true
  packages: [curl, wget]
  docker-target: repo:tag
  install-type: package
  ramdisk-element: dracut-ramdisk
  root-label: root
  qemu-img-options: {preallocation: 'off', size: '3'}
  offline: true
  no-tmpfs: true
  mkfs-options: -i 8192
  mkfs-journal-size: 32
  min-tmpfs: 3
  max-online-resize: 1000
  image-cache: /var/cache/dib
  image-extra-size: 100
  image-size: 5
  checksum: true
  logfile: web.log
  clear: true
  uncompressed: true
  debug-trace: 2
  ramdisk: false
  environment: {DIB_RELEASE: trixie}
  types: [qcow2, tar]
  arch: amd64
  imagename: web
"""
ITS_WORDS = (
    "-o", "web", "-a", "amd64", "-t", "qcow2,tar", "-x", "-x", "-u", "-c", "--logfile", "web.log",
    "--checksum", "--image-size", "5", "--image-extra-size", "100",
    "--image-cache", "/var/cache/dib", "--max-online-resize", "1000", "--min-tmpfs", "3",
    "--mkfs-journal-size", "32", "--mkfs-options", "-i 8192", "--no-tmpfs", "--offline",
    "--qemu-img-options", "preallocation=off,size=3", "--root-label", "root",
    "--ramdisk-element", "dracut-ramdisk", "--install-type", "package",
    "--docker-target", "repo:tag", "-p", "curl,wget", "-n", "vm", "debian",
)  # fmt: skip


def images(directory: Path, *texts: str) -> tuple[Image, ...]:
    """The images of files with these texts."""
    files = [directory / f"{number}.yaml" for number, _ in enumerate(texts)]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    return load(files)


def words(directory: Path, text: str) -> tuple[str, ...]:
    (image,) = images(directory, text)
    return image.words


def refusal(directory: Path, *texts: str) -> str:
    with pytest.raises(ConfigError) as caught:
        images(directory, *texts)
    return str(caught.value).removeprefix(f"{directory}/")


def test_words_come_in_a_fixed_order_and_elements_last(tmp_path: Path) -> None:
    assert words(tmp_path, EVERY_KEY) == ITS_WORDS


def test_every_key_of_the_schema_becomes_words_or_says_how_to_build() -> None:
    described = schema.descriptions(SCHEMA, "items", "properties")
    assert set(described) - {key for key, _, _ in KEYS} == {"environment", "ramdisk"}
    assert [key for key, _, _ in KEYS] == [key for key in described if key in dict_of_keys()]


def dict_of_keys() -> set[str]:
    return {key for key, _, _ in KEYS}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("imagename: ''", ()),
        ("types: []", ()),
        ("packages: []", ()),
        ("debug-trace: 0", ()),
        ("debug-trace: 1", ("-x",)),
        ("checksum: false", ()),
        ("clear: false", ()),
        ("logfile: ''", ()),
        ("elements: []", ()),
        ("elements: ['a b', c]", ("a b", "c")),
        ("qemu-img-options: {}", ()),
        ("image-size: 2.0", ("--image-size", "2")),
        ("ramdisk: true", ()),
    ],
)
def test_what_is_empty_or_off_becomes_no_words(
    tmp_path: Path, line: str, expected: tuple[str, ...]
) -> None:
    assert words(tmp_path, f"- {line}\n") == expected


def test_entries_of_one_name_merge_where_the_first_is(tmp_path: Path) -> None:
    text = """\
- {imagename: web, elements: [vm], environment: {A: '1', B: '2'}, arch: amd64, image-size: 3}
- {imagename: db, elements: [vm]}
- {imagename: web, elements: [debian], environment: {B: '3', C: '4'}, image-size: 5}
"""
    web, db = images(tmp_path, text)
    assert web.words == ("-o", "web", "-a", "amd64", "--image-size", "5", "vm", "debian")
    assert web.environment == {"A": "1", "B": "3", "C": "4"}
    assert db.words == ("-o", "db", "vm")


def test_an_entry_without_a_name_goes_on_with_the_one_before_in_any_file(tmp_path: Path) -> None:
    (web, other) = images(
        tmp_path,
        "- {imagename: web, types: [tar]}\n",
        "- {types: [raw]}\n- {imagename: other}\n- {elements: [vm]}\n",
    )
    assert web.words == ("-o", "web", "-t", "tar,raw")
    assert other.words == ("-o", "other", "vm")


def test_a_file_that_names_no_image_is_about_the_one_called_image(tmp_path: Path) -> None:
    first, second = images(tmp_path, "- {elements: [vm]}\n- {imagename: b}\n- {imagename: image}\n")
    assert (first.name, first.words) == ("image", ("-o", "image", "vm"))
    assert second.name == "b"


def test_merging_changes_no_other_image(tmp_path: Path) -> None:
    text = """\
- &base {imagename: a, elements: [vm], environment: {A: '1'}}
- {<<: *base, imagename: b}
- {imagename: a, elements: [x], environment: {A: '2'}}
"""
    first, second = images(tmp_path, text)
    assert first.words == ("-o", "a", "vm", "x")
    assert second.words == ("-o", "b", "vm")
    assert second.environment == {"A": "1"}


def test_json_is_read_too(tmp_path: Path) -> None:
    assert words(tmp_path, json.dumps([{"imagename": "web"}])) == ("-o", "web")


def test_an_image_shows_as_a_line_for_the_shell() -> None:
    environment = {"A": "it's", "B": ""}
    image = Image(name="a", where="", words=("-o", "a b", "vm"), environment=environment)
    assert str(image) == "A='it'\"'\"'s' B='' disk-image-create -o 'a b' vm"


def test_a_ramdisk_shows_with_its_own_program(tmp_path: Path) -> None:
    (image,) = images(tmp_path, "- {ramdisk: true, elements: [x]}\n")
    assert (image.ramdisk, str(image)) == (True, "ramdisk-image-create x")


def test_an_image_is_where_its_first_entry_is(tmp_path: Path) -> None:
    found = images(tmp_path, "- imagename: a\n", "- imagename: b\n- imagename: a\n")
    assert [image.where for image in found] == [f"{tmp_path}/0.yaml:1:3", f"{tmp_path}/1.yaml:1:3"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "0.yaml: None is not of type 'array'"),
        ("imagename: a\n", "0.yaml:1:1: {'imagename': 'a'} is not of type 'array'"),
        ("- a\n", "0.yaml:1:3: in '0': 'a' is not of type 'object'"),
        ("- imagename: 5\n", "0.yaml:1:14: in '0.imagename': 5 is not of type 'string'"),
        ("- imagename: a\n- image-size: 0\n", "0.yaml:2:15: in '1.image-size': 0 is less than"),
        ("- arch: vax\n", "0.yaml:1:9: in '0.arch': 'vax' is not one of"),
        ("- debug-trace: 3\n", "0.yaml:1:16: in '0.debug-trace': 3 is not one of [0, 1, 2]"),
        ("- elements: vm\n", "0.yaml:1:13: in '0.elements': 'vm' is not of type 'array'"),
        ("- environment: {A: 1}\n", "0.yaml:1:20: in '0.environment.A': 1 is not of type"),
        ("- checksum: 'yes'\n", "0.yaml:1:13: in '0.checksum': 'yes' is not of type 'boolean'"),
        ("- imagename: a\n  imagname: b\n", "0.yaml:2:3: in '0': unknown key 'imagname'"),
        ("- imagename: a\n  imagename: b\n", "0.yaml:2:3: is not valid YAML: the key"),
        ("[]\n", "0.yaml: there is no image in it"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    message = refusal(tmp_path, text)
    assert message.startswith(expected)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("- imagname: b\n", "did you mean 'imagename'"),
        ("- environment: {A: 1}\n", "text: quote it"),
        ("- install-type: src\n", "how elements install software"),
        ("{}", "like '- imagename: web'"),
    ],
)
def test_what_is_wrong_comes_with_a_remedy(tmp_path: Path, text: str, hint: str) -> None:
    assert hint in refusal(tmp_path, text).partition("hint: ")[2]


def test_the_second_file_is_named_for_what_is_wrong_in_it(tmp_path: Path) -> None:
    assert refusal(tmp_path, "- imagename: a\n", "- x: 1\n").startswith("1.yaml:1:3: ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        load([tmp_path / "none.yaml"])
