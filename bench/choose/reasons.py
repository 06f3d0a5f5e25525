"""Why a cell stands where it stands, in a sentence."""

from __future__ import annotations

from deploymark.bench.choose.rule import Decision, Entrant, no_better
from deploymark.bench.choose.words import times, title, with_interval, worse_word
from deploymark.bench.matrix.figures import rounded
from deploymark.bench.records.answer import Estimate, Held, Question

_SETTLED = {
    "artifact_bytes": "the smaller artifact",
    "objective": "the better figure",
    "cell": "the order of the names",
}


def reason(entrant: Entrant, decision: Decision, question: Question) -> str:
    """The sentence for one cell."""
    cost = decision.costs.get(entrant.cell, Estimate())
    match decision.standings[entrant.cell]:
        case "failed":
            told = [entrant.failed]
        case "not_measured":
            told = _lacking(entrant, question)
        case "violates":
            told = _violated(entrant)
        case "behind":
            told = [_behind(question.objective, cost, decision, question)]
        case "open":
            told = _open(entrant, decision, question, cost)
        case _:
            told = [_won(entrant, decision, question)]
    return "; ".join(told)


def _violated(entrant: Entrant) -> list[str]:
    return [_broken(item) for item in entrant.held if item.state == "not_met"]


def _broken(item: Held) -> str:
    """How a constraint is not met, for want of its figure or by it."""
    if item.judged.measured:
        return f"{item.constraint} is not met: {item.told}"
    return f"{item.constraint} cannot be met: no {title(item.figure)}, {item.told}"


def _won(entrant: Entrant, decision: Decision, question: Question) -> str:
    """Of the winner and of those that it is tied with."""
    figure, settled = question.objective, settled_words(decision.settled_by)
    told = f"{title(figure)} {with_interval(figure, entrant.objective)}"
    if entrant.cell != decision.winner:
        return f"{told}: a tie, which {settled} settles"
    if decision.outcome == "tie":
        return f"{told}: a tie with {len(decision.tie) - 1} more, which {settled} settles"
    return f"{told}: the best of those that meet what was asked"


def settled_words(column: str) -> str:
    """What settled a tie, for people."""
    return _SETTLED.get(column, title(column))


def _lacking(entrant: Entrant, question: Question) -> list[str]:
    told = [_broken(item) for item in entrant.held if not item.judged.measured]
    if not entrant.objective.measured:
        told.append(f"no {title(question.objective)}: {entrant.objective.reason}")
    return told


def natural(cost: Estimate, question: Question) -> Estimate:
    """A cost beside the leader as the ratio of the objectives: cell over leader."""
    if not question.maximize or not cost.value or not cost.low or not cost.high:
        return cost
    return Estimate(1 / cost.value, 1 / cost.high, 1 / cost.low, cost.reason)


def _open(entrant: Entrant, decision: Decision, question: Question, cost: Estimate) -> list[str]:
    """Why nobody knows yet: a constraint, or the comparison with the leader."""
    told = [
        f"{item.constraint} is undecided: {item.told}"
        for item in entrant.held
        if item.state == "undecided"
    ]
    figure = question.objective
    if entrant.cell == decision.leader:
        told.append(f"{title(figure)} {with_interval(figure, entrant.objective)}: the best so far")
    elif cost.measured and not no_better(cost, question.indifference):
        told.append(
            f"{title(figure)} {times(natural(cost, question))} that of {decision.leader}: it may "
            f"be better by more than {100 * question.indifference:.3g} %"
        )
    return told


def _behind(figure: str, cost: Estimate, decision: Decision, question: Question) -> str:
    """``24 % [12, 37] slower than …``; from twice on, ``2.1 [1.9, 2.3] times that of …``."""
    leader, ratio = decision.leader, natural(cost, question)
    if ratio.value is None or ratio.low is None or ratio.high is None or cost.low is None:
        return f"no {title(figure)} to compare with {leader}: {cost.reason}"
    if cost.low <= 1:
        return (
            f"{title(figure)} {times(ratio)} that of {leader}: surely no better by more than "
            f"{100 * question.indifference:.3g} %"
        )
    if ratio.value >= 2:  # noqa: PLR2004 - reads better than 100 %
        return f"{title(figure)} {times(ratio)} that of {leader}"
    shares = sorted(100 * abs(end - 1) for end in (ratio.low, ratio.high))
    span = "" if ratio.low == ratio.high else f" [{rounded(shares[0])}, {rounded(shares[1])}]"
    word = worse_word(figure, maximize=question.maximize)
    return f"{rounded(100 * abs(ratio.value - 1))} %{span} {word} than {leader}"
