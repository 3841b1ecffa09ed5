"""A plan as text, as JSON, and as a graph for Graphviz or Mermaid."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from imagebuilder import registry
from imagebuilder.disk.graph import volume_text
from imagebuilder.disk.model import Device, Filesystem, Partition
from imagebuilder.element.environment import redact
from imagebuilder.element.model import ALL_PHASES, PHASES, Phase
from imagebuilder.plan.model import Plan

MEDIUM = "medium"  # the SOURCE of formats that are made of the files of a CD
SHORT = 12  # hexadecimal digits of an id that a person gets to see


Outlook = Mapping[str, tuple[str, str]]  # by phase: its step's id, and whether that is cached


def text(plan: Plan, outlook: Outlook) -> str:
    """The plan for a human being."""
    lines = [
        f"image      {plan.request.output_name} ({plan.request.arch})",
        f"elements   {' '.join(element.name for element in plan.draft.elements)}",
        *(line for phase in _phases(plan) for line in _phase_lines(plan, phase, outlook)),
        f"boot       {', '.join(plan.boot_loaders) or 'no boot loader'}",
        f"disk       from {plan.draft.disk_source}",
        *(f"  {line}" for line in _disk_lines(plan)),
        *(f"  attached: {why}" for why in [plan.draft.attached] if why),
        f"outputs    {', '.join(str(output.path) for output in plan.outputs) or 'what hooks make'}",
        *(f"warning: {warning}" for warning in plan.warnings),
    ]
    return redact("\n".join(lines), plan.secrets)


def as_json(plan: Plan, outlook: Outlook) -> str:
    """The plan for a program; keys are stable."""
    return redact(json.dumps(_document(plan, outlook), indent=2), plan.secrets)


def dot(plan: Plan) -> str:
    """The elements and the phases as a Graphviz graph."""
    lines = [f'  "{a}" -> "{b}"{_style(kind)};' for a, b, kind in _edges(plan)]
    return "\n".join(("digraph plan {", "  rankdir=LR;", "  node [shape=box];", *lines, "}"))


def mermaid(plan: Plan) -> str:
    """The elements and the phases as a Mermaid flow chart."""
    names: dict[str, str] = {}
    lines = []
    for a, b, kind in _edges(plan):
        one, other = (names.setdefault(name, f"n{len(names)}") for name in (a, b))
        arrow = "-.->" if kind == "needs" else "-->"
        lines.append(f'  {one}["{a}"] {arrow} {other}["{b}"]')
    return "\n".join(("flowchart LR", *lines))


def _phases(plan: Plan) -> tuple[Phase, ...]:
    """Those of the plan: a medium has two more."""
    sources = [registry.output_format(name).SOURCE.value for name in plan.draft.types]
    return ALL_PHASES if MEDIUM in sources else PHASES


def _phase_lines(plan: Plan, phase: Phase, outlook: Outlook) -> Iterator[str]:
    hooks = plan.draft.tree.of(phase.name)
    change = plan.packages.get(phase.name)
    if not hooks and not (change and (change.install or change.uninstall)):
        return
    where = f"({phase.where.value})"
    key, state = outlook.get(phase.name, ("", ""))
    yield f"{phase.name:<12} {where:<28} {key[:SHORT]:<{SHORT}} {state}".rstrip()
    if phase.name == "root" and plan.early:
        yield f"  with the bootstrap: {' '.join(plan.early)}"
    for verb in ("install", "uninstall") if change else ():
        names = [name for request in getattr(change, verb) for name in request.names]
        if names:
            yield f"  {verb}: {' '.join(dict.fromkeys(names))}"
    for hook in hooks:
        yield f"  {hook.name:<40} {hook.element}"
    if phase.name == "install" and plan.request.packages:
        yield f"  {'install-packages':<40} -p {' '.join(plan.request.packages)}"


def _disk_lines(plan: Plan) -> Iterator[str]:
    disk = plan.draft.disk
    if plan.draft.existing:
        yield "which is changed and keeps its layout"
        return
    for device in disk.devices:
        size = device.size or plan.request.image_size
        yield f"{device.name}: {size or 'as large as its content needs'}"
        for partitioning in (p for p in disk.partitionings if p.base == device.name):
            yield f"  {partitioning.label.value} partition table"
            for partition in partitioning.partitions:
                yield f"    {partition.name:<12} {_amount(partition)}"
    for group in disk.groups:
        yield f"volume group {group.name} on {', '.join(group.bases)}"
        for volume in (v for v in disk.volumes if v.group == group.name):
            yield f"  {volume.name:<12} {volume_text(volume)}"
    for fs in disk.filesystems:
        yield f"{fs.base}: {fs.type} {fs.label!r} {fs.mount_point}".rstrip()


def _amount(partition: Partition) -> str:
    return f"{partition.percent:g} %" if partition.size is None else str(partition.size)


def _document(plan: Plan, outlook: Outlook) -> dict[str, Any]:
    disk = plan.draft.disk
    return {
        "name": plan.request.output_name,
        "arch": plan.request.arch,
        "epoch": plan.epoch,
        "elements": [
            {"name": e.name, "path": str(e.path), "depends": list(e.depends)}
            for e in plan.draft.elements
        ],
        "phases": [
            {
                "name": phase.name,
                "where": phase.where.value,
                "id": outlook.get(phase.name, ("", ""))[0] or None,
                "state": outlook.get(phase.name, ("", ""))[1] or None,
                "hooks": [
                    {"name": h.name, "element": h.element, "source": str(h.source)}
                    for h in plan.draft.tree.of(phase.name)
                ],
                **_packages(plan, phase),
            }
            for phase in _phases(plan)
        ],
        "early_packages": list(plan.early),
        "extra_packages": list(plan.request.packages),
        "boot_loaders": list(plan.boot_loaders),
        "disk": {
            "source": plan.draft.disk_source,
            "existing": plan.draft.existing is not None,
            "attached": plan.draft.attached,
            "devices": [_device(device) for device in disk.devices],
            "partitions": [
                {"name": p.name, "table": t.label.value, "size": p.size, "percent": p.percent}
                for t in disk.partitionings
                for p in t.partitions
            ],
            "volumes": [
                {"name": v.name, "group": v.group, "kind": v.kind.value, "wish": volume_text(v)}
                for v in disk.volumes
            ],
            "filesystems": [_filesystem(fs) for fs in disk.filesystems],
        },
        "outputs": [{"format": o.format, "path": str(o.path)} for o in plan.outputs],
        "warnings": list(plan.warnings),
    }


def _packages(plan: Plan, phase: Phase) -> dict[str, list[str]]:
    change = plan.packages.get(phase.name)
    if change is None:
        return {"install": [], "uninstall": []}
    return {
        verb: [name for request in requests for name in request.names]
        for verb, requests in (("install", change.install), ("uninstall", change.uninstall))
    }


def _device(device: Device) -> dict[str, Any]:
    return {"name": device.name, "size": device.size, "sector": device.sector}


def _filesystem(fs: Filesystem) -> dict[str, Any]:
    return {
        "name": fs.name,
        "base": fs.base,
        "type": fs.type,
        "label": fs.label,
        "uuid": str(fs.uuid),
        "mount_point": fs.mount_point,
    }


def _edges(plan: Plan) -> Iterator[tuple[str, str, str]]:
    for element in plan.draft.elements:
        for name in element.depends:
            yield element.name, name, "needs"
    phases = [phase for phase in _phases(plan) if plan.draft.tree.of(phase.name)]
    steps = [phase.directory for phase in phases] + ["disk"]
    for before, after in pairwise(steps):
        yield before, after, "then"
    for phase in phases:
        for name in dict.fromkeys(h.element for h in plan.draft.tree.of(phase.name)):
            yield name, phase.directory, "takes part"
    for output in plan.outputs:
        yield "disk", str(output.path), "then"


def _style(kind: str) -> str:
    return {"needs": " [style=dashed]", "takes part": " [color=gray]", "then": ""}[kind]
