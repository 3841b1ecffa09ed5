"""Programs that import the modules of diskimage-builder find what they ask for."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from diskimage_builder import element_dependencies, logging_config, paths, version

from imagebuilder import __version__
from imagebuilder.element.load import builtin


@pytest.fixture
def elements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two elements on ELEMENTS_PATH, one of them an operating system."""
    for name, file, text in (
        ("one", "element-deps", "system\n"),
        ("system", "element-provides", "operating-system\n"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
    monkeypatch.setenv("ELEMENTS_PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    before = logger.handlers, logger.level
    yield logger
    logger.handlers, level = before
    logger.setLevel(level)


def test_the_places_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    paths.show_path("elements")
    paths.show_path("lib")
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == str(builtin())
    assert Path(shown[1], "img-functions").is_file()


def test_another_place_ends_the_program() -> None:
    with pytest.raises(SystemExit, match="neither 'lib' nor 'elements': 'bin'"):
        paths.get_path("bin")


def test_the_version_is_ours() -> None:
    assert version.version_info.version_string() == __version__


def test_elements_come_with_what_they_depend_on(elements: Path) -> None:
    found = element_dependencies.get_elements(["one"])
    assert found == [("system", str(elements / "system")), ("one", str(elements / "one"))]
    assert element_dependencies.expand_dependencies(["one"], str(elements)) == {"one", "system"}


@pytest.mark.usefixtures("elements")
def test_a_missing_element_is_an_exception_with_the_old_name() -> None:
    with pytest.raises(element_dependencies.MissingElementException, match="'two' not found"):
        element_dependencies.get_elements(["two"])
    assert element_dependencies.main(["two"]) == 1


@pytest.mark.usefixtures("elements")
def test_element_info_prints_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert element_dependencies.main(["one"]) == 0
    assert capsys.readouterr().out == "system one\n"


def test_element_info_prints_what_a_shell_can_source(
    elements: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert element_dependencies.main(["--env", "one"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "export IMAGE_ELEMENT='system one'"
    assert f"  echo '[system]={elements}/system [one]={elements}/one'" in lines


@pytest.mark.usefixtures("root_logger")
@pytest.mark.parametrize(
    ("trace", "shown"), [("0", ["INFO x [-] said"]), ("1", ["DEBUG x [-] more", "INFO x [-] said"])]
)
def test_log_lines_have_the_old_form(
    trace: str,
    shown: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DIB_DEBUG_TRACE", trace)
    logging_config.setup()
    logging.getLogger("x").debug("more")
    logging.getLogger("x").info("said")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" test_log")[0] for line in lines] == shown


def test_a_file_says_how_to_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root_logger: logging.Logger
) -> None:
    formatter = {"()": "diskimage_builder.logging_config.DibFormatter", "fmt": "own %(message)s"}
    formatter["debug_suffix"] = " here"
    handler = {"class": "logging.FileHandler", "filename": f"{tmp_path}/log", "formatter": "f"}
    (tmp_path / "how.json").write_text(
        json.dumps({
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"f": formatter},
            "handlers": {"h": handler},
            "root": {"handlers": ["h"], "level": "DEBUG"},
        })
    )
    monkeypatch.setenv("DIB_PYTHON_LOGGING_CONFIG_FILE", str(tmp_path / "how.json"))
    logging_config.setup()
    logging.getLogger("x").debug("more")
    root_logger.handlers[0].close()
    assert (tmp_path / "log").read_text() == "own more here\n"
