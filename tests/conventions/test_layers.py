"""Imports point down the layers, and the deciding half never touches the world."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import imagebuilder

PACKAGE = Path(imagebuilder.__file__).parent

LAYERS: tuple[frozenset[str], ...] = (  # a module may import its own package and any line above
    frozenset({"errors", "given"}),
    frozenset({
        "events",
        "sizes",
        "paths",
        "schema",
        "registry",
        "tools",
        "magic",
        "holes",
        "patching",
    }),
    frozenset({"process", "codec"}),
    frozenset({"options", "element", "disk"}),
    frozenset({"plan"}),
    frozenset({"sandbox", "cache", "signing"}),
    frozenset({"hooks", "filesystems", "boot", "formats", "machine", "publish", "report"})
    | {"initrd", "iso", "lint", "oci", "rpmdb", "squashfs", "existing", "answers", "deb"},
    frozenset({"build", "remaster"}),
    frozenset({"batch", "netboot"}),
    frozenset({"cli"}),
)
DECIDING = frozenset({"options", "element", "disk", "plan"}).union(*LAYERS[:2])
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 400, 60, 5


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def modules() -> list[tuple[str, Path]]:
    found = [
        (path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path)
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] not in {"elements", "lib"}  # for others to run
    ]
    return [(top, path) for top, path in found if not top.startswith("__")]


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for _, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}", node


def public_functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions of modules and methods of classes, without those inside other functions."""
    for _, path in modules():
        module = ast.parse(path.read_text())
        classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
        for node in [*module.body, *(member for c in classes for member in c.body)]:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}", node


def test_there_is_something_to_check() -> None:
    assert len(modules()) > 30
    assert len(list(functions())) > 200


def test_every_module_has_a_layer() -> None:
    assert {top for top, _ in modules()} <= HEIGHT.keys()


def test_imports_point_down() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for top, path in modules()
        for name in imports(path)
        if name.startswith("imagebuilder.")
        if (target := name.split(".")[1]) in HEIGHT and target != top
        if HEIGHT[target] >= HEIGHT[top]
        if (top, target) != ("registry", "schema")
    ]
    assert not wrong


def test_only_process_starts_programs() -> None:
    users = {top for top, path in modules() if "subprocess" in set(imports(path))}
    assert users == {"process"}


def test_only_the_registry_loads_plugins() -> None:
    users = {
        top for top, path in modules() for name in imports(path) if name.startswith("stevedore")
    }
    assert users == {"registry"}


def test_deciding_never_runs_anything() -> None:
    wrong = [
        str(path.relative_to(PACKAGE))
        for top, path in modules()
        if top in DECIDING and "imagebuilder.process" in set(imports(path))
    ]
    assert not wrong


def test_files_are_short() -> None:
    long = {str(p.relative_to(PACKAGE)): len(p.read_text().splitlines()) for _, p in modules()}
    assert not {name: lines for name, lines in long.items() if lines > LONGEST_FILE}


def test_functions_are_short() -> None:
    lengths = {name: (n.end_lineno or 0) - n.lineno + 1 for name, n in functions()}
    assert not {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION}


def test_functions_take_few_positional_parameters() -> None:
    counts = {
        name: len([a for a in (*n.args.posonlyargs, *n.args.args) if a.arg not in ("self", "cls")])
        for name, n in functions()
    }
    assert not {name: count for name, count in counts.items() if count > MOST_PARAMETERS}


def test_public_functions_have_docstrings() -> None:
    assert not [
        name
        for name, node in public_functions()
        if not ast.get_docstring(node)
        if not any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)
    ]
