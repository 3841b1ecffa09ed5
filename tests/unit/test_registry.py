from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imagebuilder import registry
from imagebuilder.errors import ConfigError


def test_the_plugins_of_a_kind_are_sorted() -> None:
    names = registry.names("filesystems")
    assert list(names) == sorted(names)
    assert {"ext4", "vfat"} <= set(names)


def test_a_plugin_is_a_module() -> None:
    assert registry.find("formats", "raw").__name__ == "imagebuilder.formats.raw"


def test_one_module_may_have_several_names() -> None:
    assert registry.find("formats", "tar") is registry.find("formats", "tgz")


def test_an_unknown_plugin_has_a_near_name() -> None:
    with pytest.raises(ConfigError) as caught:
        registry.find("filesystems", "etx4")
    assert caught.value.what == "no filesystems plugin is called 'etx4'"
    assert caught.value.hint.startswith("did you mean 'ext4'")


def test_an_unknown_plugin_that_is_near_none_has_a_list() -> None:
    with pytest.raises(ConfigError, match=r"hint: there are: .*raw"):
        registry.find("formats", "zzzzzz")


def test_another_package_can_add_a_plugin(tmp_path: Path) -> None:
    about = tmp_path / "other-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[imagebuilder.formats]\nodd = other_odd\n")
    (tmp_path / "other_odd.py").write_text("HELLO = 'from another package'\n")
    program = (
        "from imagebuilder import registry\n"
        "assert 'odd' in registry.names('formats')\n"
        "print(registry.find('formats', 'odd').HELLO)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            "PYTHONPATH": os.pathsep.join((str(tmp_path), *sys.path)),
            "XDG_CACHE_HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("from another package\n", "")
