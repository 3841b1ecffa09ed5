from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from imagebuilder.element.load import load
from imagebuilder.element.svcmap import merge
from imagebuilder.errors import ConfigError, ElementError

MakeElement = Callable[[str, Mapping[str, str]], Path]
TEXT = """\
nova-api:
  ubuntu: nova-of-ubuntu
  debian: nova-of-debian
  default: openstack-nova-api
cron:
  redhat: crond
plain:
"""


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        ("ubuntu", {"cron": "cron", "nova-api": "nova-of-ubuntu", "plain": "plain"}),
        ("debian", {"cron": "cron", "nova-api": "nova-of-debian", "plain": "plain"}),
        ("centos", {"cron": "crond", "nova-api": "openstack-nova-api", "plain": "plain"}),
        ("rocky", {"cron": "crond", "nova-api": "openstack-nova-api", "plain": "plain"}),
    ],
)
def test_distribution_then_family_then_default_then_the_service_itself(
    make_element: MakeElement, distribution: str, expected: dict[str, str]
) -> None:
    element = load(make_element("nova", {"svc-map": TEXT}))
    assert merge([element], distribution) == expected


def test_an_element_without_a_map_has_no_services(make_element: MakeElement) -> None:
    assert not merge([load(make_element("plain", {}))], "debian")


def test_one_service_in_two_elements_is_refused(make_element: MakeElement) -> None:
    elements = [load(make_element(name, {"svc-map": "a:\ncron:\n"})) for name in ("one", "two")]
    elements[0] = load(make_element("one", {"svc-map": "cron:\n"}))
    with pytest.raises(ElementError, match=r"two/svc-map:2:1: the service 'cron' .*\n.*leave"):
        merge(elements, "debian")


def test_a_bad_map_is_refused_with_its_place(make_element: MakeElement) -> None:
    element = load(make_element("bad", {"svc-map": "cron:\n  debian: [a]\n"}))
    with pytest.raises(ConfigError, match=r"bad/svc-map:2:11"):
        merge([element], "debian")
