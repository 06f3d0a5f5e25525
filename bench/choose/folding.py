"""A function's text for contracts that are known: what they decide is decided.

``if spec.resize == "stretch":`` needs no asking in a script of one contract. The branch that is
taken stays as it is written, the other one goes, and with it what only it used.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

_ENDS = (ast.Return, ast.Raise, ast.Continue, ast.Break)


def folded(text: str, values: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The text of a function or class with its decided branches taken.

    ``values`` are what names of its module stand for, ``facts`` what arguments of some annotation
    are (``{"InputSpec": …}``).
    """
    tree = ast.parse(text)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            known = _known(node, values, facts)
            text = "\n".join(_Folding(text, known).function(node))
            return _expressions(text, known)
    return text


class _Folding:
    """The lines of a function, with branches taken."""

    def __init__(self, text: str, known: dict[str, Any]) -> None:
        self._lines = text.splitlines()
        self._known = known

    def function(self, node: ast.FunctionDef) -> list[str]:
        header = self._lines[: node.body[0].lineno - 1]
        return [*header, *self._block(node.body, node.body[0].lineno)]

    def _block(self, body: Sequence[ast.stmt], first: int) -> list[str]:
        """The statements from line ``first`` on, up to one that ends the block."""
        lines: list[str] = []
        for node in body:
            before = self._lines[first - 1 : node.lineno - 1]
            first = int(node.end_lineno or node.lineno) + 1
            if isinstance(node, ast.If) and (found := decided(node.test, self._known)) is not None:
                taken = node.body if found[0] else node.orelse
                if not taken:
                    continue
                lines += [*before, *self._taken(taken, node.col_offset)]
                if isinstance(taken[-1], _ENDS):
                    break
                continue
            lines += before
            lines += self._kept(node)
        return lines

    def _taken(self, body: Sequence[ast.stmt], indent: int) -> list[str]:
        """A branch as part of the block around it; an ``elif`` becomes an ``if``."""
        first = body[0].lineno
        if body[0].col_offset == indent:  # an elif is an if of its own within the else
            self._lines[first - 1] = self._lines[first - 1].replace("elif", "if", 1)
            return self._block(body, first)
        while self._lines[first - 2].lstrip().startswith("#"):
            first -= 1
        removed = body[0].col_offset - indent
        return [
            line[removed:] if not line[:removed].strip() else line
            for line in self._block(body, first)
        ]

    def _kept(self, node: ast.stmt) -> list[str]:
        """A statement as it is written, with what is decided within it."""
        whole = self._lines[node.lineno - 1 : node.end_lineno]
        if not isinstance(node, (ast.If, ast.For, ast.With, ast.While)):
            return whole
        last = int(node.body[-1].end_lineno or 0)
        return [
            *self._lines[node.lineno - 1 : node.body[0].lineno - 1],
            *(self._block(node.body, node.body[0].lineno) or self._nothing(node.body[0])),
            *self._lines[last : node.end_lineno],
        ]

    @staticmethod
    def _nothing(node: ast.stmt) -> list[str]:
        return [" " * node.col_offset + "pass"]


def decided(test: ast.expr, known: Mapping[str, Any]) -> tuple[bool] | None:
    """Whether a condition holds, where it is of known values alone; None where it is not."""
    names = [node for node in ast.walk(test) if isinstance(node, ast.Name)]
    calls = any(isinstance(node, (ast.Call, ast.NamedExpr)) for node in ast.walk(test))
    if calls or not names or any(node.id not in known for node in names):
        return None
    code = compile(ast.Expression(test), "condition", "eval")
    return (bool(eval(code, {"__builtins__": {}}, dict(known))),)  # noqa: S307 - of our own source


def _known(
    node: ast.FunctionDef, values: Mapping[str, Any], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """What names in a function stand for: of arguments, of its module, and what follows of both."""
    arguments = [part for part in ast.walk(node) if isinstance(part, ast.arg)]
    stored = [
        part.id
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    ]
    hidden = {argument.arg for argument in arguments} | set(stored)
    known = {name: value for name, value in values.items() if name not in hidden}
    for argument in arguments:
        said = ast.unparse(argument.annotation) if argument.annotation else ""
        if said in facts and argument.arg not in stored:
            known[argument.arg] = facts[said]
    for part in node.body:
        if isinstance(part, ast.Assign) and len(part.targets) == 1:
            (target,) = part.targets
            if isinstance(target, ast.Name) and stored.count(target.id) == 1:
                found = decided(part.value, known) if isinstance(part.value, ast.Compare) else None
                if found is not None:
                    known[target.id] = found[0]
    return known


def _expressions(text: str, known: Mapping[str, Any]) -> str:
    """The text with ``a if … else b`` made a or b where that is decided."""
    while True:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.IfExp) and (found := decided(node.test, known)) is not None:
                text = _replaced(text, node, node.body if found[0] else node.orelse)
                break
        else:
            return text


def _replaced(text: str, node: ast.expr, by: ast.expr) -> str:
    """The text with one expression in place of another, which it is part of."""
    lines = text.splitlines(keepends=True)

    def place(line: int, column: int) -> int:
        return len("".join(lines[: line - 1]).encode()) + column

    data = text.encode()
    start, end = place(node.lineno, node.col_offset), place(*_end(node))
    inner = data[place(by.lineno, by.col_offset) : place(*_end(by))]
    return (data[:start] + inner + data[end:]).decode()


def _end(node: ast.expr) -> tuple[int, int]:
    return int(node.end_lineno or 0), int(node.end_col_offset or 0)
