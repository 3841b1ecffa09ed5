"""The page of a report in a real browser, on a telephone and on a desktop."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from imagebuilder.process import find
from imagebuilder.report.model import Output, Part, Report
from imagebuilder.report.packages import Package
from imagebuilder.report.page import as_html
from imagebuilder.report.sizes import Branch
from imagebuilder.report.timeline import Row

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--hide-scrollbars", "--virtual-time-budget=2000",
)  # fmt: skip
PHASES = ("root", "extra-data", "pre-install", "install", "post-install", "finalise", "cleanup")
HOOKS, ELEMENTS, PACKAGES = 8, 25, 400
SCREENS = [(360, 800), (768, 1024), (1280, 900)]
LONG = "a-rather-long-name-of-something-that-nobody-would-shorten"
# A window of the browser has a least width; a frame in it may be narrower.
FRAME = """<!DOCTYPE html>
<body style="margin: 0">
<iframe src="{page}" style="width: {width}px; height: {height}px; border: 0"></iframe>
<script>addEventListener("message", (told) => document.body.dataset.told = told.data)</script>
"""
# What the page in the frame looks like, told to the page around it, where --dump-dom shows it.
PROBE = """
addEventListener("load", () => {
  for (const each of document.querySelectorAll("details")) each.open = true;
  const all = (query) => [...document.querySelectorAll(query)];
  const one = (query) => document.querySelector(query);
  const packages = () => all("#packages tbody tr").filter((row) => !row.hidden);
  const told = {};
  const bar = one(".bar.hook");
  bar.focus();
  told.tip = getComputedStyle(bar.querySelector(".tip")).display;
  told.width = innerWidth;
  told.overflow = document.documentElement.scrollWidth - innerWidth;
  const clipped = ".scroll, pre, .map, .label";
  told.outside = all("body *").filter((each) => !each.parentElement.closest(clipped))
    .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
    .map((each) => `${each.tagName}.${each.className}`);
  told.steps = all("#time tbody tr").length;
  told.packages = packages().length;
  told.nodes = all("#elements .node").length;
  told.tiles = all("#room .tile").filter((each) => each.getBoundingClientRect().width > 0).length;
  told.cut = all("#room .head").filter((each) => each.checkVisibility())
    .filter((each) => each.getBoundingClientRect().right
      > each.parentElement.getBoundingClientRect().right + 1).length;
  told.texts = all("#elements .node").filter((each) => each.querySelector(".name").getBBox().width
    > each.querySelector("rect").getBBox().width - 12).map((each) => each.dataset.name);
  const size = all("#packages th").at(-1);
  size.querySelector("button").click();
  told.largest = packages()[0].cells[0].textContent;
  told.sorted = size.getAttribute("aria-sort");
  const field = one("#packages input");
  field.value = "package-12";
  field.dispatchEvent(new Event("input"));
  told.filtered = packages().length;
  one("#room .leaf").dispatchEvent(new Event("pointerover", { bubbles: true }));
  told.tile = one("#tile").textContent;
  parent.postMessage(JSON.stringify(told), "*");
});
"""

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(find("chromium") is None, reason="needs chromium"),
]


def rows() -> tuple[Row, ...]:
    found: list[Row] = []
    for number, phase in enumerate(PHASES):
        start = number * 60.0
        found.append(Row(phase=phase, start=start, seconds=58, status=0, cached=number == 0))
        found += [
            Row(phase=phase, hook=f"{n}0-{LONG}", element=LONG, start=start + n * 6,
                seconds=5.5 * n, status=0, lines=1000 * n, downloaded=10**8 * n, cpu=3.3,
                cached=number == 0)
            for n in range(HOOKS)
        ]  # fmt: skip
    return (*found, Row(phase="pour", start=420, seconds=9, status=1))


def branch(name: str, size: int, depth: int) -> Branch:
    shares = {"lib": 0.5, "share": 0.25, LONG: 0.15, "other": 0.1} if depth else {}
    children = tuple(branch(key, int(size * part), depth - 1) for key, part in shares.items())
    return Branch(name=name, size=size, files=1000, children=children)


def report() -> Report:
    return Report(
        name=f"{LONG}-{LONG}",
        version="1.0",
        architecture="amd64",
        started=datetime(2026, 1, 31, 12, tzinfo=UTC),
        seconds=430.0,
        status=1,
        error=f"/{'x' * 200}: failed",
        hooks=len(PHASES) * HOOKS,
        rows=rows(),
        elements=tuple(
            Part(name=f"{LONG[: 3 + n]}-{n}", asked=n > 20, hooks=n,
                 depends=tuple(f"{LONG[: 3 + m]}-{m}" for m in range(n) if (n + m) % 5 == 0))
            for n in range(ELEMENTS)
        ),
        packages=tuple(
            Package(name=f"package-{n}-{LONG[: n % 40]}", version=f"1:{n}.{'9' * (n % 30)}",
                    architecture="amd64", size=(n % 50) * 2**20 + n)
            for n in range(PACKAGES)
        ),
        tree=branch("/", 10**9, 4),
        outputs=(Output(path=f"{LONG}.qcow2", format="qcow2", size=3 * 10**8,
                        digests={"sha256": "0123456789abcdef" * 4, "md5": "0" * 32}),),
        layout=(f"image0: 2 GiB, gpt, {LONG}, {LONG}",),
        log=(*("word " * n for n in range(50)), "y" * 500),
    )  # fmt: skip


def browse(page: Path, profile: Path, *flags: str) -> tuple[str, str]:
    """The page as the browser holds it, and what the browser complains about."""
    browser = find("chromium") or ""
    argv = [browser, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
    complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return done.stdout, "\n".join(complaints)


def with_probe(text: str) -> str:
    """The page with one more script, which its policy is told to allow."""
    digest = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    allowed = text.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    return allowed.replace("</body>", f"<script>{PROBE}</script></body>")


@pytest.fixture(scope="module", params=SCREENS, ids=["telephone", "tablet", "desktop"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the probe says of the page on one screen."""
    width, height = request.param
    place = tmp_path_factory.mktemp("page")
    page, frame = place / "report.html", place / "frame.html"
    page.write_text(with_probe(as_html(report())), encoding="utf-8")
    frame.write_text(FRAME.format(page=page.name, width=width, height=height))
    dom, complaints = browse(frame, place / "profile", "--window-size=1400,1000", "--dump-dom")
    told = re.search(r'data-told="([^"]*)"', dom)
    assert told, complaints
    return {"wanted": width, "complaints": complaints, **json.loads(html.unescape(told[1]))}


def test_the_screen_is_as_wide_as_it_should_be(seen: Any) -> None:
    assert seen["width"] == seen["wanted"]


def test_nothing_is_wider_than_the_screen(seen: Any) -> None:
    assert seen["outside"] == []
    assert seen["overflow"] <= 0


def test_the_browser_has_nothing_to_complain_about(seen: Any) -> None:
    assert seen["complaints"] == ""


def test_everything_of_the_report_is_there(seen: Any) -> None:
    assert seen["steps"] == len(PHASES) * (HOOKS + 1) + 1
    assert seen["packages"] == PACKAGES
    assert seen["nodes"] == ELEMENTS
    assert seen["tiles"] > 100


def test_labels_fit(seen: Any) -> None:
    assert seen["cut"] == 0
    assert seen["texts"] == []


def test_a_bar_tells_more_when_it_has_the_focus(seen: Any) -> None:
    assert seen["tip"] == "block"


def test_packages_can_be_sorted_and_filtered(seen: Any) -> None:
    assert seen["sorted"] == "descending"
    assert seen["largest"].startswith("package-399-")
    assert seen["filtered"] == 11  # package-12 and package-120 to package-129


def test_a_rectangle_tells_what_it_is(seen: Any) -> None:
    assert seen["tile"].startswith("/lib/lib/lib/lib: ")


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_a_picture_can_be_taken(tmp_path: Path, width: int, height: int) -> None:
    page, picture = tmp_path / "report.html", tmp_path / "page.png"
    page.write_text(as_html(report()), encoding="utf-8")
    flags = (f"--window-size={width},{height}", f"--screenshot={picture}")
    _, complaints = browse(page, tmp_path / "profile", *flags)
    header = picture.read_bytes()[:24]
    size = (int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big"))
    assert (size, complaints) == ((width, height), "")
