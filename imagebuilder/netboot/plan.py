"""Every file of a set worked out, before any is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from imagebuilder.answers import load as answers
from imagebuilder.answers import place as places
from imagebuilder.answers.model import Kind, Place, Placement
from imagebuilder.errors import ConfigError
from imagebuilder.initrd.rootfs import Rootfs
from imagebuilder.netboot import dnsmasq, grub, ipxe, overlay, pxelinux, source
from imagebuilder.netboot.loaders import Found
from imagebuilder.netboot.model import (
    LOCAL,
    Additions,
    Content,
    Entry,
    Host,
    Menu,
    Program,
    Set,
    Site,
    Start,
    dashed,
    hexadecimal,
)
from imagebuilder.netboot.words import Names, arguments
from imagebuilder.process import Runner
from imagebuilder.remaster.problems import Problems

DISK = Start(name=LOCAL, title="Local disk")
ISO = "image.iso"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What all steps need: the site, the date of new files, and the files so far."""

    site: Site
    epoch: int
    run: Runner
    files: dict[str, Content] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An entry that is in the set: how it starts, and what its initrds hold.

    `initrds` are the paths of those that it came with, `iso` that of the image it came on.
    """

    entry: Entry
    start: Start
    initrds: tuple[str, ...]
    root: Rootfs
    iso: str = ""


def make(job: Job, root: Path) -> Set:
    """The set of a site, but for boot loaders; dnsmasq will find it at `root`.

    Raise ConfigError for all sources, files and answers that cannot be read or used.
    """
    problems = Problems()
    source.note_missing(job.site.entries, job.site.hosts, problems)
    problems.check()
    entries: dict[str, Made] = {}
    hosts: list[tuple[Host, Start]] = []
    for entry in job.site.entries:
        with problems.noted():
            entries[entry.name] = _entry(job, entry)
    for host in job.site.hosts:
        with problems.noted():
            hosts.append((host, _host(job, host, entries.get(host.entry))))
    problems.check()
    everything = Menu(
        starts=(*(made.start for made in entries.values()), DISK),
        default=job.site.default,
        timeout=job.site.timeout,
        console=job.site.console,
    )
    job.files.update(_menus(job.site, everything, hosts))
    job.files[dnsmasq.CONFIGURATION] = dnsmasq.text(job.site, root).encode()
    manifest = {
        "default": job.site.default,
        "boot-files": {k.value: name for k, name in dnsmasq.boot_files(job.site).items()},
        "entries": [_described(made.start) for made in entries.values()],
        "hosts": [_of_host(host, start) for host, start in hosts],
    }
    return Set(files=dict(sorted(job.files.items())), manifest=manifest)


def with_loaders(made: Set, loaders: Sequence[Found]) -> Set:
    """The same with the boot loaders that it hands out."""
    files = {**made.files, **{found.loader.file: found.content for found in loaders}}
    rows = [
        {"file": f.loader.file, "package": f.loader.package, "signed": f.signed} for f in loaders
    ]
    manifest = {**made.manifest, "loaders": rows}
    return Set(files=dict(sorted(files.items())), manifest=manifest)


def _entry(job: Job, entry: Entry) -> Made:
    assert entry.source is not None
    parts = source.find(entry.source)
    home = f"entries/{entry.name}"
    job.files[f"{home}/kernel"] = parts.kernel
    iso = f"{home}/{ISO}" if parts.iso else ""
    job.files.update({iso: parts.iso} if parts.iso else {})
    names = tuple(f"{home}/initrd{number or ''}" for number in range(len(parts.initrds)))
    job.files.update(zip(names, parts.initrds, strict=True))
    start = Start(name=entry.name, title=entry.title, kernel=f"{home}/kernel", initrds=names)
    made = Made(entry=entry, start=start, initrds=names, root=parts.root, iso=iso)
    return replace(made, start=_with(job, made, entry.own, home, Names()))


def _host(job: Job, host: Host, made: Made | None) -> Start:
    if made is None:
        return DISK
    both = Additions(
        arguments=(*made.entry.own.arguments, *host.own.arguments),
        files=(*made.entry.own.files, *host.own.files),
        answers=host.own.answers or made.entry.own.answers,
    )
    own = bool(host.own.files or host.own.answers)
    names = Names(name=host.name, mac=host.mac, ip=str(host.ip or ""))
    home = f"hosts/{host.name}" if own else f"entries/{made.entry.name}"
    return _with(job, made, both, home, names)


def _with(job: Job, made: Made, own: Additions, home: str, names: Names) -> Start:
    """How it starts with additions, whose files are put below `home`."""
    placement = _answers(job, own.answers, home) if own.answers else None
    contents = placement.files if placement and placement.place is Place.INITRD else ()
    initrds = made.initrds
    if own.files or contents:
        archive = overlay.make(made.root, own.files, contents, job.epoch)
        job.files[f"{home}/{overlay.NAME}"] = archive
        for name in made.initrds:
            job.files[name] = source.separated(job.files[name])
        initrds = (*made.initrds, f"{home}/{overlay.NAME}")
    known = replace(names, server=job.site.server, http=job.site.http, iso=_url(job.site, made.iso))
    told = placement.arguments if placement else ()
    words = arguments(told, own.arguments, job.site.console, known, made.entry.where)
    return replace(made.start, initrds=initrds, arguments=words)


def _url(site: Site, path: str) -> str:
    return f"{site.http}/{path}" if site.http and path else ""


def _answers(job: Job, path: Path, home: str) -> Placement:
    """Answers in the set if it is served by HTTP, else in the initrd."""
    found = answers.load(path, run=job.run)
    if found.kind is Kind.PROXMOX:
        hint = "put them into the ISO image: imagebuilder answers place --in medium"
        raise ConfigError(
            "answers for Proxmox are not for network sets", where=str(path), hint=hint
        )
    if not job.site.http:
        if found.kind is Kind.AUTOINSTALL:
            hint = "say where the set is served: http: http://..."
            raise ConfigError("autoinstall needs http", where=job.site.where, hint=hint)
        return places.placement(found, Place.INITRD)
    placement = places.placement(found, Place.NETWORK, f"{job.site.http}/{home}")
    job.files.update((f"{home}/{name}", content) for name, content in placement.files)
    return placement


def _menus(
    site: Site, everything: Menu, hosts: Sequence[tuple[Host, Start]]
) -> Iterator[tuple[str, Content]]:
    """The configurations of every loader: for all machines, and for each that is listed."""
    programs = {site.bios, site.uefi, Program.IPXE}
    yield ipxe.FIRST, ipxe.first().encode()
    yield ipxe.DEFAULT, ipxe.text(everything, site.http).encode()
    if Program.PXELINUX in programs:
        yield pxelinux.DEFAULT, pxelinux.text(everything).encode()
    if Program.GRUB in programs:
        yield grub.BESIDE, grub.beside().encode()
        yield grub.DEFAULT, grub.text(everything, [host for host, _ in hosts]).encode()
    for host, start in hosts:
        menu = Menu(starts=(start,), default=start.name, console=site.console, mac=host.mac)
        for name in _own_names(host, programs):
            yield name, _text(name, menu, site).encode()


def _own_names(host: Host, programs: Iterable[Program]) -> Iterator[str]:
    known = set(programs)
    pairs = [(dashed(host.mac), dashed(host.mac))] if host.mac else []
    pairs += [(hexadecimal(host.ip), str(host.ip))] if host.ip else []
    for name, plain in pairs:
        yield f"{ipxe.DIRECTORY}/{plain}.ipxe"
        if Program.PXELINUX in known:
            yield f"{pxelinux.DIRECTORY}/{name}"
        if Program.GRUB in known:
            yield f"{grub.DEFAULT}-{name}"


def _text(name: str, menu: Menu, site: Site) -> str:
    if name.startswith(ipxe.DIRECTORY):
        return ipxe.text(menu, site.http)
    return grub.text(menu) if name.startswith(grub.DIRECTORY) else pxelinux.text(menu)


def _described(start: Start) -> dict[str, object]:
    return {
        "name": start.name,
        "title": start.title,
        "kernel": start.kernel,
        "initrds": list(start.initrds),
        "arguments": list(start.arguments),
    }


def _of_host(host: Host, start: Start) -> dict[str, object]:
    own = {"host": host.name, "mac": host.mac, "ip": str(host.ip or "")}
    return own | _described(start)
