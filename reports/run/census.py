"""The census of a run's data sets, for readers: what is there, what was left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from deploymark.reports.page import figures
from deploymark.reports.page.facts import LONG_LIST, Fact, nested_facts


@dataclasses.dataclass(frozen=True)
class CensusView:
    """One data set: ``lines`` say what is there and what was left out, ``facts`` are the counts.

    ``faults`` are sentences, one a kind. What to doubt is in the notes of the run.
    """

    model: str
    lines: tuple[str, ...]
    faults: tuple[str, ...]
    facts: tuple[Fact, ...]


def census_views(datasets: Sequence[Mapping[str, Any]]) -> list[CensusView]:
    """One a data set, also where a run is of a version that took no census."""
    return [_view(dataset) for dataset in datasets]


def _view(dataset: Mapping[str, Any]) -> CensusView:
    census: Mapping[str, Any] = dataset.get("census") or {}
    rest = {key: value for key, value in dataset.items() if key != "census"}
    return CensusView(
        model=str(dataset.get("model") or dataset.get("name") or "the data set"),
        lines=_words(census.get("lines")),
        faults=tuple(_fault(fault) for fault in census.get("faults") or ()),
        facts=(*nested_facts(rest), *_counts(census)),
    )


def _words(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value or ())


def _fault(fault: Mapping[str, Any]) -> str:
    """``2 × a class out of range (each leaves out a row): a.txt:4: …; …``."""
    places = [str(place) for place in fault.get("places") or ()]
    count = int(figures.number(fault.get("count")) or len(places))
    more = f"; and {count - len(places)} more" if count > len(places) else ""
    what = fault.get("leaves_out") or "row"
    return (
        f"{count} × {fault.get('title') or fault.get('kind')}"
        f" ({'leaves' if count == 1 else 'each leaves'} out {_article(str(what))}):"
        f" {'; '.join(places)}{more}"
    )


def _article(word: str) -> str:
    return f"an {word}" if word[:1] in "aeiou" else f"a {word}"


def _counts(census: Mapping[str, Any]) -> list[Fact]:
    """The counts of a census as facts; those that are 0 say nothing."""
    facts = [
        Fact(name, str(census[key]))
        for key, name in (
            ("listed", "images listed"),
            ("boxes", "boxes scored"),
            ("crowd", "crowd regions"),
            ("background", "background images"),
            ("unlabelled", "images without a label file"),
            ("skipped", "images skipped"),
            ("rows_skipped", "rows skipped"),
        )
        if census.get(key)
    ]
    classes: Mapping[str, int] = census.get("classes") or {}
    if classes:
        text = ", ".join(f"{name} {count}" for name, count in classes.items())
        facts.append(Fact("boxes by class", text, folded=len(classes) >= LONG_LIST))
    if absent := census.get("only_in_model"):
        names = ", ".join(map(str, absent))
        facts.append(Fact("classes of the model alone", names, folded=len(absent) >= LONG_LIST))
    return facts
