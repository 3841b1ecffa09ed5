"""Writes the reference pages that follow from the code, so that they cannot say anything else.

    python docs/generate.py            write the pages
    python docs/generate.py --check    write nothing; exit 1 and name each page that is out of date

Options, verbs, tools, plugins, schemas and elements are those of the checkout this file is in.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import element_pages
import texts
from markdown import code, page, table

from imagebuilder import options, registry
from imagebuilder.batch.load import KEYS, SCHEMA
from imagebuilder.cli import images, verbs
from imagebuilder.cli.words import sentence
from imagebuilder.disk import gpt
from imagebuilder.disk.entry import LISTS, PLUGINS
from imagebuilder.element import pkgmap
from imagebuilder.formats.model import Source
from imagebuilder.lint.model import RULES
from imagebuilder.netboot.load import SCHEMA as HOSTS
from imagebuilder.plan import make
from imagebuilder.tools import table as tools
from imagebuilder.tools.model import DEBIAN, REDHAT, SUSE, UBUNTU

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"


def main(words: Sequence[str]) -> int:
    """Write or check the pages; the exit status."""
    parser = argparse.ArgumentParser(description="Writes the generated reference pages.")
    parser.add_argument("--check", action="store_true", help="only say which are out of date")
    wanted = pages()
    stale = [name for name, text in wanted.items() if _present(name) != text]
    stale += [name for name in _generated_elements() if name not in wanted]
    if parser.parse_args(words).check:
        for name in stale:
            print(f"docs/reference/{name} is out of date: run 'python docs/generate.py'")
        return 1 if stale else 0
    for name in stale:
        _put(REFERENCE / name, wanted.get(name))
        print(f"docs/reference/{name}")
    return 0


def pages() -> Mapping[str, str]:
    """Every generated page's name, relative to docs/reference, and its text."""
    return {
        "options.md": options_page(),
        "verbs.md": verbs_page(),
        "tools.md": tools_page(),
        "formats.md": formats_page(),
        "block-device.md": block_device_page(),
        "element-yaml.md": element_yaml_page(),
        "package-installs.md": package_installs_page(),
        "images.md": images_page(),
        "hosts.md": hosts_page(),
        "lint.md": lint_page(),
        **element_pages.pages(ROOT / "elements"),
    }


def options_page() -> str:
    """Options and variables of a build."""
    rows = [
        (
            ", ".join(code(flag) for flag in _flags(option)),
            code(option.metavar),
            code(option.variable),
            code(option.key),
            option.help,
        )
        for option in options.OPTIONS
    ]
    variables = [(code(name), text.format(epoch=make.EPOCH)) for name, text in texts.VARIABLES]
    return page(
        "Options of a build",
        texts.OPTIONS,
        table(("option", "argument", "variable", "key", "meaning"), rows),
        "## Variables that are not options",
        texts.BEYOND_OPTIONS,
        table(("variable", "meaning"), variables),
    )


def verbs_page() -> str:
    """What `imagebuilder` can do, and the arguments of each verb."""
    summary = [(f"[`imagebuilder {name}`](#{name})", text) for name, text in verbs.VERBS.items()]
    parts = []
    for name, text in verbs.VERBS.items():
        parts += [f"## {name}", sentence(text)]
        if name in verbs.TAKES_BUILD_OPTIONS:
            parts.append("It takes all [options of a build](options.md) and the names of elements.")
        if name == "build":
            parts.append(texts.OF_FILES)
        parts += _explained(name)
    return page("The verbs of imagebuilder", table(("verb", "what it does"), summary), *parts)


def tools_page() -> str:
    """The host programs that builds and tests need."""
    families = (DEBIAN, UBUNTU, REDHAT, SUSE)
    rows = [
        (
            code(tool.name),
            tool.minimum or "any",
            tool.purpose,
            ", ".join(tool.features),
            *(code(tools.package(tool, _nearest(family))) for family in families),
        )
        for tool in tools.TOOLS
    ]
    heads = ("program or file", "at least", "purpose", "features", *families)
    jobs = [(code(job), ", ".join(features)) for job, features in tools.JOBS.items()]
    own = [
        (f"[{name}](elements/{name}.md)" if _is_element(name) else name, ", ".join(features))
        for name, features in sorted(tools.ELEMENTS.items())
    ]
    return page(
        "Tools on the host",
        texts.TOOLS,
        table(heads, rows),
        "## What a job needs",
        table(("`doctor --for`", "features"), jobs),
        "## What an element needs",
        f"Every image takes: {', '.join(tools.ANY_IMAGE)}. Some elements take more:",
        table(("element", "features"), own),
    )


def formats_page() -> str:
    """Output formats, filesystems and boot loaders."""
    formats = [(name, registry.find("formats", name)) for name in _plugins("formats")]
    rows = [
        (code(name), code(f"NAME{module.SUFFIXES[name]}"), f"the {_made_from(module.SOURCE)}")
        for name, module in formats
    ]
    return page(
        "Formats, filesystems and boot loaders",
        texts.FORMATS,
        "## Output formats",
        table(("`-t`", "file", "made from"), rows),
        "### Options of formats",
        texts.QEMU_IMG_OPTIONS,
        *_described("formats"),
        "## Filesystems",
        *_described("filesystems"),
        "## Boot loaders",
        *_described("boot"),
    )


def _made_from(source: Source) -> str:
    names = {Source.TREE: "tree", Source.MEDIUM: "files of a CD that `media.d` leaves"}
    return names.get(source, "disk")


def block_device_page() -> str:
    """The document that describes a disk."""
    parts = []
    for plugin in PLUGINS:
        parts += [f"## {plugin}", _keys(_schema(f"disk/schemas/{plugin}.json"), plugin)]
        if plugin == "partitioning":
            partition = _schema("disk/schemas/partition.json")
            parts += ["### An entry of partitions", _keys(partition, "partition")]
            parts += [f"The GPT type codes are {', '.join(gpt.TYPES)}; any other type is a GUID."]
        if plugin == "lvm":
            parts.insert(-1, texts.LVM)
            for key, kind in LISTS["lvm"].items():
                entry = _schema(f"disk/schemas/{kind}.json")
                parts += [f"### An entry of {key}", _keys(entry, kind)]
    return page("The block-device document", texts.BLOCK_DEVICE, *parts)


def element_yaml_page() -> str:
    """`element.yaml`, by its schema."""
    document = _schema("element/schemas/element.json")
    variable = document["$defs"]["variable"]
    types = [(code(name), texts.TYPES[name]) for name in variable["properties"]["type"]["enum"]]
    return page(
        "element.yaml",
        texts.ELEMENT_YAML,
        _keys(document, "element"),
        "## An entry of variables",
        _keys(variable, "variable", document["$defs"]),
        "## Types",
        table(("type", "values"), types),
    )


def package_installs_page() -> str:
    """`package-installs.yaml` and `pkg-map`, by their schemas."""
    installs = _schema("element/schemas/package-installs.json")
    maps = _schema("element/schemas/pkg-map.json")
    families = [
        (family, ", ".join(name for name, of in pkgmap.FAMILIES.items() if of == family))
        for family in dict.fromkeys(pkgmap.FAMILIES.values())
    ]
    return page(
        "package-installs.yaml and pkg-map",
        texts.PACKAGE_INSTALLS,
        _keys(installs["$defs"]["properties"], "package"),
        "## pkg-map",
        texts.PKG_MAP,
        _keys(maps, "pkg-map"),
        table(("family", "distributions (`DISTRO_NAME`)"), families),
    )


def images_page() -> str:
    """Files of images, by their schema."""
    flags = {key: code(flag) for key, flag, _ in KEYS}
    rows = [
        (code(name), _values(value, {}), flags.get(name, ""), value["description"])
        for name, value in _schema(SCHEMA)["items"]["properties"].items()
    ]
    return page(
        "Files of images",
        texts.IMAGES,
        table(("key", "values", "option", "meaning"), rows),
    )


def hosts_page() -> str:
    """Files that say which machine starts what by network, by their schema."""
    top = _schema(HOSTS)
    entry = top["properties"]["entries"]["additionalProperties"]
    parts = {
        "An entry of entries": entry,
        "from": entry["properties"]["from"],
        "An entry of hosts": top["properties"]["hosts"]["items"],
        "dhcp": top["properties"]["dhcp"],
    }
    tables = [text for title, part in parts.items() for text in (f"## {title}", _keys(part, title))]
    return page("What machines start by network", texts.HOSTS, _keys(top, "hosts"), *tables)


def lint_page() -> str:
    """The rules of both linters."""
    rules = [(code(name), severity.value, text) for name, (severity, text) in RULES.items()]
    return page(
        "Linters",
        texts.LINT,
        table(("rule", "severity", "what it finds"), rules),
        "## dib-lint",
        texts.DIB_LINT,
    )


def _flags(option: options.Option) -> list[str]:
    return [f"-{option.short}"] * bool(option.short) + [f"--{option.long}"] * bool(option.long)


def _explained(verb: str) -> list[str]:
    """The table of a verb's arguments; of one with actions, a table for each of them."""
    parser = argparse.ArgumentParser(add_help=False)
    if verb == "build":
        images.add_arguments(parser, jobs=0)
    else:
        importlib.import_module(f"imagebuilder.cli.{verb}").add_arguments(parser)
    plain = [a for a in parser._actions if not isinstance(a, argparse._SubParsersAction)]
    parts = [_table(plain)] if plain else []
    for group in parser._actions:
        if isinstance(group, argparse._SubParsersAction):
            for name, action in group.choices.items():
                parts += [f"### {verb} {name}", action.description or ""]
                own = [a for a in action._actions if not isinstance(a, argparse._HelpAction)]
                parts += [_table(own)] * bool(own)
    return parts


def _table(actions: Sequence[argparse.Action]) -> str:
    return table(("argument", "meaning"), [(_spelled(a), a.help or "") for a in actions])


def _spelled(action: argparse.Action) -> str:
    names = action.metavar
    metavar = " ".join(names) if isinstance(names, tuple) else names or ""
    value = metavar or "|".join(map(str, action.choices or ()))
    if not action.option_strings:
        return code(f"[{value}...]" if action.nargs == "*" else value)
    return ", ".join(code(f"{flag} {value}".strip()) for flag in action.option_strings)


def _nearest(family: str) -> tuple[str, ...]:
    return tools.FAMILIES.get(family, (family,))


def _is_element(name: str) -> bool:
    return (ROOT / "elements" / name).is_dir()


def _described(kind: str) -> Iterable[str]:
    """A paragraph or more for each module: its names, and what its docstring says."""
    names: dict[str, list[str]] = {}
    for name in _plugins(kind):
        names.setdefault(registry.find(kind, name).__name__, []).append(name)
    for module, known in names.items():
        yield f"### {', '.join(known)}"
        yield inspect.cleandoc(sys.modules[module].__doc__ or "")


def _plugins(kind: str) -> list[str]:
    """Our own: what else is installed beside them is no part of the reference."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return sorted(project["entry-points"][f"imagebuilder.{kind}"])


def _schema(path: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((ROOT / "imagebuilder" / path).read_text())
    return document


def _keys(schema: Mapping[str, Any], of: str, defs: Mapping[str, Any] | None = None) -> str:
    """The table of a mapping's keys; what a schema does not explain, `texts.KEYS` has to."""
    required = set(schema.get("required", ())) - texts.FILLED_IN
    shared = defs or schema.get("$defs", {})
    rows = [
        (
            code(name) + " (required)" * (name in required),
            _values(value, shared),
            texts.KEYS.get((of, name)) or value["description"],
        )
        for name, value in schema["properties"].items()
    ]
    return table(("key", "values", "meaning"), rows)


def _values(value: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    if "$ref" in value:
        return _values(defs[value["$ref"].rpartition("/")[2]], defs)
    if "enum" in value:
        return ", ".join(code(str(choice)) for choice in value["enum"])
    if "oneOf" in value or "const" in value:
        several = value.get("oneOf", [value])
        return " or ".join(code(v["const"]) if "const" in v else _values(v, defs) for v in several)
    if "then" in value and "type" not in value:
        return "text, or a list of texts"
    kinds = value.get("type", "anything")
    listed = [kinds] if isinstance(kinds, str) else kinds
    return " or ".join(texts.KINDS[kind] for kind in listed if kind != "null")


def _present(name: str) -> str:
    path = REFERENCE / name
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _generated_elements() -> list[str]:
    return [f"elements/{path.name}" for path in sorted((REFERENCE / "elements").glob("*.md"))]


def _put(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
