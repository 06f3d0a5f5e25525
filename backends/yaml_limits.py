"""Limits on YAML before it is composed: a short file may stand for gigabytes, or nest endlessly.

The events of the parser are counted, and nothing is built from them. An alias counts as all the
nodes that it stands for, so that aliases of aliases ("billion laughs") are seen for what they are.
"""

from __future__ import annotations

import dataclasses
from typing import Any

MAX_CHARACTERS = 4_000_000
"""Of a file. The names of 20,000 classes take a tenth of it."""

MAX_DEPTH = 50
"""Collections within each other: the deepest matrix has less than ten."""

MAX_NODES = 60_000
"""Keys, values and collections, those that aliases stand for included."""

MAX_ALIASES = 1_000

MAX_DIGITS = 300
"""Of a plain scalar that could be a number: Python refuses, or takes long over, far longer ones."""


@dataclasses.dataclass
class _Collection:
    """A collection that is open: its anchor, and its nodes so far, itself included."""

    anchor: str | None
    nodes: int = 1


class YamlLimitError(ValueError):
    """A text exceeds a limit: ``what``, at ``line`` and ``column`` (from 1; 0 for the whole)."""

    def __init__(self, what: str, line: int = 0, column: int = 0) -> None:
        super().__init__(f"{what} (line {line})" if line else what)
        self.what = what
        self.line = line
        self.column = column


def check_limits(text: str) -> None:
    """Raise YamlLimitError where ``text`` exceeds a limit, ruamel's YAMLError where it is no YAML.

    ``ruamel.yaml`` must be there.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.events import CollectionEndEvent, NodeEvent

    if len(text) > MAX_CHARACTERS:
        raise YamlLimitError(f"has {len(text)} characters, at most {MAX_CHARACTERS} are read")
    count = _Count()
    for event in YAML(typ="safe", pure=True).parse(text):
        if isinstance(event, CollectionEndEvent):
            count.close()
        elif isinstance(event, NodeEvent) and (wrong := count.add(event)):
            mark = event.start_mark
            raise YamlLimitError(wrong, mark.line + 1, mark.column + 1)


class _Count:
    """The nodes of a document so far, by the collections that are open."""

    def __init__(self) -> None:
        self._open = [_Collection(None, 0)]
        self._sizes: dict[str, int] = {}
        self._aliases = 0
        self._nodes = 0

    def close(self) -> None:
        """The innermost collection ends."""
        closed = self._open.pop()
        self._open[-1].nodes += closed.nodes
        if closed.anchor:
            self._sizes[closed.anchor] = closed.nodes

    def add(self, event: Any) -> str:
        """Count a node; which limit it exceeds, empty where none."""
        from ruamel.yaml.events import AliasEvent, CollectionStartEvent, ScalarEvent

        nodes = 1
        if isinstance(event, AliasEvent):
            if any(item.anchor == event.anchor for item in self._open):
                return f"*{event.anchor} refers to what it is part of"
            self._aliases += 1
            nodes = self._sizes.get(event.anchor, 1)
        elif isinstance(event, ScalarEvent):
            if event.anchor:
                self._sizes[event.anchor] = 1
            if len(event.value) > MAX_DIGITS and not event.value.strip("+-.eE_0123456789"):
                return f"a number of more than {MAX_DIGITS} digits"
        self._nodes += nodes
        if isinstance(event, CollectionStartEvent):
            self._open.append(_Collection(event.anchor))
        else:
            self._open[-1].nodes += nodes
        return self._exceeded()

    def _exceeded(self) -> str:
        if len(self._open) - 1 > MAX_DEPTH:
            return f"is nested more than {MAX_DEPTH} levels deep"
        if self._aliases > MAX_ALIASES:
            return f"has more than {MAX_ALIASES} aliases"
        if self._nodes > MAX_NODES:
            return f"has more than {MAX_NODES} nodes, aliases written out"
        return ""
