"""A Debian package changed: its tree on its way from one archive to another, and its control files.

Owners stay, whoever does it; checksums, size and the list of the administrator's files are made
to fit again.
"""

from __future__ import annotations

import re
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from imagebuilder import patching, process
from imagebuilder.deb import package as debs
from imagebuilder.deb.package import Package, Script
from imagebuilder.errors import CommandError, ConfigError
from imagebuilder.initrd.rootfs import Rootfs
from imagebuilder.process import Command, Runner, find, missing
from imagebuilder.remaster import output, squashfs, tartree
from imagebuilder.remaster.output import Target
from imagebuilder.remaster.squashfs import TreeChanges
from imagebuilder.remaster.tartree import Member

CONTROL = "DEBIAN/"
SUFFIX = re.compile(r"[A-Za-z0-9.+~]+")
FIELD = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
NO_CHANGES = TreeChanges()
SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")


@dataclass(frozen=True, slots=True, kw_only=True)
class DebChanges:
    """What is to be different in a package. Paths in `DEBIAN/` are its control files.

    `suffix` goes behind the version. `conffiles` are paths that become the administrator's.
    """

    tree: TreeChanges = NO_CHANGES
    suffix: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    conffiles: tuple[str, ...] = ()


def patch(source: Path, target: Target, changes: DebChanges) -> list[str]:
    """Write the package with the changes; return remarks.

    Raise ConfigError for what cannot be read or done; nothing is written then.
    """
    output.check(source, target)
    made = changed(debs.load(output.read(source), str(source)), changes)
    output.write(target, debs.write(made, changes.tree.epoch))
    return _remarks(made, target)


def listing(source: Path) -> Rootfs:
    """All files of a package; raise ConfigError if it is none, or damaged."""
    package = debs.load(output.read(source), str(source))
    return tartree.listing(_members(package))


def unpack(source: Path, directory: Path, run: Runner = process.run) -> list[str]:
    """Write tree and control files to a new directory; return remarks.

    Raise ConfigError if the directory is there, or the package is damaged.
    """
    package = debs.load(output.read(source), str(source))
    if directory.exists():
        raise ConfigError("exists already", where=str(directory))
    if not find("dpkg-deb"):
        raise missing("dpkg-deb")
    run(Command(("dpkg-deb", "-R", str(source), str(directory))))
    others = debs.owners(package)
    what = "do not belong to root, and will after 'deb build': use 'deb patch' to keep owners"
    return [f"{', '.join(others[:3])} {what}"] if others else []


def build(
    directory: Path, target: Target, changes: DebChanges, run: Runner = process.run
) -> list[str]:
    """Make a package of a directory that `unpack` wrote, which stays as it is; return remarks."""
    if not (directory / CONTROL / "control").is_file():
        hint = "'imagebuilder deb unpack' makes such a directory"
        raise ConfigError(f"has no {CONTROL}control", where=str(directory), hint=hint)
    if not find("dpkg-deb"):
        raise missing("dpkg-deb")
    output.check(directory / CONTROL / "control", target)
    with tempfile.TemporaryDirectory(prefix="imagebuilder-deb-") as name:
        plain = Path(name, "plain.deb")
        words = ("dpkg-deb", "--root-owner-group", "-Znone", "-b", str(directory), str(plain))
        epoch = {"SOURCE_DATE_EPOCH": str(changes.tree.epoch)}
        try:
            run(Command(words, env=epoch))
        except CommandError as error:
            said = error.what.strip().splitlines()[-1]
            raise ConfigError(f"dpkg-deb does not take it: {said}", where=str(directory)) from error
        package = replace(debs.load(plain.read_bytes(), str(directory)), suffixes=(".xz", ".xz"))
    made = _settled(_controlled(package, changes), changes)
    output.write(target, debs.write(made, changes.tree.epoch))
    return _remarks(made, target)


def changed(package: Package, changes: DebChanges) -> Package:
    """The package with the changes; raise ConfigError if there are none, or one cannot be."""
    made = _controlled(package, changes)
    tree = _of_tree(changes.tree)
    if tree.delete or tree.add or tree.replace or tree.patches:
        made = replace(made, data=_data(made, tree))
    elif made == package:
        raise ConfigError("nothing to do: no change was asked for", where=package.where)
    return _settled(made, changes)


def _of_tree(changes: TreeChanges) -> TreeChanges:
    """The changes of what is not a control file."""
    return replace(
        changes,
        delete=tuple(path for path in changes.delete if not _is_control(path)),
        add=tuple(wish for wish in changes.add if not _is_control(wish.path)),
        replace=tuple(row for row in changes.replace if not _is_control(row.path)),
    )


def _is_control(path: str) -> bool:
    return path.lstrip("/").startswith(CONTROL)


def _members(package: Package) -> list[Member]:
    try:
        return tartree.members(package.data)
    except tarfile.TarError as error:
        raise ConfigError(f"a damaged {debs.DATA}: {error}", where=package.where) from error


def _data(package: Package, changes: TreeChanges) -> bytes:
    members = _members(package)
    edit = squashfs.plan(tartree.listing(members), changes, package.where)
    return tartree.rewritten(members, edit)


def _controlled(package: Package, changes: DebChanges) -> Package:
    """With other control files and fields."""
    new: dict[str, Script] = {}
    epoch = changes.tree.epoch
    for path in filter(_is_control, changes.tree.delete):
        new[_known(package, path)] = Script(content=b"")
    for wish in changes.tree.add:
        if _is_control(wish.path):
            name = _control_name(wish.path) or wish.source.name
            mode = 0o755 if name in SCRIPTS else 0o644
            new[name] = Script(content=output.read(wish.source), mode=mode, mtime=epoch)
    for row in changes.tree.replace:
        if _is_control(row.path):
            name = _known(package, row.path)
            there = new.get(name, package.files[name])
            where = f"{package.where}: {row.path}"
            content = patching.substitute(there.content, row.old, row.new, where)
            new[name] = replace(there, content=content, mtime=epoch)
    return _with_fields(package.changed(new), changes)


def _with_fields(package: Package, changes: DebChanges) -> Package:
    fields = dict(changes.fields)
    for name, value in fields.items():
        if not FIELD.fullmatch(name) or "\n\n" in value:
            raise ConfigError(f"not a field of a control file: {name!r}", where=package.where)
    if changes.suffix:
        if not SUFFIX.fullmatch(changes.suffix):
            what = f"not a suffix of a version: {changes.suffix!r}"
            raise ConfigError(what, where=package.where, hint="letters, digits and . + ~")
        old = fields.get("Version", package.fields.value("Version"))
        fields["Version"] = f"{old}{changes.suffix}"
    if not fields:
        return package
    return _with_control(package, fields, changes.tree.epoch)


def _with_control(package: Package, fields: Mapping[str, str], epoch: int) -> Package:
    text = str(package.fields.changed(fields)).encode(errors="surrogateescape")
    script = replace(package.files["control"], content=text, mtime=epoch)
    return package.changed({"control": script})


def _settled(package: Package, changes: DebChanges) -> Package:
    """With lists, checksums and size that fit the tree."""
    epoch = changes.tree.epoch
    paths = {f"/{path}" for path in tartree.listing(_members(package)).files}
    given = [f"/{path.strip('/')}" for path in changes.conffiles]
    if gone := [path for path in given if path not in paths]:
        what = f"{gone[0]} is not in it, and cannot become the administrator's"
        raise ConfigError(what, where=package.where)
    kept = [p for p in debs.conffiles(package) if p in paths or p.startswith("remove-on-upgrade")]
    names = list(dict.fromkeys((*kept, *given)))
    listed = Script(content="".join(f"{name}\n" for name in names).encode(), mtime=epoch)
    there = package.files.get("conffiles")
    if there is None or there.content != listed.content:
        package = package.changed({"conffiles": listed})
    sums = Script(content=debs.md5sums(package), mtime=epoch)
    if "md5sums" not in package.files or package.files["md5sums"].content != sums.content:
        package = package.changed({"md5sums": sums})
    return _with_control(package, {"Installed-Size": str(debs.installed_size(package))}, epoch)


def _known(package: Package, path: str) -> str:
    name = _control_name(path)
    if name not in package.files:
        known = ", ".join(sorted(package.files))
        raise ConfigError(f"{path} is not in it", where=package.where, hint=f"there is: {known}")
    return name


def _control_name(path: str) -> str:
    return path.lstrip("/").removeprefix(CONTROL)


def _remarks(package: Package, target: Target) -> list[str]:
    if target.path.name == package.file_name:
        return []
    return [f"is {package.file_name} by its control file"]
