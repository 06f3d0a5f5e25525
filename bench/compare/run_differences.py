"""What is not the same in several runs: machine, packages, settings, models and data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deploymark.bench.records.comparison import Difference
from deploymark.bench.records.files import dump_json
from deploymark.bench.records.run import Run

_MACHINE_KEYS = ("host", "cpu", "gpus")
"""What tells machines apart: the rest may change on one and the same."""

_WHICH_CELLS = frozenset(
    {
        "schema_version",
        "name",
        "models",
        "native_only",
        "precisions",
        "devices",
        "imgsz",
        "batch",
        "threads",
        "exclude",
        "include",
        "gate",
    }
)
"""Keys of a matrix that say which cells there are, which the rows tell, or what a gate decides."""

_HASH_LENGTH = 12


def machine_of(run: Run) -> tuple[str, ...]:
    """What tells the machine of a run from others."""
    return tuple(str(run.info.machine.get(key)) for key in _MACHINE_KEYS)


def _flat(prefix: str, value: object) -> Iterator[tuple[str, str]]:
    """(path, text) of a value: of each entry of a mapping; lists are one text."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, str):
        yield prefix, value
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        yield prefix, ", ".join(value) or "none"
    elif value is not None:
        yield prefix, dump_json(_without_nulls(value), indent=None)


def _settings(run: Run) -> dict[str, str]:
    """What the cells were made and measured by; lists by name, so that each entry is compared."""
    matrix = {key: value for key, value in run.info.matrix.items() if key not in _WHICH_CELLS}
    for key in ("backends", "variants"):
        entries = matrix.get(key)
        if isinstance(entries, list):
            matrix[key] = {
                str(entry.get("name")): {
                    key: value for key, value in entry.items() if key not in _WHICH_CELLS
                }
                for entry in entries
                if isinstance(entry, Mapping)
            }
    return {**dict(_flat("", matrix)), "seed": str(run.info.seed)}


def _without_nulls(value: object) -> object:
    """``value`` without nulls and what is empty then, all the way down."""
    if isinstance(value, Mapping):
        kept = {key: _without_nulls(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner not in (None, {}, [])}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value


def _short(entry: Mapping[str, Any], key: str) -> str:
    return str(entry.get(key) or "none")[:_HASH_LENGTH]


def _inputs(run: Run) -> dict[str, str]:
    found = {"Deploymark": run.info.deploymark_version, "commit": run.info.git_commit or "none"}
    found["commit"] = found["commit"][:_HASH_LENGTH]
    for model in run.info.models:
        found[f"model {model.get('name')}"] = _short(model, "sha256")
    for dataset in run.info.datasets:
        name = dataset.get("model") or dataset.get("name")
        found[f"images scored, {name}"] = _short(dataset, "scored_hash")
        found[f"images calibrated on, {name}"] = _short(dataset, "calibration_hash")
    return found


def _packages(run: Run) -> dict[str, str]:
    return dict(run.info.packages)


def _machine(run: Run) -> dict[str, str]:
    machine = dict(run.info.machine)
    flags = machine.pop("cpu_flags", None)
    if isinstance(flags, list):
        machine["cpu flags"] = f"{len(flags)}: {' '.join(map(str, flags))}"
    return dict(_flat("", machine))


def differences(runs: Sequence[Run]) -> list[Difference]:
    """Everything recorded of the runs that is not the same in all, a value a run."""
    found = []
    for kind, facts_of in (
        ("machine", _machine),
        ("package", _packages),
        ("setting", _settings),
        ("input", _inputs),
    ):
        by_run = [facts_of(run) for run in runs]
        names = dict.fromkeys(name for facts in by_run for name in facts)
        for name in names:
            values = [facts.get(name) for facts in by_run]
            # a variant that a run has not got is told by its rows
            compared = set(values) - ({None} if name.startswith("variants.") else set())
            if len(compared) > 1:
                found.append(Difference(kind, name, values))
    return found


def same_images(first: Run, other: Run, model: str) -> bool:
    """Whether two runs scored a model on the same images, as far as they recorded it."""
    hashes = [
        {
            str(dataset.get("scored_hash") or "")
            for dataset in run.info.datasets
            if dataset.get("model", model) == model
        }
        for run in (first, other)
    ]
    return not all(hashes) or hashes[0] == hashes[1]
