"""`imagebuilder boot`: starts an image in qemu and says whether it came up.

The console goes to standard output as it comes, our own remarks to standard error. The exit
status is 0 if everything came that was expected, 124 if the time ran out, else 1.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import re
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from imagebuilder import process
from imagebuilder.errors import ConfigError
from imagebuilder.machine import boot, seed
from imagebuilder.machine.console import Watch
from imagebuilder.machine.errand import Errand
from imagebuilder.machine.model import Accelerator, End, Firmware, Machine, Outcome, architecture
from imagebuilder.process import Runner
from imagebuilder.sizes import Size

LOGIN = "login:"
TIMED_OUT = 124  # as timeout(1) has it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `imagebuilder boot`."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help="raw, qcow2, vmdk, vhd or vhdx")
    _add_machine(parser.add_argument_group("the machine"))
    _add_wishes(parser.add_argument_group("what it shall do"))


def run(arguments: argparse.Namespace) -> int:
    """Start the image; return the exit status."""
    return start(arguments, process.run)


def start(arguments: argparse.Namespace, runner: Runner) -> int:
    """Start the image as `arguments` say; return the exit status."""
    machine, errand = _machine(arguments, runner), _errand(arguments)
    expected = _expected(arguments)
    boot.check(machine)
    with _seeded(machine, arguments, errand, runner) as seeded:
        if arguments.interactive:
            return boot.interact(seeded, runner)
        watch = Watch(expected=expected, errand=errand)
        outcome = boot.boot(seeded, watch, _timeout(arguments, seeded), _show, runner)
    print(remark(outcome, errand), file=sys.stderr)
    if arguments.json:
        arguments.json.write_text(document(outcome))
    return status(outcome)


def status(outcome: Outcome) -> int:
    """The exit status that says what became of a machine."""
    if outcome.end is End.TIMEOUT:
        return TIMED_OUT
    return 0 if outcome.found and not outcome.status else 1


def remark(outcome: Outcome, errand: Errand | None) -> str:
    """What became of a machine, for a person."""
    lines = [""]
    if outcome.status is not None:
        lines.append(f"command exited with {outcome.status}")
    elif errand and f"{errand.token} begins" not in outcome.console:
        lines.append("the command was never started: has the image cloud-init, with NoCloud?")
    seen = ", ".join(map(repr, outcome.matched))
    if outcome.found:
        lines.append(f"came up after {outcome.seconds:.0f} s" + (f": saw {seen}" if seen else ""))
    else:
        lines.append(f"did not come up: {outcome.reason}" + (f" (saw {seen})" if seen else ""))
    if not outcome.clean:
        lines.append("the machine did not shut down: its disk is as after a power cut")
    return "\n".join(lines)


def document(outcome: Outcome) -> str:
    """What became of a machine, as JSON; `output` is that of the command it was to run."""
    fields = {**dataclasses.asdict(outcome), "end": outcome.end.value, "found": outcome.found}
    return json.dumps(fields, indent=2) + "\n"


def _add_machine(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--arch", default=platform.machine(), help="default: the host's")
    group.add_argument("--firmware", choices=("bios", "uefi"), help="default: bios where there is")
    group.add_argument("--secure-boot", action="store_true", help="UEFI with Microsoft's keys")
    group.add_argument("--accelerator", choices=("kvm", "tcg"), help="default: kvm if it works")
    group.add_argument("--memory", default="1GiB", metavar="SIZE", help="default: 1GiB")
    group.add_argument("--disk-size", metavar="SIZE", help="a larger disk than the image has")
    group.add_argument(
        "--disk", type=Path, action="append", default=[], metavar="FILE", help="one more disk"
    )
    kept = group.add_mutually_exclusive_group()
    kept.add_argument(
        "--overlay", type=Path, metavar="FILE", help="keep what the machine writes, to go on later"
    )
    kept.add_argument("--write", action="store_true", help="let it write the image itself")


def _add_wishes(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--expect", action="append", default=[], metavar="REGEX",
        help="wait for this on the console, may be repeated (default: 'login:')",
    )  # fmt: skip
    group.add_argument("--run", metavar="COMMAND", help="run this in it, through cloud-init")
    group.add_argument(
        "--seed",
        type=Path,
        metavar="PATH",
        help="user-data, or a directory with it, for cloud-init",
    )
    group.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="default: 600, or 120 on KVM"
    )
    group.add_argument("--json", type=Path, metavar="FILE", help="write what became of it")
    group.add_argument("--interactive", action="store_true", help="log in yourself; Ctrl-A X ends")


def _machine(arguments: argparse.Namespace, runner: Runner) -> Machine:
    guest = architecture(arguments.arch)
    chosen = Firmware(arguments.firmware) if arguments.firmware else guest.firmwares[0]
    size, given = arguments.disk_size, arguments.accelerator
    return Machine(
        image=arguments.image,
        architecture=guest,
        firmware=Firmware.SECURE_BOOT if arguments.secure_boot else chosen,
        accelerator=Accelerator[given.upper()] if given else boot.accelerator(guest, runner),
        memory=Size.parse(arguments.memory, where="--memory"),
        disks=tuple(arguments.disk),
        disk_size=Size.parse(size, where="--disk-size") if size else None,
        overlay=arguments.overlay,
        snapshot=not arguments.write,
    )


def _errand(arguments: argparse.Namespace) -> Errand | None:
    if arguments.interactive and (arguments.run or arguments.expect):
        raise ConfigError(
            "nothing is expected or run in a machine that you use yourself",
            where="--interactive",
            hint="leave out --run and --expect",
        )
    return Errand(arguments.run, f"run-{uuid4().hex[:8]}") if arguments.run else None


def _expected(arguments: argparse.Namespace) -> tuple[re.Pattern[str], ...]:
    given = arguments.expect or ([] if arguments.run else [LOGIN])
    try:
        return tuple(re.compile(expression, re.MULTILINE) for expression in given)
    except re.error as error:
        raise ConfigError(
            f"not a regular expression: {error.pattern!r}: {error.msg}",
            where="--expect",
            hint="put a backslash before characters that are to stand for themselves",
        ) from error


def _timeout(arguments: argparse.Namespace, machine: Machine) -> timedelta:
    if arguments.timeout is None:
        return boot.patience(machine)
    return timedelta(seconds=arguments.timeout)


@contextmanager
def _seeded(
    machine: Machine, arguments: argparse.Namespace, errand: Errand | None, runner: Runner
) -> Generator[Machine, None, None]:
    """The machine with a seed, for as long as it is needed, if it is to do something."""
    if not arguments.seed and not errand:
        yield machine
        return
    given = seed.load(arguments.seed) if arguments.seed else {}
    with tempfile.TemporaryDirectory(prefix="imagebuilder-seed-") as directory:
        image = Path(directory, "seed.img")
        seed.make(seed.files(given, errand, f"imagebuilder-{uuid4()}"), image, runner)
        yield dataclasses.replace(machine, seed=image)


def _show(piece: bytes) -> None:
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
