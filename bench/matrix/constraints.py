"""The language of constraints: ``latency_p95_ms <= 20``, ``map50_95 >= fp32 - 0.01``.

A constraint holds a figure against a number, or against what the FP32 cell of the same model has:
its figure more or less an amount, or a share of it. Either comes to one number (``limit``) that the
figure, the difference to FP32 or the ratio to it is held against.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.figures import FIGURES, units_of
from deploymark.bench.records.answer import Estimate, Kind, State
from deploymark.bench.yaml_source import did_you_mean

REFERENCE = "fp32"

_DIGITS = 4
"""Significant digits of a bound that has given way."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_FORM = re.compile(r"\s*(?P<figure>\w+)\s*(?P<sign><=|>=|<|>|≤|≥)\s*(?P<bound>.*?)\s*")
_PLAIN = re.compile(rf"(?P<number>{_NUMBER})\s*(?P<unit>[^\W\d]+)?")
_RELATIVE = re.compile(
    rf"{REFERENCE}(?:\s*(?P<sign>[-+*×])\s*(?P<number>{_NUMBER})\s*(?P<unit>[^\W\d]+|%)?)?",
    re.IGNORECASE,
)
_SHARE = re.compile(rf"(?P<number>{_NUMBER})\s*[*×]\s*{REFERENCE}", re.IGNORECASE)
_EXAMPLES = '"latency_p95_ms <= 20ms", "map50_95 >= fp32 - 0.01", "artifact_bytes <= fp32 * 0.5"'


@dataclasses.dataclass(frozen=True)
class Constraint:
    """A bound on a figure.

    ``limit`` is in the column's unit (a ratio has none), ``unit`` the one that it was written in;
    ``upper`` tells a most from a least, ``strict`` whether the bound itself is too much.
    """

    figure: str
    upper: bool
    limit: float
    kind: Kind = "figure"
    strict: bool = False
    unit: str = ""
    text: str = ""

    def state(self, judged: Estimate) -> State:
        """Whether an estimate of what is judged lies clear of the limit; no number never does."""
        if judged.value is None or judged.low is None or judged.high is None:
            return "not_met"
        near, far = (judged.low, judged.high) if self.upper else (judged.high, judged.low)
        if self._allows(far):
            return "met"
        return "undecided" if self._allows(near) else "not_met"

    def _allows(self, value: float) -> bool:
        if value == self.limit:
            return not self.strict
        return value < self.limit if self.upper else value > self.limit

    def relaxed(self, judged: Estimate) -> Constraint:
        """The same with the nearest limit, to four digits, that the estimate surely meets."""
        end = judged.high if self.upper else judged.low
        if end is None:
            raise ValueError("what was not measured meets no bound")
        scale = units_of(self.figure).get(self.unit, 1.0) if self.kind != "ratio" else 1.0
        number = Decimal(repr(end / scale))
        step = Decimal(1).scaleb(number.adjusted() - _DIGITS + 1) if number else Decimal("0.0001")
        rounding = ROUND_CEILING if self.upper else ROUND_FLOOR
        number = (number / step).to_integral_value(rounding) * step
        while True:
            given_way = self._with(number)
            if given_way.state(judged) == "met":
                return given_way
            number += step if self.upper else -step

    def _with(self, number: Decimal) -> Constraint:
        """The same with another number, written out and read again: what is told is what holds."""
        sign = ("<" if self.upper else ">") + ("" if self.strict else "=")
        plain = f"{abs(number).normalize():f}"
        unit = f" {self.unit}" if self.unit else ""
        bound = {
            "figure": f"{'-' if number < 0 else ''}{plain}{unit}",
            "difference": f"{REFERENCE} {'-' if number < 0 else '+'} {plain}{unit}",
            "ratio": f"{REFERENCE} * {plain}",
        }[self.kind]
        return parse_constraint(f"{self.figure} {sign} {bound}")


def parse_constraint(text: str) -> Constraint:
    """One constraint. Raises BadInputError: what is wrong with it, and what may have been meant."""
    form = _FORM.fullmatch(text)
    if form is None:
        raise BadInputError(
            f"{text!r}: not a figure, one of <= >= < >, and a bound", remedy=f"Write: {_EXAMPLES}"
        )
    figure = known_figure(form["figure"], text)
    sign, bound = form["sign"], form["bound"]
    kind, limit, unit = _bound(figure, bound, text)
    return Constraint(
        figure=figure,
        upper=sign in {"<", "<=", "≤"},
        strict=sign in {"<", ">"},
        kind=kind,
        limit=limit,
        unit=unit,
        text=" ".join(text.split()),
    )


def parse_constraints(texts: Sequence[str]) -> tuple[Constraint, ...]:
    """All constraints. Raises one BadInputError that tells of every fault."""
    found: list[Constraint] = []
    faults: list[BadInputError] = []
    for text in texts:
        try:
            found.append(parse_constraint(text))
        except BadInputError as error:
            faults.append(error)
    if faults:
        remedies = dict.fromkeys(error.remedy for error in faults if error.remedy)
        raise BadInputError(
            "\n".join(error.message for error in faults), remedy="\n  ".join(remedies)
        )
    return tuple(found)


def known_figure(name: str, text: str) -> str:
    """The column that a word names. Raises BadInputError with the nearest where there is none."""
    if name in FIGURES:
        return name
    # A word that begins a column names the first such: `latency`, `map`, `artifact`.
    near = next((known for known in FIGURES if known.startswith(name.casefold())), "")
    hint = f", did you mean {near!r}?" if near else did_you_mean(name, list(FIGURES))
    raise BadInputError(
        f"{text!r}: no figure {name!r}{hint}", remedy=f"The figures are: {', '.join(FIGURES)}"
    )


def _bound(figure: str, bound: str, text: str) -> tuple[Kind, float, str]:
    """What the right side comes to: what is judged, its limit, and the unit as written."""
    if plain := _PLAIN.fullmatch(bound):
        unit = plain["unit"] or ""
        return "figure", float(plain["number"]) * _factor(figure, unit, text), unit
    if share := _SHARE.fullmatch(bound):
        return "ratio", _share(float(share["number"]), text), ""
    relative = _RELATIVE.fullmatch(bound)
    if relative is None:
        first = bound.partition(" ")[0]
        near = difflib.get_close_matches(first, [REFERENCE], n=1)
        hint = f", did you mean {REFERENCE!r}?" if near else ""
        raise BadInputError(f"{text!r}: {bound!r} is no bound{hint}", remedy=f"Write: {_EXAMPLES}")
    sign, number, unit = relative["sign"], float(relative["number"] or 0), relative["unit"] or ""
    if sign in {"*", "×"}:
        if unit:
            raise BadInputError(f"{text!r}: a share of {REFERENCE} has no unit, got {unit!r}")
        return "ratio", _share(number, text), ""
    change = -number if sign == "-" else number
    if unit == "%":
        return "ratio", _share(1 + change / 100, text), ""
    return "difference", change * _factor(figure, unit, text), unit


def _share(share: float, text: str) -> float:
    if share <= 0:
        raise BadInputError(f"{text!r}: a share of {REFERENCE} must be above 0")
    return share


def _factor(figure: str, unit: str, text: str) -> float:
    """What a unit is of the column's own, which a number without unit is in."""
    units = units_of(figure)
    if not unit:
        return 1.0
    if unit in units:
        return units[unit]
    if not units:
        raise BadInputError(f"{text!r}: {figure} has no unit, got {unit!r}")
    same = next((known for known in units if known.casefold() == unit.casefold()), "")
    hint = f", did you mean {same!r}?" if same else did_you_mean(unit, list(units))
    raise BadInputError(
        f"{text!r}: {figure} has no unit {unit!r}{hint}",
        remedy=f"Its units are: {', '.join(units)}",
    )
