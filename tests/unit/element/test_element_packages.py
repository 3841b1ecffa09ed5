from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from imagebuilder.element.load import load
from imagebuilder.element.merge import merge
from imagebuilder.element.model import Element, PackageChange
from imagebuilder.element.packages import early, requests, warnings
from imagebuilder.errors import ConfigError

MakeElement = Callable[[str, Mapping[str, str]], Path]
Wanting = Callable[[str, str], Element]
ENVIRONMENT = {"ARCH": "amd64", "DISTRO_NAME": "debian", "DIB_RELEASE": "bookworm"}


@pytest.fixture
def wanting(make_element: MakeElement) -> Wanting:
    """Writes an element with a package-installs.yaml."""

    def write(name: str, text: str) -> Element:
        files = {"package-installs.yaml": text, "element.yaml": "summary: x\n"}
        return load(make_element(name, files))

    return write


def shown(changes: Mapping[str, PackageChange]) -> dict[str, str]:
    """Like `{"install": "+a -b"}`, without the phases in which nothing changes."""
    texts = {
        phase: " ".join((
            *(f"+{request.name}" for request in change.install),
            *(f"-{request.name}" for request in change.uninstall),
        ))
        for phase, change in changes.items()
    }  # fmt: skip
    return {phase: text for phase, text in texts.items() if text}


def test_a_name_alone_is_installed_in_the_install_phase(wanting: Wanting) -> None:
    assert shown(requests((wanting("e", "b:\na: {}\n"),), {})) == {"install": "+a +b"}


def test_every_phase_is_there_even_if_empty() -> None:
    assert list(requests((), {})) == ["pre-install", "install", "post-install"]


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ("phase: pre-install.d", {"pre-install": "+p"}),
        ("phase: post-install.d", {"post-install": "+p"}),
        ("uninstall: true", {"install": "-p"}),
        ("uninstall: false", {"install": "-p"}),
        ("build-only: true", {"install": "+p -p"}),
        ("{build-only: true, phase: pre-install.d}", {"pre-install": "+p -p"}),
        ("arch: amd64", {"install": "+p"}),
        ("arch: 'arm64, amd64'", {"install": "+p"}),
        ("arch: arm64", {}),
        ("not-arch: 'arm64, amd64'", {}),
        ("not-arch: arm64", {"install": "+p"}),
        ("installtype: source", {"install": "+p"}),
        ("installtype: package", {}),
        ("dib_python_version: 3", {"install": "+p"}),
        ("dib_python_version: '2'", {}),
        ("when: DISTRO_NAME = debian", {"install": "+p"}),
        ("when: DISTRO_NAME=ubuntu", {}),
        ("when: DISTRO_NAME != debian", {}),
        ("when: EMPTY =", {"install": "+p"}),
        ("when: WORDS = a = b c", {"install": "+p"}),
        ("when: [DISTRO_NAME = debian, ARCH != amd64]", {}),
        ("when: [DISTRO_NAME = debian, ARCH != arm64]", {"install": "+p"}),
        ("when: []", {"install": "+p"}),
        ("[{arch: arm64}, {phase: pre-install.d}]", {"pre-install": "+p"}),
        ("[{arch: amd64}, {when: ARCH = amd64}]", {"install": "+p"}),
        ("[{when: ARCH = arm64}, {arch: arm64}]", {}),
        ("[]", {"install": "+p"}),
    ],
)
def test_a_property_decides(properties: str, expected: dict[str, str], wanting: Wanting) -> None:
    more = {"DIB_PYTHON_VERSION": "3", "EMPTY": "", "WORDS": "a = b c"}
    element = wanting("e", f"p:\n  {properties}\n")
    assert shown(requests((element,), ENVIRONMENT | more)) == expected


def test_the_type_of_installation_may_be_set_for_one_element(wanting: Wanting) -> None:
    elements = [wanting(name, f"{name}: {{installtype: package}}\n") for name in ("a-b", "c")]
    assert shown(requests(elements, {"DIB_INSTALLTYPE_a_b": "package"})) == {"install": "+a-b"}
    assert shown(requests(elements, {"DIB_DEFAULT_INSTALLTYPE": "package"})) == {
        "install": "+a-b +c"
    }


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("p:", "p: {uninstall: true}", "+p"),
        ("p: {uninstall: true}", "p:", "+p"),
        ("p:", "p: {build-only: true}", "+p +p"),
        ("p: {build-only: true}", "p:", "+p +p"),
        ("p: {build-only: true}", "p: {uninstall: true}", "+p -p -p"),
        ("p: {build-only: true}", "p: {build-only: true}", "+p +p -p -p"),
        ("p:", "p: {uninstall: true, phase: pre-install.d}", "+p"),
        ("p: {uninstall: true}", "p: {arch: arm64}", ""),
        ("p: {arch: arm64}", "p: {uninstall: true}", "-p"),
    ],
)
def test_the_wishes_of_two_elements_combine(
    first: str, second: str, expected: str, wanting: Wanting
) -> None:
    elements = (wanting("a", first), wanting("b", second))
    assert shown(requests(elements, ENVIRONMENT)).get("install", "") == expected


def test_the_order_is_that_of_the_elements_then_by_name(wanting: Wanting) -> None:
    z, a = wanting("z", "d:\nb:\n"), wanting("a", "c:\na:\n")
    assert shown(requests((z, a), {})) == {"install": "+b +d +a +c"}
    assert shown(requests((a, z), {})) == {"install": "+a +c +b +d"}


def test_both_files_count(make_element: MakeElement) -> None:
    files = {"package-installs.json": '{\n\t"j": null\n}', "package-installs.yaml": "y:\n"}
    assert shown(requests((load(make_element("e", files)),), {})) == {"install": "+j +y"}


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}"])
def test_a_file_may_be_empty(text: str, wanting: Wanting) -> None:
    assert shown(requests((wanting("e", text),), {})) == {}


def test_names_are_mapped_by_the_elements_own_map(make_element: MakeElement) -> None:
    mapping = {"default": {"one": "uno", "two": "due tre", "none": ""}}
    wishes = "one:\ntwo:\nnone:\nother:\n"
    a = make_element("a", {"pkg-map": json.dumps(mapping), "package-installs.yaml": wishes})
    b = make_element("b", {"package-installs.yaml": "one:\n"})
    change = requests((load(a), load(b)), ENVIRONMENT)["install"]
    assert [(r.element, r.name, r.names) for r in change.install] == [
        ("a", "none", ()),
        ("a", "one", ("uno",)),
        ("a", "other", ("other",)),
        ("a", "two", ("due", "tre")),
        ("b", "one", ("one",)),
    ]


def test_a_map_needs_to_know_the_distribution(make_element: MakeElement) -> None:
    path = make_element("e", {"pkg-map": "{}", "package-installs.yaml": "p:\n"})
    with pytest.raises(
        ConfigError, match=r"/e/pkg-map: DISTRO_NAME is not set.*\n.*environment\.d"
    ):
        requests((load(path),), {})


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("p:\n  fase: x\n", "2:3", "in 'p': unknown key 'fase'\n  hint: did you mean 'phase'?"),
        ("p:\n- {}\n- {archs: x}\n", "3:4", "unknown key 'archs'\n  hint: did you mean 'arch' or "),
        ("p: {when: DISTRO}\n", "1:11", "hint: Write it like 'VARIABLE = value'"),
        ("p: {when: [A = 1, B]}\n", "1:19", "hint: Write it like 'VARIABLE = value'"),
        ("p: yes please\n", "1:4", "is not of type 'object', 'null'"),
        ("- p\n", "1:1", "is not of type 'object', 'null'"),
        ("p q:\n", "1:1", "unknown key 'p q'"),
        ("3:\n", "1:3", "the key 3 is not text"),
        ("p: {when: DISTRO_NAM = x}\n", "1:11", "DISTRO_NAM is not set"),
        ("p:\n- when: [ARCH = amd64, V = x]\n", "2:24", "the variable V is not set"),
        ("p: {arch: a, not-arch: b}\n", "1:24", "both 'arch' and 'not-arch' are given for p"),
        ("p:\np:\n", "2:1", "the key 'p' is given twice"),
    ],
)
def test_a_bad_file_is_refused(text: str, place: str, what: str, wanting: Wanting) -> None:
    element = wanting("e", text)
    with pytest.raises(ConfigError) as caught:
        requests((element,), ENVIRONMENT)
    assert caught.value.where == f"{element.path}/package-installs.yaml:{place}"
    assert what in str(caught.value)


def test_an_unset_variable_has_a_hint(wanting: Wanting) -> None:
    with pytest.raises(ConfigError, match="hint: did you mean 'DISTRO_NAME'"):
        requests((wanting("e", "p: {when: DISTRO_NAM = x}\n"),), ENVIRONMENT)


def test_an_architecture_is_needed_if_one_is_named(wanting: Wanting) -> None:
    with pytest.raises(ConfigError, match="yaml:1:11: the variable ARCH is not set"):
        requests((wanting("e", "p: {arch: amd64}\n"),), {})


def test_a_removal_that_says_no_is_warned_of(wanting: Wanting) -> None:
    element = wanting("e", "p: {uninstall: false}\nq: {build-only: no}\nr: {uninstall: true}\n")
    place = f"{element.path}/package-installs.yaml"
    assert warnings((element,)) == (
        f"{place}:1:16: 'uninstall: False' removes p like 'uninstall: true' does;"
        " leave the key out to keep it",
        f"{place}:2:17: 'build-only: False' removes q like 'build-only: true' does;"
        " leave the key out to keep it",
    )


EARLY = "early-packages: true\n"


def early_names(*elements: Element) -> tuple[str, ...]:
    return early(elements, merge(elements), requests(elements, ENVIRONMENT))


def test_early_packages_are_those_of_the_first_two_phases(make_element: MakeElement) -> None:
    wishes = "c:\nb: {phase: pre-install.d}\na: {phase: post-install.d}\nm:\n"
    mapping = '{"default": {"m": "x y"}}'
    files = {"element.yaml": EARLY, "package-installs.yaml": wishes, "pkg-map": mapping}
    assert early_names(load(make_element("e", files))) == ("b", "c", "x", "y")


def test_packages_of_other_elements_are_not_early(
    make_element: MakeElement, wanting: Wanting
) -> None:
    files = {"element.yaml": EARLY, "package-installs.yaml": "a:\n"}
    assert early_names(load(make_element("e", files)), wanting("f", "b:\n")) == ("a",)


def test_packages_that_are_removed_again_are_not_early(
    make_element: MakeElement, wanting: Wanting
) -> None:
    wishes = "a:\nb: {build-only: true}\nc: {phase: pre-install.d}\n"
    e = load(make_element("e", {"element.yaml": EARLY, "package-installs.yaml": wishes}))
    assert early_names(e, wanting("f", "c: {uninstall: true}\n")) == ("a",)


@pytest.mark.parametrize(
    ("hook", "expected"),
    [("extra-data.d/10-x", ()), ("pre-install.d/10-x", ()), ("root.d/10-x", ("a",)),
     ("install.d/10-x", ("a",))],
)  # fmt: skip
def test_a_hook_of_an_element_that_is_not_early_forbids_it(
    hook: str, expected: tuple[str, ...], make_element: MakeElement
) -> None:
    e = load(make_element("e", {"element.yaml": EARLY, "package-installs.yaml": "a:\n"}))
    assert early_names(e, load(make_element("f", {hook: ""}))) == expected


def test_a_hook_of_an_early_element_does_no_harm(make_element: MakeElement) -> None:
    files = {"element.yaml": EARLY, "package-installs.yaml": "a:\n", "pre-install.d/1": ""}
    assert early_names(load(make_element("e", files))) == ("a",)


def test_a_phase_that_installs_nothing_is_warned_of(wanting: Wanting) -> None:
    element = wanting("e", "p: {phase: finalise.d}\n")
    assert warnings((element,)) == (
        f"{element.path}/package-installs.yaml:1:12: packages are not installed in 'finalise.d',"
        " so p never is; choose one of pre-install.d, install.d, post-install.d",
    )
    assert not any(change.install for change in requests((element,), ENVIRONMENT).values())
