"""The option ``scenario`` of a matrix: which traffic of MLPerf's LoadGen a cell is put under."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

ScenarioKind = Literal["single-stream", "multi-stream", "server", "offline"]

MAX_STREAMS = 64

OFFICIAL_DURATION_S = 600.0
"""Of every scenario: ``*.*.min_duration`` of mlperf.conf, mlcommons/inference, LoadGen 6."""

Percentile = Annotated[float, Field(gt=0, lt=100)]
Queries = Annotated[int, Field(ge=1, le=10_000_000)]
Streams = Annotated[int, Field(ge=1, le=MAX_STREAMS)]


class _Traffic(BaseModel):
    """What all scenarios have."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    min_duration_s: float = Field(
        10, gt=0, le=86_400, description="Seconds of traffic at least; MLPerf's rules ask for 600."
    )
    official: bool = Field(
        default=False,
        description="At least the durations, counts and percentiles of mlperf.conf: 600 s.",
    )

    @property
    def duration_s(self) -> float:
        """Seconds of traffic, at least."""
        return max(self.min_duration_s, OFFICIAL_DURATION_S if self.official else 0.0)


class _Concurrent(_Traffic):
    """A scenario that has several inferences under way at a time."""

    streams: tuple[Streams, ...] = Field(
        (1,),
        min_length=1,
        description="Sessions, each on a thread of its own, that answer at the same time: one "
        "run of the scenario each. The cell's `threads` are those of one session.",
    )

    @field_validator("streams")
    @classmethod
    def _unique(cls, streams: tuple[int, ...]) -> tuple[int, ...]:
        for index, count in enumerate(streams):
            if count in streams[:index]:
                raise ValueError(f"{count} is given twice")
        return streams


class SingleStream(_Traffic):
    """One image a query, the next query when the last one is answered: latency of one camera."""

    kind: Literal["single-stream"]
    min_queries: Queries = 100
    target_percentile: Percentile = Field(90, description="Percentile that is LoadGen's result.")

    @property
    def streams(self) -> tuple[int, ...]:
        """One: a query waits for the one before."""
        return (1,)

    @property
    def percentile(self) -> float:
        """The percentile that is LoadGen's result."""
        return self.target_percentile

    @property
    def queries(self) -> int:
        """Queries, at least."""
        return self.min_queries


class MultiStream(_Concurrent):
    """Several images a query, the next query when all are answered: latency of several cameras."""

    kind: Literal["multi-stream"]
    samples_per_query: int = Field(8, ge=1, le=1024, description="Images of a query.")
    min_queries: Queries = 100
    target_percentile: Percentile = Field(
        90, description="Percentile that is LoadGen's result; 99 needs 662 queries to be valid."
    )

    @property
    def percentile(self) -> float:
        """The percentile that is LoadGen's result; 99 where official (mlperf.conf)."""
        return max(self.target_percentile, 99.0) if self.official else self.target_percentile

    @property
    def queries(self) -> int:
        """Queries, at least; 662 where official (mlperf.conf)."""
        return max(self.min_queries, 662 if self.official else 0)


class Server(_Concurrent):
    """One image a query, at random moments (Poisson): whether a service keeps its latency."""

    kind: Literal["server"]
    target_qps: float | None = Field(
        None, gt=0, description="Queries a second; half of what the streams reach by default."
    )
    target_latency_ms: float = Field(
        100, gt=0, description="What `target_percentile` of the queries must stay within."
    )
    target_percentile: Percentile = 99
    min_queries: Queries = Field(500, description="99 % needs 459 queries to be valid.")

    @property
    def percentile(self) -> float:
        """Share of the queries, in per cent, that must stay within ``target_latency_ms``."""
        return max(self.target_percentile, 99.0) if self.official else self.target_percentile

    @property
    def queries(self) -> int:
        """Queries, at least."""
        return self.min_queries


class Offline(_Concurrent):
    """All images at once: throughput."""

    kind: Literal["offline"]
    min_queries: Queries = Field(100, description="Images; the one query has all of them.")

    @property
    def percentile(self) -> float | None:
        """None: LoadGen's result is a throughput."""
        return None

    @property
    def queries(self) -> int:
        """Images, at least; 24576 where official (mlperf.conf, detectors)."""
        return max(self.min_queries, 24_576 if self.official else 0)


Scenario = Annotated[
    SingleStream | MultiStream | Server | Offline,
    Field(discriminator="kind", description="A scenario with its settings."),
]
ScenarioEntry = ScenarioKind | Scenario
ScenarioOption = ScenarioEntry | tuple[ScenarioEntry, ...]

_MODELS: dict[ScenarioKind, type[SingleStream | MultiStream | Server | Offline]] = {
    "single-stream": SingleStream,
    "multi-stream": MultiStream,
    "server": Server,
    "offline": Offline,
}


def scenarios_of(option: ScenarioOption) -> tuple[Scenario, ...]:
    """The scenarios of a matrix's option, each with its settings."""
    entries = option if isinstance(option, tuple) else (option,)
    return tuple(
        _MODELS[entry].model_validate({"kind": entry}) if isinstance(entry, str) else entry
        for entry in entries
    )


def named(scenarios: Sequence[Scenario]) -> list[tuple[str, Scenario]]:
    """The scenarios with a name each: the kind, numbered from the second of a kind on."""
    seen: Counter[str] = Counter()
    names = []
    for scenario in scenarios:
        seen[scenario.kind] += 1
        number = seen[scenario.kind]
        names.append(scenario.kind if number == 1 else f"{scenario.kind}-{number}")
    return list(zip(names, scenarios, strict=True))
