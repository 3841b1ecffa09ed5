"""Images of one file begin with one root tree where only the packages of the bootstrap differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagebuilder.batch import shared
from imagebuilder.options import parse
from imagebuilder.plan import digest, make
from imagebuilder.plan.model import Plan

EARLY = "early-packages: true\ncacheable: true\n"
FILES = {
    "os/element-provides": "operating-system\n",
    "os/root.d/10-root": "#!/bin/bash\n",
    "os/fingerprint.d/10-os": "#!/bin/bash\n",
    "os/element.yaml": f"{EARLY}variables: {{OS_RELEASE: {{help: which}}}}\n",
    "os/package-installs.yaml": "base-files:\n",
    "web/package-installs.yaml": "curl:\nnginx:\n",
    "web/element.yaml": EARLY,
    "db/package-installs.yaml": "curl:\npostgresql:\n",
    "db/element.yaml": EARLY,
    "old/pre-install.d/50-old": "#!/bin/bash\n",
    "other/element-provides": "operating-system\n",
    "other/root.d/10-other": "#!/bin/bash\n",
}


@pytest.fixture(autouse=True)
def elements(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if ".d/" in name else 0o644)
    return tmp_path


def plan(elements: Path, *words: str, **variables: str) -> Plan:
    draft = make.draft(parse(("-n", *words), {"ELEMENTS_PATH": str(elements), **variables}))
    return make.finish(draft, draft.variables)


def packages(*plans: Plan) -> list[tuple[str, ...]]:
    return list(shared.packages(plans, shared.groups(plans)).values())


def test_only_what_all_have_joins_the_bootstrap(elements: Path) -> None:
    plans = plan(elements, "os", "web"), plan(elements, "os", "db")
    assert packages(*plans) == [("base-files", "curl")]


def test_names_and_outputs_of_images_do_not_keep_them_apart(elements: Path) -> None:
    plans = plan(elements, "-o", "a", "os", "web"), plan(elements, "-o", "b", "-t", "raw", "os")
    assert packages(*plans) == [("base-files",)]


def test_images_with_the_same_packages_need_nothing(elements: Path) -> None:
    assert packages(plan(elements, "os", "web"), plan(elements, "-o", "b", "os", "web")) == []


def test_an_image_alone_keeps_its_own(elements: Path) -> None:
    assert packages(plan(elements, "os", "web")) == []


def test_an_image_without_early_packages_takes_them_from_nobody(elements: Path) -> None:
    old = plan(elements, "os", "old")
    assert old.early == ()
    assert packages(plan(elements, "os", "web"), plan(elements, "os", "db"), old) == [
        ("base-files", "curl")
    ]
    assert packages(plan(elements, "os", "web"), old) == []


def test_images_with_nothing_in_common_keep_their_own(elements: Path) -> None:
    (elements / "os/package-installs.yaml").unlink()
    (elements / "db/package-installs.yaml").write_text("postgresql:\n")
    assert packages(plan(elements, "os", "web"), plan(elements, "os", "db")) == []


def test_another_variable_of_the_operating_system_is_another_group(elements: Path) -> None:
    first = plan(elements, "os", "web", OS_RELEASE="1")
    second = plan(elements, "os", "db", OS_RELEASE="2")
    third = plan(elements, "os", "db", OTHER="2", OS_RELEASE="1")
    groups = shared.groups([first, second, third])
    assert groups[0] == groups[2] != groups[1]


def test_a_root_of_which_not_all_is_known_is_in_no_group(elements: Path) -> None:
    assert shared.groups([plan(elements, "other")]) == ("",)


def test_the_root_step_is_the_same_once_packages_are_shared(elements: Path) -> None:
    names = " ".join(packages(plan(elements, "os", "web"), plan(elements, "os", "db"))[0])
    found = [
        plan(elements, "os", name, IMAGEBUILDER_SHARED_PACKAGES=names) for name in ("web", "db")
    ]
    first, second = (digest.chain(each, {"10-os": "x"})[0].id for each in found)
    assert first == second
    assert [each.early for each in found] == [("base-files", "curl")] * 2


def test_shared_packages_that_an_image_does_not_have_early_do_not_join(elements: Path) -> None:
    found = plan(elements, "os", "web", IMAGEBUILDER_SHARED_PACKAGES="curl postgresql")
    assert found.early == ("curl",)


def test_no_shared_packages_means_that_an_image_keeps_its_own(elements: Path) -> None:
    found = plan(elements, "os", "web", IMAGEBUILDER_SHARED_PACKAGES="")
    assert found.early == ("base-files", "curl", "nginx")


def test_hooks_do_not_see_what_is_said_to_the_builder(elements: Path) -> None:
    variables = {"IMAGEBUILDER_SHARED_PACKAGES": "curl", "IMAGEBUILDER_MEMORY": "5GiB"}
    assert not plan(elements, "os", **variables).draft.variables.keys() & variables
