"""One row per option: flag, variable, key and help all come from the table below."""

from __future__ import annotations

import getopt
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

from imagebuilder.errors import ConfigError, nearest
from imagebuilder.sizes import UNITS, Size


class Kind(Enum):
    """What an option's argument is."""

    FLAG = auto()
    COUNT = auto()
    TEXT = auto()
    WORDS = auto()  # comma separated, repeatable
    GIB = auto()  # a number of GiB, decimals allowed
    MIB = auto()
    NUMBER = auto()
    CHOICES = auto()  # with `=` and a word, repeatable, or without


@dataclass(frozen=True, slots=True)
class Option:
    """One option: `field` of the Request, the variable that also sets it, and its help.

    `key` is its name in files of images. One that is `new` is refused by diskimage-builder.
    """

    field: str
    short: str
    long: str
    kind: Kind
    metavar: str
    variable: str
    help: str
    key: str = ""
    new: bool = False


# fmt: off
OPTIONS = (
    Option("name", "o", "", Kind.TEXT, "NAME", "IMAGE_NAME",
           "path and name of the output, without its extension (default: image)", "imagename"),
    Option("types", "t", "", Kind.WORDS, "TYPES", "",
           "output formats, comma separated, like qcow2,raw,vhd,tgz,squashfs (default: qcow2)",
           "types"),
    Option("arch", "a", "", Kind.TEXT, "ARCH", "ARCH",
           "architecture of the image (default: the host's)", "arch"),
    Option("packages", "p", "", Kind.WORDS, "PACKAGES", "",
           "packages to install after install.d, comma separated; may be repeated", "packages"),
    Option("no_base", "n", "", Kind.FLAG, "", "SKIP_BASE",
           "leave the element 'base' out", "skip-base"),
    Option("clear", "c", "", Kind.FLAG, "", "CLEAR_ENV",
           "hand on to hooks only those of the caller's variables that are about images", "clear"),
    Option("uncompressed", "u", "", Kind.FLAG, "", "",
           "do not compress the image", "uncompressed"),
    Option("trace", "x", "", Kind.COUNT, "", "DIB_DEBUG_TRACE",
           "trace the hooks' shells; twice traces noisy helpers too", "debug-trace"),
    Option("image_size", "", "image-size", Kind.GIB, "GIB", "DIB_IMAGE_SIZE",
           "size of the disk in GiB (default: what the content needs and some room)",
           "image-size"),
    Option("extra_size", "", "image-extra-size", Kind.MIB, "MIB", "DIB_IMAGE_EXTRA_SIZE",
           "room in the root filesystem beyond its content, in MiB", "image-extra-size", new=True),
    Option("image_cache", "", "image-cache", Kind.TEXT, "DIR", "DIB_IMAGE_CACHE",
           "directory of caches (default: ~/.cache/image-create)", "image-cache"),
    Option("checksum", "", "checksum", Kind.FLAG, "", "DIB_CHECKSUM",
           "write .md5 and .sha256 files beside the outputs", "checksum"),
    Option("max_online_resize", "", "max-online-resize", Kind.NUMBER, "BLOCKS",
           "MAX_ONLINE_RESIZE", "blocks that the root filesystem can grow to while mounted",
           "max-online-resize"),
    Option("journal_size", "", "mkfs-journal-size", Kind.MIB, "MIB", "DIB_JOURNAL_SIZE",
           "size of the root filesystem's journal in MiB (default: 64)", "mkfs-journal-size",
           new=True),
    Option("mkfs_options", "", "mkfs-options", Kind.TEXT, "OPTIONS", "",
           "options for mkfs of the root filesystem", "mkfs-options"),
    Option("min_tmpfs", "", "min-tmpfs", Kind.GIB, "GIB", "DIB_MIN_TMPFS",
           "build in memory only if twice this much is free (default: 2)", "min-tmpfs"),
    Option("no_tmpfs", "", "no-tmpfs", Kind.FLAG, "", "DIB_NO_TMPFS",
           "build on disk, not in memory", "no-tmpfs"),
    Option("no_cache", "", "no-cache", Kind.FLAG, "", "IMAGEBUILDER_NO_CACHE",
           "neither use nor keep cached layers and outputs", new=True),
    Option("refresh", "", "refresh", Kind.CHOICES, "PHASE|ELEMENT", "",
           "take all steps again, or those from this phase or element on", new=True),
    Option("incremental", "", "incremental", Kind.FLAG, "", "IMAGEBUILDER_INCREMENTAL",
           "use cached layers of elements that may have read what the cache cannot know of",
           new=True),
    Option("offline", "", "offline", Kind.FLAG, "", "DIB_OFFLINE",
           "build from caches alone: no hook has a network, and what is missing is an error",
           "offline"),
    Option("qemu_img_options", "", "qemu-img-options", Kind.TEXT, "OPTIONS",
           "QEMU_IMG_OPTIONS", "options for formats that have such, like compat=0.10 or"
           " vmdk:subformat=streamOptimized", "qemu-img-options"),
    Option("docker_target", "", "docker-target", Kind.TEXT, "NAME", "DOCKER_TARGET",
           "REPOSITORY:TAG of a container image, with docker:// before it to push it there",
           "docker-target"),
    Option("squashfs_compression", "", "squashfs-compression", Kind.TEXT, "NAME",
           "IMAGEBUILDER_SQUASHFS_COMPRESSION", "xz, zstd, gzip, lz4 or lzo (default: xz)",
           new=True),
    Option("root_label", "", "root-label", Kind.TEXT, "LABEL", "ROOT_LABEL",
           "label of the root filesystem (default: cloudimg-rootfs; img-rootfs for xfs)",
           "root-label"),
    Option("install_type", "", "install-type", Kind.TEXT, "TYPE", "DIB_DEFAULT_INSTALLTYPE",
           "how elements install software by default (default: source)", "install-type"),
    Option("ramdisk_element", "", "ramdisk-element", Kind.TEXT, "ELEMENT", "RAMDISK_ELEMENT",
           "what ramdisk-image-create makes the ramdisk with (default: ramdisk)",
           "ramdisk-element"),
    Option("hook_timeout", "", "hook-timeout", Kind.NUMBER, "SECONDS",
           "IMAGEBUILDER_HOOK_TIMEOUT", "end a hook that takes longer (default: none does)",
           new=True),
    Option("attached", "", "attached", Kind.FLAG, "", "IMAGEBUILDER_ATTACHED",
           "have the disk as block devices in pre-finalise.d, finalise.d and cleanup.d", new=True),
    Option("logfile", "", "logfile", Kind.TEXT, "FILE", "",
           "append the log to this file, and be quiet on standard output", "logfile"),
    Option("help", "h", "help", Kind.FLAG, "", "", "show this help and exit"),
    Option("version", "", "version", Kind.FLAG, "", "", "show the version and exit"),
)
# fmt: on
ESSENTIAL = re.compile(
    r"(DIB|IMAGEBUILDER|BLOCK_DEVICE)_\w+|ELEMENTS_PATH|IMAGE_ELEMENT|FS_TYPE|OVERWRITE_OLD_IMAGE"
    r"|ACI_MANIFEST|DOCKER_TARGET|SOURCE_DATE_EPOCH|GENTOO_PROFILE|NO_SOURCE_REPOSITORIES|break(_\w+)?"
    r"|PATH|HOME|USER|LOGNAME|TERM|TMPDIR|TMP_DIR|(https?|ftp|all|no)_proxy|(HTTPS?|FTP|ALL|NO)_PROXY"
)
STEPS = {Kind.GIB: UNITS["GiB"], Kind.MIB: UNITS["MiB"]}
MOST = dict.fromkeys(STEPS, 2**60)  # bytes; files have up to 2**63
GRAIN = 64 * UNITS["KiB"]  # what a decimal number of GiB is rounded up to
ON = ("1", "true", "yes", "on")
OFF = ("0", "false", "no", "off")
JOURNAL = Size(64 * UNITS["MiB"])
LEAST_TMPFS = Size(2 * UNITS["GiB"])
SHARED_PACKAGES = "IMAGEBUILDER_SHARED_PACKAGES"
MEMORY = "IMAGEBUILDER_MEMORY"
FROM_BATCH = (SHARED_PACKAGES, MEMORY)  # for the builder alone: hooks do not see them
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody asked for: the words of a command line and the environment it ran in."""

    elements: tuple[str, ...] = ()
    name: str = "image"
    types: tuple[str, ...] = ("qcow2",)
    arch: str = ""
    packages: tuple[str, ...] = ()
    no_base: bool = False
    clear: bool = False
    uncompressed: bool = False
    trace: int = 0
    image_size: Size | None = None
    extra_size: Size | None = None
    image_cache: str = ""
    checksum: str = ""
    max_online_resize: int | None = None
    journal_size: Size = JOURNAL
    mkfs_options: str = ""
    min_tmpfs: Size = LEAST_TMPFS
    no_tmpfs: bool = False
    no_cache: bool = False
    refresh: tuple[str, ...] = ()  # phases and elements; `root` stands for all
    incremental: bool = False
    offline: bool = False
    qemu_img_options: str = ""
    docker_target: str = ""
    squashfs_compression: str = "xz"
    root_label: str = ""
    root_type: str = "ext4"
    install_type: str = ""
    ramdisk: bool = False  # a kernel and an initramfs are wanted, and no disk
    ramdisk_element: str = ""
    hook_timeout: int = 0
    attached: bool = False
    logfile: str = ""
    words: tuple[str, ...] = ()  # the command line as it was given
    help: bool = False
    version: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def output_name(self) -> str:
        """The name without a suffix that repeats the one output type."""
        return self.name.removesuffix(f".{self.types[0]}") if len(self.types) == 1 else self.name


def parse(
    words: Sequence[str], environment: Mapping[str, str], *, ramdisk: bool = False
) -> Request:
    """The Request in a command line (GNU getopt: options anywhere, `--` ends them)."""
    values = _from_environment(environment)
    given, elements = _getopt(words)
    for flag, argument in given:
        option = _by_flag(flag)
        values[option.field] = _add(option, values.get(option.field), argument, where=flag)
    if values.get("help") or values.get("version"):
        return Request(help=bool(values.get("help")), version=bool(values.get("version")))
    names = [*environment.get("IMAGE_ELEMENT", "").split(), *" ".join(elements).split()]
    arch = str(values.pop("arch", "")) or host_arch()
    if environment.get("break"):
        values["no_cache"] = True  # what comes from the cache has no points to stop at
    chosen = implied(names, arch=arch, base=not values.get("no_base"))
    maker = (values.get("ramdisk_element") or "ramdisk",) if ramdisk else ()
    return Request(
        **values,
        arch=arch,
        root_type=environment.get("FS_TYPE") or "ext4",
        ramdisk=ramdisk,
        elements=tuple(dict.fromkeys((*maker, *chosen))),
        words=tuple(words),
        environment=essential(environment) if values.get("clear") else dict(environment),
    )


def essential(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that say how to build and what; the rest is of the caller's session."""
    ours = {option.variable for option in OPTIONS if option.variable}
    return {
        name: value
        for name, value in environment.items()
        if name in ours or ESSENTIAL.fullmatch(name)
    }


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options of a command line, each with its argument, and the names; raise ConfigError."""
    given, names = _getopt(words)
    return [word for flag, argument in given for word in _as_words(flag, argument)], names


def _as_words(flag: str, argument: str) -> tuple[str, ...]:
    option = _by_flag(flag)
    if option.kind is Kind.CHOICES:
        return (f"{flag}={argument}" if argument else flag,)
    return (flag, argument) if option.metavar else (flag,)


def host_arch() -> str:
    """The host's architecture in Debian's words."""
    machine = platform.machine()
    return "armhf" if machine.startswith("armv") else ARCHITECTURES.get(machine, machine)


def usage(program: str) -> str:
    """The help text of a command that takes these options."""
    rows = [(_flags(option), option) for option in OPTIONS]
    width = max(len(flags) for flags, _ in rows)
    lines = [f"  {flags:<{width}}  {option.help}{_also(option)}" for flags, option in rows]
    return "\n".join((
        f"Usage: {program} [OPTION]... ELEMENT...",
        "",
        "Builds a disk image from elements, like: vm debian-minimal",
        "",
        *lines,
        "",
        "ELEMENTS_PATH: directories of elements of your own, separated by colons.",
    ))  # fmt: skip


def _flags(option: Option) -> str:
    flags = [f"-{option.short}"] * bool(option.short) + [f"--{option.long}"] * bool(option.long)
    if option.kind is Kind.CHOICES:
        return f"{', '.join(flags)}[={option.metavar}]"
    return ", ".join(flags) + (f" {option.metavar}" if option.metavar else "")


def _also(option: Option) -> str:
    return f" [{option.variable}]" if option.variable else ""


def implied(names: list[str], *, arch: str, base: bool) -> tuple[str, ...]:
    """The elements that a command line stands for, beyond those it names."""
    if not names:
        raise ConfigError(
            "At least one distribution root element must be specified",
            hint="for example: vm debian-minimal",
        )
    if "vm" in names and not any(name.startswith("block-device-") for name in names):
        names = [*names, "block-device-efi" if arch in ("arm64", "aarch64") else "block-device-mbr"]
    return tuple(dict.fromkeys(["base", *names] if base else names))


def _getopt(words: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    short = "".join(o.short + ":" * bool(o.metavar) for o in OPTIONS if o.short)
    long = [o.long + "=" * _takes_argument(o) for o in OPTIONS if o.long]
    chosen, rest = _choices(words)
    try:
        given, elements = getopt.gnu_getopt(rest, short, long)
    except getopt.GetoptError as error:
        longer = _lengthened(rest, error.opt)
        if longer != rest:
            return _getopt(longer)
        known = [f"--{option.long}" for option in OPTIONS if option.long]
        raise ConfigError(
            error.msg, hint=nearest(f"--{error.opt}", known) or "see --help for the options"
        ) from error
    return [*chosen, *given], elements


def _lengthened(words: Sequence[str], prefix: str) -> list[str]:
    """The words with an abbreviation spelled out that only new options make ambiguous."""
    meant = [o.long for o in OPTIONS if prefix and o.long.startswith(prefix) and not o.new]
    if len(meant) != 1:
        return [*words]
    return [re.sub(rf"\A--{re.escape(prefix)}(?=\Z|=)", f"--{meant[0]}", word) for word in words]


def _choices(words: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Options whose argument may be left out, with those that have one; `getopt` knows no such."""
    end = words.index("--") if "--" in words else len(words)
    flags = tuple(f"--{o.long}=" for o in OPTIONS if o.kind is Kind.CHOICES)
    taken = [word for word in words[:end] if word.startswith(flags)]
    rest = [word for word in words[:end] if word not in taken]
    pairs = [(flag, value) for flag, _, value in (word.partition("=") for word in taken)]
    return pairs, [*rest, *words[end:]]


def _takes_argument(option: Option) -> bool:
    return bool(option.metavar) and option.kind is not Kind.CHOICES


def _by_flag(flag: str) -> Option:
    name = flag.lstrip("-")
    return next(o for o in OPTIONS if name == (o.long if flag.startswith("--") else o.short))


def _add(option: Option, before: Any, argument: str, *, where: str) -> Any:
    """The field's value after one more occurrence of the option."""
    if option.field == "checksum":
        return "md5,sha256"
    match option.kind:
        case Kind.FLAG:
            return True
        case Kind.CHOICES:
            return (*(before or ()), *(argument or "root").split(","))
        case Kind.COUNT:
            return (before or 0) + 1
        case Kind.WORDS:
            words = tuple(word for word in argument.split(",") if word)
            return (*(before or ()), *words) if option.field == "packages" else words
        case _:
            return _read(option.kind, argument, where)


def _read(kind: Kind, text: str, where: str) -> Any:
    if kind is Kind.TEXT:
        return text
    match = re.match(r"\s*(\d+(?:\.\d+)?)", text)
    if not match or (kind is Kind.NUMBER and not text.strip().isdigit()):
        raise ConfigError(f"not a number: {text!r}", where=where)
    number = float(match[1]) * STEPS.get(kind, 1)
    if number > MOST.get(kind, 2**32 - 1):
        raise ConfigError(f"too large: {text.strip()[:40]}", where=where)
    match kind:
        case Kind.GIB:
            return Size(number).up_to(GRAIN)
        case Kind.MIB:
            return Size(number)
        case _:
            return int(number)


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for option in OPTIONS:
        text = environment.get(option.variable, "") if option.variable else ""
        if not text:
            continue
        if option.field == "checksum":
            values["checksum"] = checksums(text)
        elif option.kind is Kind.FLAG:
            values[option.field] = text.lower() not in OFF
        else:
            kind = Kind.NUMBER if option.kind is Kind.COUNT else option.kind
            values[option.field] = _read(kind, text, option.variable)
    return values


def checksums(text: str) -> str:
    """Which checksums `DIB_CHECKSUM` asks for: `1` both, else those it names, `0` none."""
    names = [name for name in ("md5", "sha256") if name in text]
    return "md5,sha256" if text.lower() in ON else ",".join(names)


def cache_directory(request: Request) -> Path:
    """Where downloads are kept."""
    home = Path(request.environment.get("HOME") or "~").expanduser()
    return Path(request.image_cache) if request.image_cache else home / ".cache/image-create"


def lock_directory(request: Request) -> Path:
    """Where hooks lock what is shared between builds."""
    given = request.environment.get("DIB_LOCKFILES")
    return Path(given) if given else cache_directory(request) / "lockfiles"
