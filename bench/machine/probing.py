"""What each backend can do, asked in a child of the interpreter that would run it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from deploymark.backends import registry
from deploymark.backends.base import Probe, Service
from deploymark.bench.children.spawn import WORKER, ChildEnd, run_child

TIMEOUT_S = 60.0

Ask = Callable[[dict[str, Any]], ChildEnd]
"""Has a worker answer a job within ``TIMEOUT_S``."""


@dataclasses.dataclass(frozen=True)
class OptionsQuestion:
    """Export options of one backend and precision, as a matrix gives them."""

    backend: str
    precision: str
    options: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class OptionsAnswer:
    """The same with every default made explicit; ``error`` says why where they cannot be."""

    options: Mapping[str, Any]
    error: str = ""
    remedy: str = ""


@dataclasses.dataclass(frozen=True)
class Found:
    """A backend's probe and what its packages are called."""

    probe: Probe
    export_packages: tuple[str, ...] = ()
    runtime_packages: tuple[str, ...] = ()
    extra: str = ""
    default_device: str = "cpu"
    spec: str = ""
    artifact_endings: tuple[str, ...] = ()
    portable: bool = False


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a child found: backends by name, and options in the order they were asked."""

    backends: Mapping[str, Found]
    options: tuple[OptionsAnswer, ...]


def _probe_of(answer: Mapping[str, Any]) -> Probe:
    services = {
        (item["device"], item["precision"]): Service(
            served=item["served"],
            native=item["native"],
            exists=item["exists"],
            reason=item["reason"],
            remedy=item["remedy"],
        )
        for item in answer.get("services", ())
    }
    return Probe(
        backend=answer["name"],
        installed=answer["installed"],
        version=answer.get("version"),
        can_export=answer.get("can_export", False),
        services=services,
        reason=answer.get("reason", ""),
        remedy=answer.get("remedy", ""),
    )


def probe_backends(
    names: Iterable[str],
    *,
    log: Path,
    python: str | None = None,
    options: Sequence[OptionsQuestion] = (),
    ask: Ask | None = None,
) -> Answers:
    """Ask backends what they can do under ``python`` (this interpreter where it is None).

    ``ask`` has a worker of another machine answer. A child that fails gives every backend as not
    installed, with the reason.
    """
    specs = registry.specs()
    wanted = {name: specs[name] for name in names}
    questions = [
        {"spec": specs[item.backend], "precision": item.precision, "options": dict(item.options)}
        for item in options
    ]
    job = {"kind": "probe", "backends": wanted, "options": questions}
    if ask is None:
        end = run_child(WORKER, job, timeout_s=TIMEOUT_S, log=log, python=python)
    else:
        end = ask(job)
    if end.result is None:
        reason = f"asking what is installed failed: {end.outcome.reason}"
        found = {name: Found(Probe(name, installed=False, reason=reason)) for name in wanted}
        return Answers(found, tuple(OptionsAnswer({}) for _ in options))
    answered = {
        answer["name"]: Found(
            probe=_probe_of(answer),
            export_packages=tuple(answer.get("export_packages", ())),
            runtime_packages=tuple(answer.get("runtime_packages", ())),
            extra=answer.get("extra", ""),
            default_device=answer.get("default_device", "cpu"),
            spec=specs[answer["name"]],
            artifact_endings=tuple(answer.get("artifact_endings", ())),
            portable=answer.get("portable", False),
        )
        for answer in end.result["probes"]
    }
    resolved = tuple(
        OptionsAnswer(item.get("options", {}), item.get("error", ""), item.get("remedy", ""))
        for item in end.result["options"]
    )
    return Answers(answered, resolved)


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those of the packages that are installed here."""
    versions = {}
    for package in sorted(set(packages)):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
