"""From a request to a plan, without running anything."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from imagebuilder.element.load import builtin
from imagebuilder.errors import BuildError, ConfigError, ElementError
from imagebuilder.options import parse
from imagebuilder.plan import make, show
from imagebuilder.plan.model import Draft, Plan
from imagebuilder.sizes import UNITS

GIB, MIB = UNITS["GiB"], UNITS["MiB"]
TINY = {
    "tiny/element-provides": "operating-system\n",
    "tiny/root.d/10-tiny": "#!/bin/bash\n",
    "extra/element-deps": "tiny\n",
    "extra/package-installs.yaml": "curl:\nwget:\n  phase: pre-install.d\n",
    "extra/install.d/50-extra": "#!/bin/bash\n",
    "extra/element.yaml": (
        "summary: extra\nvariables:\n"
        "  EXTRA_LEVEL: {type: integer, default: '3', help: how much}\n"
        "  EXTRA_TERMINAL: {default: tty0, empty: true, help: where}\n"
        "  EXTRA_TOKEN: {type: string, secret: true, help: a token}\n"
    ),
}
Drafted = Callable[..., Draft]


@pytest.fixture
def drafted(tmp_path: Path) -> Drafted:
    for name, text in TINY.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def draft(*words: str, **environment: str) -> Draft:
        return make.draft(parse(words, {"ELEMENTS_PATH": str(tmp_path), **environment}))

    return draft


def finished(draft: Draft) -> Plan:
    return make.finish(draft, draft.variables)


def test_variables_are_the_contracts(drafted: Drafted, tmp_path: Path) -> None:
    variables = drafted("-n", "extra", "-o", "out", "-a", "arm64", MINE="x").variables
    assert variables["IMAGE_ELEMENT"] == "tiny extra"
    assert variables["ARCH"] == "arm64"
    assert variables["IMAGE_NAME"] == "out"
    assert variables["MINE"] == "x"
    assert variables["DIB_ROOT_LABEL"] == "cloudimg-rootfs"
    assert variables["DIB_MOUNTPOINTS"] == "/"
    assert variables["ELEMENTS_PATH"] == f"{tmp_path}:{builtin()}"
    assert variables["EXTRA_LEVEL"] == "3"


def test_variables_of_options_are_as_they_were_given(drafted: Drafted) -> None:
    words = ("-n", "extra", "--image-size", "1", "--image-size=0.3GB", "--min-tmpfs", "0.5")
    variables = drafted(*words, DIB_IMAGE_EXTRA_SIZE="7 MB", DIB_MIN_TMPFS="9").variables
    assert variables["DIB_IMAGE_SIZE"] == "0.3GB"
    assert variables["DIB_IMAGE_EXTRA_SIZE"] == "7 MB"
    assert variables["DIB_MIN_TMPFS"] == "0.5"
    assert (variables["SKIP_BASE"], variables["IMAGE_TYPE"]) == ("1", "qcow2")
    assert variables["OUT_IMAGE_PATH"] == ""
    assert drafted("-n", "extra", DIB_IMAGE_SIZE="3GB").variables["DIB_IMAGE_SIZE"] == "3GB"
    assert "DIB_IMAGE_SIZE" not in drafted("-n", "extra").variables


@pytest.mark.parametrize(
    ("element", "given", "expected"),
    [
        ("block-device-efi", {}, GIB + 525 * MIB),
        ("block-device-efi-lvm", {"IMAGEBUILDER_EXACT_SIZE": "0"}, GIB + 525 * MIB),
        ("block-device-efi", {"IMAGEBUILDER_EXACT_SIZE": "1"}, GIB),
        ("block-device-gpt", {}, GIB),
    ],
)
def test_an_efi_layout_comes_on_top_of_the_size_unless_that_is_exact(
    drafted: Drafted, element: str, given: dict[str, str], expected: int
) -> None:
    words = ("-n", "extra", element, "--image-size", "1")
    assert drafted(*words, **given).request.image_size == expected
    assert drafted("-n", "extra", element, **given).request.image_size is None


FULL = """\
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: mbr
    partitions:
      - {name: root, flags: [primary], size: 100%, mkfs: {mount: {mount_point: /}}}
      - {name: more, flags: [primary], size: 1GiB}
"""


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (FULL, "no room for partition 'more'"),
        (FULL.replace("100%", "300MiB"), "1 GiB is too small"),
        (FULL.replace("[primary], size: 100%", "[], size: 9%"), "All primary partitions"),
    ],
)
def test_a_disk_that_nothing_fits_on_is_refused_before_it_is_built(
    drafted: Drafted, document: str, message: str
) -> None:
    words = ("-n", "extra", "--image-size", "1")
    with pytest.raises(BuildError, match=message):
        drafted(*words, DIB_BLOCK_DEVICE_CONFIG=document)
    assert drafted(*words, "-t", "tar", DIB_BLOCK_DEVICE_CONFIG=document).types == ("tar",)


def test_elements_of_others_count_on_diskimage_builders_packages(
    drafted: Drafted, tmp_path: Path
) -> None:
    name = "IMAGEBUILDER_DIB_PACKAGES"
    assert drafted("-n", "extra").variables[name] == "1"  # tiny has no element.yaml
    assert drafted("-n", "extra", **{name: "0"}).variables[name] == "0"
    (tmp_path / "tiny/element.yaml").write_text("summary: tiny\n")
    assert name not in drafted("-n", "extra").variables


def test_an_empty_declared_variable_takes_its_default(drafted: Drafted) -> None:
    assert drafted("-n", "extra", EXTRA_LEVEL="").variables["EXTRA_LEVEL"] == "3"


def test_a_variable_may_be_declared_to_be_empty_if_it_is_given_so(drafted: Drafted) -> None:
    assert drafted("-n", "extra").variables["EXTRA_TERMINAL"] == "tty0"
    assert drafted("-n", "extra", EXTRA_TERMINAL="").variables["EXTRA_TERMINAL"] == ""


def test_a_wrong_value_is_refused_with_the_element(drafted: Drafted) -> None:
    with pytest.raises(ConfigError, match=r"(?s)extra/element.yaml.*EXTRA_LEVEL.*how much"):
        drafted("-n", "extra", EXTRA_LEVEL="high")


def test_a_missing_element_names_the_nearest(drafted: Drafted) -> None:
    with pytest.raises(ElementError, match=r"(?s)Element 'extro' not found.*'extra'"):
        drafted("-n", "extro")


def test_source_date_epoch_is_given_or_fixed(drafted: Drafted) -> None:
    assert finished(drafted("-n", "tiny")).epoch == make.EPOCH
    assert finished(drafted("-n", "tiny", SOURCE_DATE_EPOCH="5")).epoch == 5
    with pytest.raises(ConfigError, match="SOURCE_DATE_EPOCH: not a time: 'now'"):
        drafted("-n", "tiny", SOURCE_DATE_EPOCH="now")


def test_a_disk_can_come_from_a_variable_or_its_file(drafted: Drafted, tmp_path: Path) -> None:
    root = "{base: image0, name: mkfs_root, type: ext2, mount: {mount_point: /}}"
    inline = f"[{{local_loop: {{name: image0}}}}, {{mkfs: {root}}}]"
    assert drafted("-n", "tiny", DIB_BLOCK_DEVICE_CONFIG=inline).disk.root.type == "ext2"
    (tmp_path / "disk.yaml").write_text(inline)
    given = f"file://{tmp_path}/disk.yaml"
    assert drafted("-n", "tiny", DIB_BLOCK_DEVICE_CONFIG=given).disk.root.type == "ext2"


@pytest.mark.parametrize(
    ("arch", "label"),
    [("amd64", "default"), ("arm64", "arm64"), ("ppc64le", "ppc64el"), ("ppc64el", "ppc64el")],
)
def test_an_elements_disk_may_be_for_an_architecture(
    drafted: Drafted, tmp_path: Path, arch: str, label: str
) -> None:
    for name in ("default", "arm64", "ppc64el"):
        root = f"{{base: image0, name: mkfs_root, label: {name}, mount: {{mount_point: /}}}}"
        text = f"[{{local_loop: {{name: image0}}}}, {{mkfs: {root}}}]"
        (tmp_path / f"extra/block-device-{name}.yaml").write_text(text)
    assert drafted("-n", "extra", "-a", arch).disk.root.label == label


def test_keys_of_others_disks_that_mean_nothing_are_warned_of(
    drafted: Drafted, tmp_path: Path
) -> None:
    text = make.BARE.replace("fsck-passno", "fck-passno") + "- local_loop: {name: b, name: c}\n"
    remarks = (
        "DIB_BLOCK_DEVICE_CONFIG:6:25: the key 'name' is given twice; the last one counts",
        "DIB_BLOCK_DEVICE_CONFIG:5:56: unknown key 'fck-passno', which does nothing"
        " (hint: did you mean 'fsck-passno'?)",
    )
    assert drafted("-n", "tiny", DIB_BLOCK_DEVICE_CONFIG=text).warnings == remarks
    (tmp_path / "tiny/block-device-default.yaml").write_text(text)
    assert len(drafted("-n", "tiny").warnings) == 2
    (tmp_path / "tiny/element.yaml").write_text("summary: tiny\n")
    with pytest.raises(ConfigError, match="the key 'name' is given twice"):
        drafted("-n", "tiny")


def test_a_broken_disk_document_names_its_place(drafted: Drafted) -> None:
    with pytest.raises(ConfigError, match="DIB_BLOCK_DEVICE_CONFIG:1:2: is not valid YAML"):
        drafted("-n", "tiny", DIB_BLOCK_DEVICE_CONFIG="[")


def test_root_filesystem_options_are_diskimage_builders(drafted: Drafted) -> None:
    words = ("-n", "tiny", "--mkfs-journal-size", "8", "--mkfs-options", "-O ^huge_file")
    options = drafted(*words, "--max-online-resize", "9999").disk.root.options
    assert options == ("-E", "resize=9999", "-i", "4096", "-J", "size=8", "-O", "^huge_file")


def test_packages_are_listed_by_phase(drafted: Drafted) -> None:
    plan = finished(drafted("-n", "extra"))
    assert [r.name for r in plan.packages["install"].install] == ["curl"]
    assert [r.name for r in plan.packages["pre-install"].install] == ["wget"]


def test_text_shows_phases_packages_and_disk(drafted: Drafted) -> None:
    outlook = {"root": ("0" * 64, "cached")}
    text = show.text(finished(drafted("-n", "extra", EXTRA_TOKEN="abcdef")), outlook)  # ruff: ignore[hardcoded-password-func-arg] - not one
    assert re.search(r"root +\(host\) +0{12} cached$", text, re.MULTILINE)
    assert "install: curl" in text
    assert "ext4 'cloudimg-rootfs' /" in text
    assert "abcdef" not in text


def test_json_is_whole_and_stable(drafted: Drafted) -> None:
    first, second = (show.as_json(finished(drafted("-n", "extra")), {}) for _ in range(2))
    assert first == second
    document = json.loads(first)
    assert [e["name"] for e in document["elements"]] == ["tiny", "extra"]
    hooks = {p["name"]: [h["name"] for h in p["hooks"]] for p in document["phases"]}
    assert hooks["root"] == ["10-tiny"]
    assert hooks["install"] == ["50-extra"]
    assert document["outputs"] == [{"format": "qcow2", "path": "image.qcow2"}]


def test_graphs_have_the_same_edges(drafted: Drafted) -> None:
    plan = finished(drafted("-n", "extra"))
    assert '"extra" -> "tiny" [style=dashed];' in show.dot(plan)
    assert show.dot(plan).count("->") == show.mermaid(plan).count("->")


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, ("qcow2", "tar", "raw")),
        ({"extra/element-deps": "tiny\nno-final-image\n"}, ("tar",)),
    ],
)
def test_an_element_may_stand_for_the_disk(
    drafted: Drafted, tmp_path: Path, elements: dict[str, str], expected: tuple[str, ...]
) -> None:
    for name, text in elements.items():
        (tmp_path / name).write_text(text)
    plan = finished(drafted("-n", "extra", "-t", "qcow2,tar,raw", "-o", "out.tar"))
    assert tuple(output.format for output in plan.outputs) == expected
    assert plan.request.output_name == "out.tar"


def test_a_ramdisk_has_no_disk_and_keeps_its_name(tmp_path: Path) -> None:
    for name in ("ramdisk", "tiny"):
        (tmp_path / name).mkdir()
    (tmp_path / "tiny/element-provides").write_text("operating-system\n")
    environment = {"ELEMENTS_PATH": str(tmp_path)}
    request = parse(["-n", "tiny", "-o", "out.qcow2"], environment, ramdisk=True)
    draft = make.draft(request)
    assert draft.types == ()
    assert draft.variables["IMAGE_NAME"] == "out"


def test_die_is_a_function_of_bash(drafted: Drafted) -> None:
    variables = drafted("-n", "extra").variables
    assert variables["BASH_FUNC_die%%"].startswith("() {  local status=$?;\n")


def test_what_is_required_may_come_from_environment_d(drafted: Drafted, tmp_path: Path) -> None:
    (tmp_path / "extra/element.yaml").write_text("variables: {NEEDED: {required: true}}\n")
    draft = drafted("-n", "extra")
    with pytest.raises(ConfigError, match="NEEDED is not set, and element 'extra' needs it"):
        finished(draft)
    assert make.finish(draft, {**draft.variables, "NEEDED": "1"}).draft is draft
