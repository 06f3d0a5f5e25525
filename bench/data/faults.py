"""Faults of a data set, collected while it is read and told all at once."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from deploymark.bench.data.fault_kinds import FaultKind
from deploymark.bench.errors import BadInputError

OnFault = Literal["refuse", "skip"]

SHOWN_PLACES = 5
"""Places of a kind of fault that a message shows, and that are recorded."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that is wrong: ``where`` (a file, a line, an annotation) and what was seen."""

    kind: FaultKind
    where: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.detail}" if self.detail else self.where


@dataclasses.dataclass
class _Found:
    kind: FaultKind
    count: int = 0
    first: list[Fault] = dataclasses.field(default_factory=list)


class Faults:
    """What is wrong with a data set, by kind in the order met: a count and the first places."""

    def __init__(self) -> None:
        self._found: dict[str, _Found] = {}

    def add(self, kind: FaultKind, where: object, detail: str = "") -> None:
        """One more fault."""
        self.append(Fault(kind, str(where), detail))

    def append(self, fault: Fault) -> None:
        """One more fault."""
        found = self._found.setdefault(fault.kind.name, _Found(fault.kind))
        found.count += 1
        if len(found.first) < SHOWN_PLACES:
            found.first.append(fault)

    def __len__(self) -> int:
        return sum(found.count for found in self._found.values())

    def count(self, leaves_out: str) -> int:
        """Faults that leave out a ``row``, or an ``image``."""
        kinds = self._found.values()
        return sum(found.count for found in kinds if found.kind.leaves_out == leaves_out)

    def record(self) -> list[dict[str, Any]]:
        """What goes to the census: kind, title, what it leaves out, count and first places."""
        return [
            {
                "kind": found.kind.name,
                "title": found.kind.title,
                "leaves_out": found.kind.leaves_out,
                "count": found.count,
                "places": [str(fault) for fault in found.first],
            }
            for found in self._found.values()
        ]

    def check(self, name: str, on_fault: OnFault) -> None:
        """Raise BadInputError for all of them: unless they are skipped, and can be."""
        found = list(self._found.values())
        certain = [item for item in found if item.kind.leaves_out == "nothing"]
        if not found or (on_fault == "skip" and not certain):
            return
        if on_fault == "skip":
            found = certain
        count = sum(item.count for item in found)
        head = f"data set {name}: "
        if count == 1:
            head += f"{found[0].kind.title}: {found[0].first[0]}"
            lines = [head, f"  {found[0].kind.remedy}"]
        else:
            kinds = f" of {len(found)} kinds" if len(found) > 1 else ""
            lines = [f"{head}{count} faults{kinds}"]
            for item in found:
                lines += _told(item)
        raise BadInputError("\n".join(lines), remedy=_way_out(certain, found))


def _told(item: _Found) -> list[str]:
    more = item.count - len(item.first)
    return [
        f"  {item.kind.title} ({item.count}). {item.kind.remedy}",
        *(f"    {fault}" for fault in item.first),
        *([f"    and {more} more"] if more else []),
    ]


def _way_out(certain: list[_Found], found: list[_Found]) -> str:
    if certain and len(certain) == len(found):
        return "This has to be mended: leaving something out would not."
    images = any(item.kind.leaves_out == "image" for item in found)
    rows = any(item.kind.leaves_out == "row" for item in found)
    what = " and ".join(
        word for word, there in (("these rows", rows), ("these images", images)) if there
    )
    text = f"Go on without {what}: --skip-bad, or `on_fault: skip` in a matrix; they are recorded."
    return text if not certain else f"{text} Not without mending: {certain[0].kind.title}."
