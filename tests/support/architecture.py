"""The rules of CONTRIBUTING.md as functions: modules in, what breaks a rule out. Decides."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

STAGES: Final = (
    *("core", "workspace", "lock", "channel", "network", "fetch"),
    *("index", "verify", "doctor", "keep", "template", "demo"),
)

# What starts a task is not there for the tasks.
_LAUNCHERS: Final = frozenset(
    f"scripts.{name}" for name in ("launch", "environment", "extension", "pyz")
)

LONGEST_FUNCTION: Final = 60
LONGEST_MODULE: Final = 500
# The far side has no other file of ours.
_LONGEST_ALONE: Final = {"scripts.keep.unbundle": 900}
LONGEST_TASK: Final = 120

_PRINTS: Final = frozenset({"scripts.core.console", "scripts.keep.unbundle"})  # it runs alone
# What a Python may read that is too old for the console; the worker answers its parent on stdout.
_WRITES: Final = _PRINTS | {"scripts.launch", "scripts.pyz", "scripts.core.rattler_worker"}

# What runs in the child process that may crash as it ends.
_WORKER: Final = frozenset({"scripts.core.rattler_worker", "scripts.core.rattler_solver"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One module: its dotted name, and its source as text and tree."""

    name: str
    source: str
    tree: ast.Module

    @property
    def stage(self) -> str:
        """The folder below scripts that it is in, `tasks` for a task, `launcher` for what is last.

        Empty for scripts itself.
        """
        parts = self.name.split(".")
        if self.name in _LAUNCHERS:
            return "launcher"
        if parts[0] != "scripts":
            return parts[0]
        return parts[1] if len(parts) > 2 else ""


def parse_module(name: str, source: str) -> Module:
    """Make a Module; raises SyntaxError."""
    return Module(name=name, source=source, tree=ast.parse(source))


def imports(module: Module) -> Iterator[str]:
    """Every module that it imports, wherever the import stands; `from a import b` gives both."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield base
            yield from (f"{base}.{each.name}" for each in node.names)


def against_the_arrow(modules: Iterable[Module]) -> Iterator[str]:
    """Imports that point downstream, and folders that have no place in the order."""
    order = ("", *STAGES, "tasks", "launcher")
    for module in modules:
        if module.stage not in order:
            yield f"{module.name}: {module.stage} has no place in the order"
            continue
        for target in sorted(set(imports(module))):
            parts = target.split(".")
            if parts[0] == "":
                yield f"{module.name}: imports {target} relatively"
            elif parts[0] == "scripts" and len(parts) > 2 and parts[1] in STAGES:
                here, there = order.index(module.stage), order.index(parts[1])
                if there > here:
                    yield f"{module.name}: imports {target}, which is downstream"
            elif parts[0] == "tasks" and module.stage != "tasks":
                yield f"{module.name}: imports {target}, which is downstream"
            elif target in _LAUNCHERS and module.stage != "launcher":
                yield f"{module.name}: imports {target}, which is the launcher's"


def too_large(modules: Iterable[Module]) -> Iterator[str]:
    """Modules and functions that are longer than allowed."""
    for module in modules:
        lines = module.source.count("\n")
        most = LONGEST_TASK if module.stage == "tasks" else LONGEST_MODULE
        most = _LONGEST_ALONE.get(module.name, most)
        if lines > most:
            yield f"{module.name}: {lines} lines, at most {most}"
        for node in ast.walk(module.tree):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                yield f"{module.name}.{node.name}: {length} lines, at most {LONGEST_FUNCTION}"


def printing(modules: Iterable[Module]) -> Iterator[str]:
    """Modules other than the console that print."""
    for module in modules:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call):
                continue
            call = ast.unparse(node.func)
            if call == "print" and module.name not in _PRINTS:
                yield f"{module.name}:{node.lineno}: prints"
            if call in {"sys.stdout.write", "sys.stderr.write"} and module.name not in _WRITES:
                yield f"{module.name}:{node.lineno}: prints"


def importing_rattler(modules: Iterable[Module]) -> Iterator[str]:
    """Modules other than the worker and its parts that import rattler."""
    for module in modules:
        if module.name in _WORKER:
            continue
        if any(target.split(".")[0] == "rattler" for target in imports(module)):
            yield f"{module.name}: imports rattler"


def undeclared(modules: Iterable[Module], declared: Iterable[str]) -> Iterator[str]:
    """Imports of packages that are neither Python's, nor ours, nor declared."""
    known = {*sys.stdlib_module_names, *declared, "scripts", "tasks", "bench", ""}
    for module in modules:
        for root in sorted({target.split(".")[0] for target in imports(module)} - known):
            yield f"{module.name}: imports {root}, which the requirements do not name"


def bounds(requirements: str) -> dict[str, str]:
    """Read requirement lines as `name -> bounds`, comments left out, markers too."""
    result = {}
    for line in requirements.splitlines():
        text = line.partition("#")[0].partition(";")[0].strip()
        if text:
            name = re.match(r"[A-Za-z0-9._-]+", text)
            assert name, line
            result[name.group()] = text[name.end() :].strip()
    return result


def pictured(text: str) -> Iterator[str]:
    """The paths that CONTRIBUTING.md's picture of the tree names, folders with a slash at the end.

    A line is indented below its folder; names stand before two blanks, commas between them.
    """
    block = text.partition("## The tree")[2].split("```")[1]
    folders: list[str] = []
    for line in block.strip().splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = line.strip().partition("  ")[0].split(", ")
        folders[depth:] = [names[0]]
        yield from ("".join((*folders[:depth], name)) for name in names)


def tasks_of_readme(text: str) -> list[str]:
    """The tasks that the README's task table names: the table whose first heading is `task`.

    A row names its task first, in backticks: `fetch`, `pixi run fetch` or `fetch [options]`.
    """
    names = []
    inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.lstrip().startswith("|"):
            inside = False
        elif cells[0].strip("`*").lower() == "task":
            inside = True
        elif inside and (found := re.match(r"`(?:pixi run |\./run )?([a-z-]+)", cells[0])):
            names.append(found.group(1))
    return names


def out_of_place(files: Iterable[tuple[str, str]], words: Iterable[str]) -> Iterator[str]:
    """Lines of (name, text) files that hold one of the words."""
    wanted = tuple(words)
    for name, text in files:
        for number, line in enumerate(text.splitlines(), 1):
            for word in wanted:
                if word in line:
                    yield f"{name}:{number}: mentions {word}"
