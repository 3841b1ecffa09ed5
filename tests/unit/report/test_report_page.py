"""The page, read by a parser of HTML."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser

import pytest

from imagebuilder.report.gantt import bars, tick
from imagebuilder.report.markup import Markup, escape, tag
from imagebuilder.report.model import Part, Report
from imagebuilder.report.page import as_html
from imagebuilder.report.timeline import Row
from imagebuilder.report.words import DECIMAL, amount, clock, count, duration, share

VOID = {"meta", "input"}


@dataclass
class Page(HTMLParser):
    """Elements and texts of a page; complains about tags that do not match."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, name: str, class_: str = "") -> list[dict[str, str | None]]:
        return [
            attributes
            for tag, attributes in self.elements
            if tag == name and set(class_.split()) <= set((attributes.get("class") or "").split())
        ]


def parsed(report: Report) -> Page:
    page = Page()
    page.feed(as_html(report))
    page.close()
    assert page.open == []
    return page


def test_names_cannot_become_elements_of_the_page(report: Report) -> None:
    page = parsed(report)
    assert len(page.all("script")) == 1
    assert "".join(page.texts).count(report.name) > 20


def test_what_html_forbids_does_not_come_through(report: Report) -> None:
    assert not re.search(r"[\x00-\x08\x1b\ud800-\udfff]", as_html(report))


def test_nothing_is_loaded(report: Report) -> None:
    page, text = parsed(report), as_html(report)
    links = [a["href"] or "" for a in page.all("a")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert not [attributes for _, attributes in page.elements if "src" in attributes]
    assert "url(" not in text
    assert "@import" not in text


def test_only_the_script_of_the_page_may_run(report: Report) -> None:
    script = as_html(report).partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = parsed(report).all("meta")[1]["content"] or ""
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_links_lead_to_sections(report: Report) -> None:
    page = parsed(report)
    sections = {section["id"] for section in page.all("section")}
    assert {(a["href"] or "")[1:] for a in page.all("a")} <= sections


def test_ids_are_unique(report: Report) -> None:
    ids = [attributes["id"] for _, attributes in parsed(report).elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_description_exists(report: Report) -> None:
    page = parsed(report)
    ids = {attributes.get("id") for _, attributes in page.elements}
    wanted = {attributes.get("aria-describedby") for _, attributes in page.elements} - {None}
    assert wanted
    assert wanted <= ids


def test_every_step_is_in_the_table(report: Report) -> None:
    text = as_html(report)
    table = text.partition("<caption>Steps of the build</caption>")[2].partition("</table>")[0]
    assert table.partition("<tbody>")[2].count("<tr>") == len(report.rows)


def test_steps_that_were_not_simply_taken_say_so_in_words(report: Report) -> None:
    page = parsed(report)
    for state, word in {"cached": "cached", "failed": "failed", "open": "stopped"}.items():
        assert page.all("li", f"bar {state}")
        assert word in page.texts


def test_a_build_that_failed_shows_error_and_log(report: Report) -> None:
    page = parsed(report)
    assert page.all("pre", "error")
    assert page.all("pre", "log")
    assert "✕ failed with status 1" in page.texts


def test_a_build_that_succeeded_shows_no_log(report: Report) -> None:
    page = parsed(replace(report, status=0))
    assert "✓ built" in page.texts
    assert not page.all("pre", "log")


def test_a_report_of_nothing_is_a_page(report: Report) -> None:
    page = parsed(Report(name="x", version="1", architecture="amd64", started=report.started,
                         seconds=0.0, status=2))  # fmt: skip
    for text in (
        "The build gave no reason.",
        "No file was finished.",
        "There is no root tree to show.",
        "No element took part.",
        "The image has no list of dpkg's packages.",
    ):
        assert text in page.texts


def test_columns_without_content_are_left_out(report: Report) -> None:
    assert "CPU" in parsed(report).texts
    rows = tuple(replace(row, cpu=None) for row in report.rows)
    assert "CPU" not in parsed(replace(report, rows=rows)).texts


def test_an_element_asked_for_is_marked(report: Report) -> None:
    asked = replace(report, elements=(Part(name="vm", asked=True), Part(name="base")))
    page = parsed(asked)
    assert [node["data-name"] for node in page.all("g", "node asked")] == ["vm"]
    assert len(page.all("g", "node")) == 2


def test_short_hooks_of_a_phase_share_a_bar() -> None:
    rows = (
        Row(phase="install", seconds=60, status=0),
        Row(phase="install", hook="10-long", seconds=59, status=0),
        *(Row(phase="install", hook=f"2{n}-short", seconds=0.2, status=0) for n in range(3)),
        Row(phase="install", hook="30-failed", seconds=0.1, status=1),
    )
    labels = [(bar.kind, bar.label) for bar in bars(rows, 60)]
    assert labels == [
        ("phase", "install"),
        ("hook", "10-long"),
        ("hook", "30-failed"),
        ("short", "3\u00a0short hooks"),
    ]


def test_one_short_hook_keeps_its_name() -> None:
    rows = (
        Row(phase="install", seconds=60, status=0),
        Row(phase="install", hook="10-long", seconds=59, status=0),
        Row(phase="install", hook="20-short", seconds=0.2, status=0),
    )
    assert [bar.label for bar in bars(rows, 60)] == ["install", "10-long", "20-short"]


def test_a_phase_of_short_hooks_is_one_bar() -> None:
    rows = (
        Row(phase="cleanup", seconds=0.1, status=0),
        Row(phase="cleanup", hook="10-short", seconds=0.05, status=0),
    )
    (bar,) = bars(rows, 60)
    assert (bar.label, bar.rows, bar.inner) == ("cleanup", rows[:1], rows[1:])


def test_hooks_without_their_phase_have_a_phase_all_the_same() -> None:
    rows = (Row(phase="install", hook="10-long", seconds=59),)
    assert [(bar.kind, bar.rows) for bar in bars(rows, 60)] == [("phase", rows), ("hook", rows)]


@pytest.mark.parametrize(
    ("whole", "step"), [(0.05, 0.01), (1, 0.2), (56, 10), (90, 15), (3221, 600), (9 * 86400, 86400)]
)
def test_the_axis_has_few_marks(whole: float, step: float) -> None:
    assert tick(whole) == step


def test_text_is_escaped_once() -> None:
    assert tag("b", "a<b", Markup("<i></i>")) == "<b>a&lt;b<i></i></b>"
    assert tag("b", title='"&', lang=None, data_x=1) == '<b title="&quot;&amp;" data-x="1"></b>'
    assert escape("\x00\x1b\n") == "\ufffd\ufffd\n"


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (duration(0.0391), "0.04 s"),
        (duration(59.94), "59.9 s"),
        (duration(59.96), "1 min 00 s"),
        (duration(125), "2 min 05 s"),
        (duration(3599.7), "1 h 00 min"),
        (duration(4320), "1 h 12 min"),
        (clock(0.5), "0.5 s"),
        (clock(90), "1:30"),
        (clock(3905), "1:05:05"),
        (amount(0), "0 B"),
        (amount(999), "999 B"),
        (amount(1000), "0.98 KiB"),
        (amount(1023 * 1024), "1.00 MiB"),
        (amount(314703872), "300 MiB"),
        (amount(163_173_616, DECIMAL), "163 MB"),
        (amount(2**60), "1048576 TiB"),
        (share(1, 3), "33 %"),
        (share(1, 1000), "0.1 %"),
        (share(1, 10**6), "<0.1 %"),
        (share(0, 0), "0.0 %"),
        (count(1, "hook"), "1 hook"),
        (count(1234, "hook"), "1,234 hooks"),
    ],
)
def test_quantities_are_short(shown: str, text: str) -> None:
    assert shown.replace("\u00a0", " ") == text
