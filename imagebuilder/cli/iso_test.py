"""`imagebuilder iso test`: starts an image in every way that it could be started."""

from __future__ import annotations

import argparse
import dataclasses
import json
from datetime import timedelta
from pathlib import Path

from imagebuilder.errors import ConfigError
from imagebuilder.machine.model import Accelerator
from imagebuilder.remaster import iso_test
from imagebuilder.remaster.iso_test import MODES, Level, Result, Trial
from imagebuilder.sizes import Size


def add_arguments(action: argparse.ArgumentParser) -> None:
    """The options of the action, apart from the image."""
    # fmt: off
    action.add_argument("--mode", action="append", default=[], metavar="MODE", choices=tuple(MODES),
                        help=f"{', '.join(MODES)} (default: all)")
    action.add_argument("--level", choices=("menu", "kernel", "marker"), default="kernel",
                        help="how far it has to come (default: kernel)")
    action.add_argument("--expect", action="append", default=[], metavar="REGEX",
                        help="what the console has to say, as the marker; may be repeated")
    action.add_argument("--timeout", type=float, default=600, metavar="SECONDS",
                        help="for each mode (default: 600)")
    action.add_argument("--memory", default="1GiB", metavar="SIZE", help="default: 1GiB")
    action.add_argument("--arch", default="x86_64", help="default: x86_64")
    action.add_argument("--accelerator", choices=("kvm", "tcg"), help="default: kvm if it works")
    action.add_argument("--keep", type=Path, metavar="DIR",
                        help="keep each mode's console (.txt) and screen (.png) there")
    # fmt: on


def run(arguments: argparse.Namespace) -> int:
    """Test the image; 1 if it did not start in one of the modes."""
    report = iso_test.test(
        arguments.iso, trial(arguments), _say_nothing if arguments.json else _say
    )
    if arguments.json:
        print(json.dumps(dataclasses.asdict(report), indent=2))
    elif report.variant:
        print(f"tested was a copy {report.variant}")
    return 0 if report.passed else 1


def trial(arguments: argparse.Namespace) -> Trial:
    """What the options ask for; raise ConfigError for what cannot be."""
    level = Level[(arguments.level).upper()]
    if arguments.expect:
        level = Level.MARKER
    elif level is Level.MARKER:
        raise ConfigError("a marker has to be said", where="--level", hint="--expect REGEX")
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    return Trial(
        modes=tuple(arguments.mode) or tuple(MODES),
        level=level,
        markers=tuple(arguments.expect),
        timeout=timedelta(seconds=arguments.timeout),
        memory=Size.parse(arguments.memory, where="--memory"),
        arch=arguments.arch,
        accelerator=Accelerator[arguments.accelerator.upper()] if arguments.accelerator else None,
        keep=arguments.keep,
    )


def _say(result: Result) -> None:
    word = "ok" if result.passed else f"failed: {result.reason}"
    print(f"{result.mode:<10} {result.seconds:4.0f} s  {word}", flush=True)


def _say_nothing(result: Result) -> None:
    del result
