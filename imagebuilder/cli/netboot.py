"""`imagebuilder netboot`: what machines start by network, rendered, published and served."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from imagebuilder import process
from imagebuilder.cli.initrd import epoch
from imagebuilder.cli.words import sentence
from imagebuilder.errors import CommandError, ConfigError
from imagebuilder.netboot import load, loaders, plan, publish, reply, serve
from imagebuilder.netboot.model import Firmware, Program, Set, Site
from imagebuilder.netboot.plan import Job
from imagebuilder.netboot.reply import Reply
from imagebuilder.process import find, missing

EVERYWHERE = "0.0.0.0"  # ruff: ignore[hardcoded-bind-all-interfaces] - machines have to reach it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, (_, summary) in ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=sentence(summary))
        if name == "publish":
            _add_publish(action)
            continue
        action.add_argument("root", type=Path, metavar="ROOT", help="where sets are published")
        if name == "show":
            _add_show(action)
        elif name == "serve":
            _add_serve(action)
        elif name == "use":
            action.add_argument("set", metavar="SET", help="the name of a directory in ROOT/sets")


def _add_publish(action: argparse.ArgumentParser) -> None:
    # fmt: off
    action.add_argument("hosts", type=Path, nargs="?", metavar="HOSTS.yaml",
                        help="what there is to start, and which machine starts what")
    action.add_argument("-o", "--output", type=Path, required=True, metavar="ROOT",
                        help="where to publish: ROOT/current is what is served")
    action.add_argument("--from", dest="sources", action="append", default=[],
                        metavar="[NAME=]SOURCE",
                        help="an ISO image, NAME of a ramdisk, or KERNEL,INITRD for an entry")
    action.add_argument("--argument", action="append", default=[], metavar="WORD",
                        help="an argument more for every kernel")
    action.add_argument("--loaders", action="append", default=[], type=Path, metavar="DIR",
                        help="look for boot loaders in this directory of packages' files first")
    action.add_argument("--offline", action="store_true",
                        help="do not fetch packages of boot loaders that are not there")
    action.add_argument("--keep", type=int, default=1, metavar="N",
                        help="older sets to keep (default: 1)")
    action.add_argument("--dry-run", action="store_true",
                        help="list the files of the set, and write nothing")
    # fmt: on


def _add_show(action: argparse.ArgumentParser) -> None:
    action.add_argument("--mac", default="", metavar="MAC", help="a machine's MAC address")
    action.add_argument("--ip", default="", metavar="ADDRESS", help="its IPv4 address")
    firmwares = [each.value for each in Firmware]
    action.add_argument("--firmware", choices=firmwares, help="what asks (default: each)")
    action.add_argument("--json", action="store_true", help="print JSON")


def _add_serve(action: argparse.ArgumentParser) -> None:
    # fmt: off
    action.add_argument("--interface", default="", metavar="NAME",
                        help="the network interface that dnsmasq listens on")
    action.add_argument("--http", default="", metavar="[ADDRESS:]PORT",
                        help="serve the set by HTTP too")
    action.add_argument("--no-dnsmasq", action="store_true", help="serve by HTTP alone")
    action.add_argument("--dry-run", action="store_true",
                        help="say what machines would get, and serve nothing")
    # fmt: on


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    act, _ = ACTIONS[arguments.action]
    return act(arguments) or 0


def _publish(arguments: argparse.Namespace) -> None:
    if arguments.keep < 0:
        raise ConfigError("cannot be negative", where="--keep")
    site = _site(arguments)
    publish.check(arguments.output)
    loaders.check(arguments.loaders)
    job = Job(site=site, epoch=epoch(arguments.environment), run=process.run)
    plain = plan.make(job, arguments.output.resolve() / publish.CURRENT)
    found = loaders.gathered(
        loaders.needed(site), arguments.loaders, process.run, fetch=not arguments.offline
    )
    made = plan.with_loaders(plain, found)
    unsigned = [
        each.place for each in found if each.loader.program is Program.GRUB and not each.signed
    ]
    for place in unsigned:
        print(f"warning: {place} is not signed: Secure Boot has to be off", file=sys.stderr)
    if arguments.dry_run:
        _list(made)
        return
    done = publish.publish(made, arguments.output, keep=arguments.keep)
    print(f"{arguments.output / publish.CURRENT} -> {done.path.relative_to(arguments.output)}")
    for name in done.pruned:
        print(f"removed {name}")


def _site(arguments: argparse.Namespace) -> Site:
    if arguments.hosts is None and not arguments.sources:
        raise ConfigError("nothing to publish", hint="give HOSTS.yaml, or --from SOURCE")
    site = load.load(arguments.hosts) if arguments.hosts else Site(where="--from", entries=())
    return load.with_sources(site, arguments.sources, arguments.argument)


def _list(made: Set) -> None:
    for path, content in made.files.items():
        print(f"{publish.size(content):>11} {path}")


def _show(arguments: argparse.Namespace) -> None:
    directory = publish.current(arguments.root)
    mac = load.mac(arguments.mac, "--mac") if arguments.mac else ""
    chosen = [Firmware(arguments.firmware)] if arguments.firmware else list(Firmware)
    ip = _address(arguments.ip)
    replies = {each: reply.reply(directory, each, mac, ip) for each in chosen}
    if arguments.json:
        rows = [{"firmware": k.value, **dataclasses.asdict(v)} for k, v in replies.items()]
        print(json.dumps(rows, indent=2))
        return
    print("\n".join(text for item in replies.items() for text in _shown(*item)).rstrip())


def _shown(firmware: Firmware, answer: Reply) -> list[str]:
    who = answer.host or "any machine that is not listed"
    address = f", gets {answer.ip}" if answer.ip else ""
    lines = [
        f"{firmware.value}: {who}{address}",
        f"  boot file: {answer.boot_file}",
        f"  configuration: {answer.configuration}",
    ]
    return [*lines, *(f"    {line}".rstrip() for line in answer.text.splitlines()), ""]


def _address(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text) if text else None
    except AddressValueError as error:
        raise ConfigError(f"not an IPv4 address: {text!r}", where="--ip") from error


def _serve(arguments: argparse.Namespace) -> int:
    directory = publish.current(arguments.root)
    command = serve.command(arguments.root, arguments.interface)
    http = _listening(arguments.http) if arguments.http else None
    if arguments.dry_run:
        return _tell(directory, str(command), arguments)
    if arguments.no_dnsmasq and not http:
        raise ConfigError("nothing to serve", hint="give --http PORT")
    serve.check_interface(arguments.interface)
    if not arguments.no_dnsmasq and not find("dnsmasq"):
        raise missing("dnsmasq")
    with ExitStack() as stack:
        if http:
            port = stack.enter_context(serve.by_http(arguments.root, *http))
            print(f"serving http://{http[0]}:{port}/", file=sys.stderr, flush=True)
        if arguments.no_dnsmasq:
            threading.Event().wait()
        elif status := process.attached(command):
            raise CommandError(f"exit status {status}", where=str(command))
    return 0


def _tell(directory: Path, command: str, arguments: argparse.Namespace) -> int:
    """What each machine would get, and the program that would tell it."""
    if not arguments.no_dnsmasq:
        print(f"dnsmasq: {command}")
    hosts = publish.manifest(directory).get("hosts")
    rows: list[dict[str, str]] = hosts if isinstance(hosts, list) else []
    for firmware in Firmware:
        for row in [*rows, {}]:
            ip = _address(row.get("ip", ""))
            answer = reply.reply(directory, firmware, row.get("mac", ""), ip)
            who = answer.host or "others"
            print(f"{firmware.value}: {who}: {answer.boot_file}, {answer.configuration}")
    return 0


def _listening(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"not a port: {text!r}", where="--http", hint="write [ADDRESS:]PORT")
    return address or EVERYWHERE, int(port)


def _use(arguments: argparse.Namespace) -> None:
    print(f"{arguments.root / publish.CURRENT} -> {publish.switch(arguments.root, arguments.set)}")


Action = Callable[[argparse.Namespace], int | None]
ACTIONS: dict[str, tuple[Action, str]] = {
    "publish": (_publish, "write a set of files, and switch to it in one step"),
    "show": (_show, "say what a machine would get from the set that is served"),
    "serve": (_serve, "serve the set with dnsmasq, and by HTTP"),
    "use": (_use, "switch back to an older set that was kept"),
}
