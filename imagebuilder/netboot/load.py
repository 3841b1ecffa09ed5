"""`hosts.yaml` read and checked: what there is to start, and which machine starts what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Any

from imagebuilder import schema
from imagebuilder.errors import ConfigError, nearest
from imagebuilder.initrd.source import Wish
from imagebuilder.netboot import source
from imagebuilder.netboot.model import (
    LOCAL,
    NEVER,
    Additions,
    Dhcp,
    Entry,
    Host,
    Program,
    Site,
    Source,
)
from imagebuilder.remaster.problems import Problems
from imagebuilder.schema import Document

SCHEMA = "netboot/schemas/hosts.json"
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
KINDS = ("iso", "ramdisk", "kernel")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")  # a number would be a place in GRUB's menu
PROBLEM = re.compile(r"[\s\x00-\x1f\x7f]")
Values = Mapping[str, Any]
Path_ = tuple[str | int, ...]


def load(path: Path) -> Site:
    """The document in a file; raise ConfigError with line and column for all that is wrong in it.

    Paths in it are relative to its directory.
    """
    document = schema.read(path)
    value = schema.check(document, SCHEMA)
    home = path.parent
    problems = Problems()
    entries: list[Entry] = []
    hosts: dict[int, Host] = {}
    for name, row in value["entries"].items():
        with problems.noted():
            entries.append(_entry(name, row, document, home))
    for number, row in enumerate(value.get("hosts", [])):
        with problems.noted():
            hosts[number] = _host(row, document, ("hosts", number), home)
    _check_names(value, document, problems)
    _check_twins(hosts, document, problems)
    with problems.noted():
        dhcp = _dhcp(value["dhcp"], document) if "dhcp" in value else None
    if problems.found:  # else whoever takes them looks for them, and --from may name others
        source.note_missing(entries, hosts.values(), problems)
    problems.check()
    return Site(
        where=str(path),
        entries=tuple(entries),
        hosts=tuple(hosts.values()),
        default=value.get("default", LOCAL),
        timeout=NEVER if value.get("timeout") == "never" else value.get("timeout", 0),
        server=value.get("server", ""),
        http=value.get("http", "").rstrip("/"),
        console=value.get("console", ""),
        bios=Program(value.get("bios", "pxelinux")),
        uefi=Program(value.get("uefi", "grub")),
        dhcp=dhcp,
    )


def with_sources(site: Site, given: Iterable[str], arguments: Sequence[str] = ()) -> Site:
    """The site with sources from the command line: `NAME=SOURCE`, or `SOURCE` for a new entry.

    A source is an ISO image, the name of a ramdisk, or `KERNEL,INITRD`. The first entry of a site
    that had none becomes its default.
    """
    entries = {entry.name: entry for entry in site.entries}
    seen: set[str] = set()
    for text in given:
        name, equals, rest = text.partition("=")
        if not equals or not NAME.fullmatch(name):
            name, rest = _name(text), text
        if name in seen:
            what, hint = f"the entry {name!r} has a source already", "name it: NAME=SOURCE"
            raise ConfigError(what, where=f"--from {text}", hint=hint)
        seen.add(name)
        source = _source_of(rest)
        blank = Entry(name=name, where=f"--from {text}", title=name, source=None, own=Additions())
        entries[name] = replace(entries.get(name, blank), source=source)
    more = tuple(check_words(arguments, "--argument"))
    made = [
        replace(e, own=replace(e.own, arguments=(*e.own.arguments, *more)))
        for e in entries.values()
    ]
    for entry in made:
        if entry.source is None:
            hint = "add from:, or give --from NAME=SOURCE"
            what = f"the entry {entry.name!r} has no kernel to start"
            raise ConfigError(what, where=entry.where, hint=hint)
    fresh = not site.entries and made
    default = made[0].name if fresh else site.default
    return replace(site, entries=tuple(made), default=default)


def check_words(words: Iterable[str], where: str) -> Iterable[str]:
    """The kernel arguments as they are; raise ConfigError for one that is not one word."""
    for word in words:
        if PROBLEM.search(word):
            hint = "give each argument an entry of its own"
            raise ConfigError(f"is not one argument: {word!r}", where=where, hint=hint)
        if word.startswith("#") or "${" in word:
            raise ConfigError(f"iPXE would not take this argument as it is: {word!r}", where=where)
        yield word


def _entry(name: str, row: Values, document: Document, home: Path) -> Entry:
    place: Path_ = ("entries", name)
    if name == LOCAL:
        what = f"{LOCAL!r} is the machine's own disk, and cannot be described"
        raise ConfigError(what, where=document.key_place(("entries",), name))
    source = None
    if "from" in row:
        source = _source(row["from"], document.place((*place, "from")), home)
    own = _own(row, document, place, home)
    where = document.key_place(("entries",), name)
    return Entry(name=name, where=where, title=row.get("title", name), source=source, own=own)


def _source(row: Values, where: str, home: Path) -> Source:
    given = [kind for kind in KINDS if kind in row]
    if len(given) != 1:
        raise ConfigError(f"needs one of {', '.join(KINDS)}", where=where)
    if "initrd" in row and given != ["kernel"]:
        raise ConfigError(f"initrd goes with kernel, not with {given[0]}", where=where)
    if ("menu" in row or "whole" in row) and given != ["iso"]:
        raise ConfigError(f"menu and whole go with iso, not with {given[0]}", where=where)
    initrds = row.get("initrd", [])
    return Source(
        where=where,
        iso=home / row["iso"] if "iso" in row else None,
        menu=row.get("menu", ""),
        whole=row.get("whole", False),
        ramdisk=home / row["ramdisk"] if "ramdisk" in row else None,
        kernel=home / row["kernel"] if "kernel" in row else None,
        initrds=tuple(home / e for e in ([initrds] if isinstance(initrds, str) else initrds)),
    )


def _source_of(text: str) -> Source:
    where = f"--from {text}"
    kernel, comma, initrds = text.partition(",")
    if comma:
        several = tuple(Path(each) for each in initrds.split(",") if each)
        return Source(where=where, kernel=Path(kernel), initrds=several)
    if text.lower().endswith(".iso"):
        return Source(where=where, iso=Path(text))
    return Source(where=where, ramdisk=Path(text))


def _name(text: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(text.partition(",")[0]).name)
    name = plain.removesuffix(".iso").strip("-.")
    return name if NAME.fullmatch(name) else f"entry-{name}".strip("-")


def _own(row: Values, document: Document, place: Path_, home: Path) -> Additions:
    words = row.get("arguments", [])
    for number, word in enumerate(words):
        list(check_words([word], document.place((*place, "arguments", number))))
    wishes = [Wish.parse(text) for text in row.get("files", [])]
    return Additions(
        arguments=tuple(words),
        files=tuple(replace(wish, source=home / wish.source) for wish in wishes),
        answers=home / row["answers"] if "answers" in row else None,
    )


def _host(row: Values, document: Document, place: Path_, home: Path) -> Host:
    where = document.place(place)
    if "mac" not in row and "ip" not in row:
        raise ConfigError(f"the machine {row['name']!r} has neither mac nor ip", where=where)
    own = _own(row, document, place, home)
    if row["entry"] == LOCAL and own != Additions():
        what = f"the machine {row['name']!r} starts from its own disk, and gets nothing besides"
        raise ConfigError(what, where=where)
    return Host(
        name=row["name"],
        where=where,
        entry=row["entry"],
        mac=mac(row["mac"], document.place((*place, "mac"))) if "mac" in row else "",
        ip=_ip(row["ip"], document.place((*place, "ip"))) if "ip" in row else None,
        own=own,
    )


def mac(value: str | int, where: str) -> str:
    """A MAC address in lower case with colons; raise ConfigError if it is none.

    YAML reads one that is all of small decimal numbers as an integer, with 60 as its base.
    """
    text = _sexagesimal(value) if isinstance(value, int) else value
    plain = text.lower().replace("-", ":")
    if not MAC.fullmatch(plain):
        hint = "write it like 52:54:00:12:34:56"
        raise ConfigError(f"not a MAC address: {text!r}", where=where, hint=hint)
    return plain


def _sexagesimal(number: int) -> str:
    digits = []
    while number:
        number, digit = divmod(number, 60)
        digits.append(f"{digit:02}")
    return ":".join(reversed(digits))


def _ip(text: str, where: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError as error:
        raise ConfigError(f"not an IPv4 address: {text!r}", where=where) from error


def _check_names(value: Values, document: Document, problems: Problems) -> None:
    """Note entries that are not there."""
    names = [LOCAL, *value["entries"]]
    used: list[tuple[Path_, str]] = [
        (("hosts", number, "entry"), row["entry"])
        for number, row in enumerate(value.get("hosts", []))
    ]
    if "default" in value:
        used.insert(0, (("default",), value["default"]))
    for place, name in used:
        if name not in names:
            problems.found.append(_unknown(name, names, document.place(place)))


def _check_twins(hosts: Mapping[int, Host], document: Document, problems: Problems) -> None:
    """Note what two machines have in common that says which is which."""
    for key in ("name", "mac", "ip"):
        seen: dict[Any, Host] = {}
        for number, host in hosts.items():
            value = getattr(host, key)
            if value and seen.setdefault(value, host) is not host:
                what = f"{key} {value} is that of {seen[value].name!r} already"
                problems.found.append(
                    ConfigError(what, where=document.place(("hosts", number, key)))
                )


def _unknown(name: str, names: Sequence[str], where: str) -> ConfigError:
    hint = nearest(name, names) or f"there are: {', '.join(names)}"
    return ConfigError(f"there is no entry {name!r}", where=where, hint=hint)


def _dhcp(row: Values, document: Document) -> Dhcp:
    where = document.place(("dhcp",))
    if ("range" in row) == ("proxy" in row):
        raise ConfigError("in 'dhcp': needs one of range and proxy", where=where)
    ends = [_ip(text, where) for text in row.get("range", [])]
    if ends != sorted(ends):
        raise ConfigError(f"in 'dhcp.range': {ends[1]} is before {ends[0]}", where=where)
    return Dhcp(
        interface=row.get("interface", ""),
        first=ends[0] if ends else None,
        last=ends[1] if ends else None,
        proxy=None if ends else _ip(row["proxy"], where),
        lease=row.get("lease", "1h"),
    )
