"""``-k``: choose cells by words of their ids, combined by ``and``, ``or``, ``not`` and brackets."""

from __future__ import annotations

import re
from collections.abc import Callable

from deploymark.bench.errors import BadInputError

_WORD = re.compile(r"\s*(?:(?P<bracket>[()])|(?P<name>[^\s()]+))")


class _Parser:
    """Recursive descent over: ``expr := term (or term)*``, ``term := factor (and factor)*``."""

    def __init__(self, expression: str, cell_id: str) -> None:
        self.words = [match[0].strip() for match in _WORD.finditer(expression.strip())]
        self.cell_id = cell_id.lower()
        self.place = 0

    def peek(self) -> str:
        return self.words[self.place] if self.place < len(self.words) else ""

    def take(self) -> str:
        word = self.peek()
        self.place += 1
        return word

    def expression(self) -> bool:
        return any(self.joined_by("or", self.term))

    def term(self) -> bool:
        return all(self.joined_by("and", self.factor))

    def joined_by(self, word: str, part: Callable[[], bool]) -> list[bool]:
        """All parts, each of them read: a mistake in the last one counts, whatever comes before."""
        values = [part()]
        while self.peek().lower() == word:
            self.take()
            values.append(part())
        return values

    def factor(self) -> bool:
        word = self.take()
        if word.lower() == "not":
            return not self.factor()
        if word == "(":
            value = self.expression()
            if self.take() != ")":
                raise ValueError("a bracket is not closed")
            return value
        if word.lower() in {"", ")", "and", "or"}:
            raise ValueError(f"a word is missing before {word!r}" if word else "it ends too early")
        return word.lower() in self.cell_id


def matches(expression: str, cell_id: str) -> bool:
    """Whether a cell is selected, as by pytest's ``-k``: words are parts of the id, case aside.

    An empty expression selects every cell. Raises BadInputError for a malformed expression.
    """
    if not expression.strip():
        return True
    parser = _Parser(expression, cell_id)
    try:
        value = parser.expression()
        if parser.peek():
            raise ValueError(f"unexpected {parser.peek()!r}")
    except ValueError as error:
        raise BadInputError(
            f"-k {expression!r}: {error}", remedy='Write it like: -k "openvino and not int8"'
        ) from error
    return value
