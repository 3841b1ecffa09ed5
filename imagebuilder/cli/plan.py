"""`imagebuilder plan`: everything a build would do, before it does."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from imagebuilder.errors import ToolMissingError
from imagebuilder.options import parse, usage
from imagebuilder.plan import show
from imagebuilder.plan.model import Plan

FORMATS: dict[str, Callable[[Plan, show.Outlook], str]] = {
    "text": show.text,
    "json": show.as_json,
    "dot": lambda plan, _: show.dot(plan),
    "mermaid": lambda plan, _: show.mermaid(plan),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments; the rest are those of `build`."""
    parser.add_argument(
        "--format", choices=sorted(FORMATS), default="text", help="how to show it (default: text)"
    )
    parser.usage = "imagebuilder plan [--format FORMAT] [OPTION]... ELEMENT..."
    parser.epilog = "Every option of 'imagebuilder build' is understood; see its --help."


def run(arguments: argparse.Namespace) -> int:
    """Print the plan."""
    from imagebuilder.build import check, since
    from imagebuilder.build.prepare import plan
    from imagebuilder.plan import digest

    request = parse(arguments.words, arguments.environment)
    if request.help:
        print(usage("imagebuilder plan"))
        return 0
    planned, outside = plan(request)
    steps = digest.steps(planned, outside.digests)
    print(FORMATS[arguments.format](planned, since.outlook(planned, steps)))
    if arguments.format == "text":
        print("changed since the last build of this name:")
        print("\n".join(f"  {line}" for line in since.changes(planned, steps)))
        print("".join(f"not known: {failure}\n" for failure in outside.failures), end="")
        try:
            check.check_tools(planned.draft)
        except ToolMissingError as error:
            print(f"the build would be refused: {error}")
    return 0
