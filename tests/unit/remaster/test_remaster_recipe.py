"""A recipe stands for a command line: each key is an option, and says the same."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import imagebuilder
from imagebuilder.cli import iso_remaster
from imagebuilder.errors import ConfigError, Interrupted, SpaceError
from imagebuilder.remaster import recipe
from imagebuilder.remaster.problems import Problems

SCHEMA = json.loads((Path(imagebuilder.__file__).parent / recipe.SCHEMA).read_text())
EVERYTHING = """\
source: in.iso
output: out.iso
force: true
sha256: "%s"
volume-id: NEW
timeout: 0
default: 1
argument: [autoinstall, --dashes]
persist: true
keep-entry: ["Install*"]
rename-entry: [[Old, New]]
add: ["seed/:/seed"]
remove: [/pool]
replace: [[/menu, a, b]]
patch: [fix.diff]
initrd: {path: [casper/initrd], append: ["x:/"], delete: [y]}
squashfs: {/casper/a.squashfs: {add: ["x:/"], replace: [[/init, a, b]]}}
test: {mode: [bios-cd], expect: ["login:"], timeout: 5}
diff: diff.html
""" % ("0" * 64)


def keys(schema: dict[str, dict[str, dict[str, object]]], prefix: str = "") -> Iterator[str]:
    for key, value in schema["properties"].items():
        inner = value if "properties" in value else value.get("additionalProperties")
        if isinstance(inner, dict) and "properties" in inner:
            yield from keys(inner, f"{key}-")
        else:
            yield f"{prefix}{key}"


def options() -> set[str]:
    parser = argparse.ArgumentParser()
    iso_remaster.add_arguments(parser)
    return {option for action in parser._actions for option in action.option_strings}


def test_every_key_is_an_option() -> None:
    wanted = {recipe.REFERENCE.get(key, key) for key in keys(SCHEMA)} - {"source"}
    assert len(wanted) > 30
    assert {f"--{name}" for name in wanted} <= options()


def test_a_recipe_is_read_as_its_command_line(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(EVERYTHING)
    parser = argparse.ArgumentParser()
    iso_remaster.add_arguments(parser)
    made = parser.parse_args([
        "--recipe",
        str(tmp_path / "r.yaml"),
        "--timeout",
        "9",
        "--add",
        "b:c",
    ])
    both = iso_remaster.with_recipe(made)
    assert both.iso == tmp_path / "in.iso"
    assert both.output == tmp_path / "out.iso"
    assert both.timeout == 9
    assert both.argument == ["autoinstall", "--dashes"]
    assert both.add == [f"{tmp_path}/seed/:/seed", "b:c"]
    assert both.squashfs_replace == [["/casper/a.squashfs", "/init", "a", "b"]]
    assert both.initrd == ["casper/initrd"]
    assert both.test_mode == ["bios-cd"]
    assert both.diff == tmp_path / "diff.html"
    both.environment = {}
    changes = iso_remaster.changes(both)
    assert changes.menus.rename == (("Old", "New"),)
    assert list(changes.squashfs) == ["casper/a.squashfs"]
    assert changes.initrd_edit
    assert changes.initrd_edit.delete == ("y",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timeot: 0\n", r"r.yaml:1:1: unknown key 'timeot'\n  hint: did you mean 'timeout'"),
        ("timeout: -1\n", r"r.yaml:1:10: in 'timeout': -1 is less than the minimum of 0"),
        ("squashfs: {a: {packages: []}}\n", "unknown key 'packages'"),
        ("replace: [[a, b]]\n", "too short"),
        ("volume-id: " + "x" * 33, "too long"),
        ("{}\n", "is empty"),
        ("add: [x:/]\ninitrd: {add: [x]}\n", r"r.yaml:2:16: in 'initrd.add.0': 'x' does not match"),
    ],
)
def test_a_wrong_recipe_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        recipe.load(tmp_path / "r.yaml")


def test_an_image_and_an_output_have_to_be_named(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("timeout: 0\n")
    parser = argparse.ArgumentParser()
    iso_remaster.add_arguments(parser)
    with pytest.raises(ConfigError, match="no image is named"):
        iso_remaster.run(parser.parse_args(["--recipe", str(tmp_path / "r.yaml")]))
    with pytest.raises(ConfigError, match="no output is named"):
        iso_remaster.run(parser.parse_args(["x.iso"]))


def noted(*errors: ConfigError | SpaceError) -> Problems:
    problems = Problems()
    for error in errors:
        with problems.noted():
            raise error
    return problems


def test_one_problem_is_raised_as_it_is() -> None:
    with pytest.raises(SpaceError, match=r"^full$"):
        noted(SpaceError("full")).check()


def test_several_problems_are_raised_together() -> None:
    with pytest.raises(ConfigError) as caught:
        noted(ConfigError("one"), SpaceError("full"), ConfigError("one")).check()
    assert str(caught.value) == "2 things are in the way:\n- one\n- full"
    with pytest.raises(SpaceError):
        noted(SpaceError("full"), SpaceError("fuller")).check()


def test_no_problem_is_no_error() -> None:
    Problems().check()


def test_a_signal_is_no_problem_to_be_noted() -> None:
    with pytest.raises(Interrupted), Problems().noted():
        raise Interrupted(15)
