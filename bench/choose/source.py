"""Functions of this package as source that stands alone: what a written script is made of.

A loader that ships must do what was measured, without this package. So it is given the very text
of the functions that prepare and decode here, with what they use of their modules and nothing else.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from deploymark.bench.choose.folding import folded

OWN = "deploymark."

_CONSTANTS = (str, int, float, tuple, frozenset)
"""Types of what a condition may be decided by."""


@dataclasses.dataclass(frozen=True)
class Source:
    """``text`` are definitions, in an order in which they can be run.

    ``imports`` are the lines that they need before them, ``typing`` those that only their
    annotations need.
    """

    text: str
    imports: tuple[str, ...]
    typing: tuple[str, ...]


def source_of(
    functions: Iterable[Callable[..., Any]],
    *,
    instead: Mapping[str, str],
    given: frozenset[str],
    facts: Mapping[str, Any],
) -> Source:
    """The text of ``functions`` and of whatever of this package they use.

    ``instead`` are other definitions of some names (a table cut to what is needed), ``given`` are
    names that are there already, ``facts`` what arguments are by their annotations (``folding``).
    Raises ValueError where two modules mean different things by one name.
    """
    gathering = _Gathering(instead, given, facts)
    for function in functions:
        gathering.add(function.__module__, function.__name__)
    return gathering.source()


class _Module:
    """Top-level definitions of one module by name, in their order, and where its imports lead."""

    def __init__(self, name: str) -> None:
        module = importlib.import_module(name)
        self.text = inspect.getsource(module)
        self.values = {
            key: value for key, value in vars(module).items() if isinstance(value, _CONSTANTS)
        }
        self.definitions: dict[str, tuple[ast.stmt, ...]] = {}
        self.imports: dict[str, ast.Import | ast.ImportFrom] = {}
        body = list(_without_type_checking(ast.parse(self.text).body))
        for index, node in enumerate(body):
            for defined in _defines(node):
                told = body[index + 1] if index + 1 < len(body) else None
                self.definitions[defined] = (node, told) if told and _is_text(told) else (node,)
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for alias in node.names:
                    self.imports[alias.asname or alias.name] = node

    def written(self, name: str) -> str:
        """One definition as it is written, with its decorators and the text behind it."""
        lines = self.text.splitlines()
        parts = []
        for node in self.definitions[name]:
            first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
            parts.append("\n".join(lines[first - 1 : node.end_lineno]))
        return "\n".join(parts)


class _Gathering:
    """What is needed, found from name to name."""

    def __init__(
        self, instead: Mapping[str, str], given: frozenset[str], facts: Mapping[str, Any]
    ) -> None:
        self._instead, self._given, self._facts = instead, given, facts
        self._texts: dict[str, str] = {}
        self._modules: dict[str, _Module] = {}
        self._order: list[str] = []
        self._wanted: dict[str, str] = {}
        self._seen: set[str] = set()
        self._imports: set[str] = set()
        self._typing: set[str] = set()
        self._aliases: set[str] = set()

    def add(self, module: str, name: str) -> None:
        """Take a name of a module, and what it uses."""
        if name in self._given:
            return
        home = self._module(module)
        if name not in home.definitions:
            self._follow(module, name)
            return
        if self._wanted.setdefault(name, module) != module:
            raise ValueError(f"{name} is of {self._wanted[name]} and of {module}")
        if name in self._seen:
            return
        self._seen.add(name)
        text = self._instead.get(name)
        self._texts[name] = text or folded(home.written(name), home.values, self._facts)
        self._uses(module, ast.parse(self._texts[name]))

    def source(self) -> Source:
        """All of it, modules below first, definitions in the order of their modules."""
        written = [
            self._texts[name]
            for module in self._order
            for name in self._modules[module].definitions
            if self._wanted.get(name) == module
        ]
        aliases = {f"{name} = Any" for name in self._aliases - self._wanted.keys() - self._given}
        return Source(
            re.sub(r"  # noqa\b.*", "", "\n\n\n".join(written)),
            tuple(sorted(self._imports)),
            (*sorted(self._typing - self._imports), *sorted(aliases)),
        )

    def _module(self, name: str) -> _Module:
        if name not in self._modules:
            module = self._modules[name] = _Module(name)
            for node in module.imports.values():
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith(OWN):
                    self._module(str(node.module))
            self._order.append(name)
        return self._modules[name]

    def _uses(self, module: str, node: ast.AST) -> None:
        home, local = self._module(module), _local_imports(node)
        for used in sorted(_names(node) - local):
            if used in home.definitions or used in home.imports:
                self.add(module, used)
        for used in sorted(_annotated(node) - local):
            found = home.imports.get(used)
            if found is not None and not _is_own(found):
                self._typing.add(_import_line(found, used))
            elif found is not None or used in home.definitions:
                self._aliases.add(used)

    def _follow(self, module: str, name: str) -> None:
        """A name that a module imports: from this package, or from elsewhere."""
        node = self._module(module).imports[name]
        if not _is_own(node):
            self._imports.add(_import_line(node, name))
            return
        if not isinstance(node, ast.ImportFrom):
            raise ValueError(f"{module} imports {name} as a module")  # noqa: TRY004 - of a source
        alias = next(one for one in node.names if name in (one.asname, one.name))
        self.add(str(node.module), alias.name)


def _without_type_checking(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those for type checkers among them."""
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from node.body
        else:
            yield node


def _defines(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is the docstring of the assignment before it."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_own(node: ast.Import | ast.ImportFrom) -> bool:
    names = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
    return any(str(name).startswith(OWN) for name in names)


def _import_line(node: ast.Import | ast.ImportFrom, name: str) -> str:
    """The line that imports one name as a module does."""
    alias = next(one for one in node.names if name in (one.asname, one.name))
    told = f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
    return f"from {node.module} {told}" if isinstance(node, ast.ImportFrom) else told


def _annotations(node: ast.AST) -> Iterator[ast.AST]:
    for part in ast.walk(node):
        for field in ("annotation", "returns"):
            found = getattr(part, field, None)
            if found is not None:
                yield found


def _annotated(node: ast.AST) -> set[str]:
    """Names in annotations alone, which are never evaluated."""
    return {
        part.id
        for found in _annotations(node)
        for part in ast.walk(found)
        if isinstance(part, ast.Name)
    }


def _names(node: ast.AST) -> set[str]:
    """Names that a definition uses when it runs."""
    skipped = {id(part) for found in _annotations(node) for part in ast.walk(found)}
    return {
        part.id for part in ast.walk(node) if isinstance(part, ast.Name) and id(part) not in skipped
    }


def _local_imports(node: ast.AST) -> set[str]:
    """Names that a function imports for itself. Raises ValueError where they are of ours."""
    found: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, (ast.Import, ast.ImportFrom)):
            if _is_own(part):
                raise ValueError(f"{ast.unparse(part)}, within a function, cannot ship")
            found |= {alias.asname or alias.name for alias in part.names}
    return found
