"""The facts about a run that are not figures: when, where, on what, with which images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from deploymark.bench.records.run import Run
from deploymark.reports.page import figures

LONG_LIST = 12
"""Entries from which a list is folded away: a processor has a hundred flags."""


@dataclasses.dataclass(frozen=True)
class Fact:
    """A name and its text. ``folded`` texts are long and shown on demand."""

    name: str
    text: str
    folded: bool = False


def _gib(size_bytes: float) -> str:
    return f"{figures.significant(size_bytes / 2**30)} GiB"


def _flat(name: str, value: Any) -> list[Fact]:
    """``value`` as facts, nested mappings with their path."""
    if isinstance(value, Mapping):
        return [
            fact for key, inner in value.items() for fact in _flat(f"{name} {key}".strip(), inner)
        ]
    shown = name.removesuffix("_bytes").replace("_", " ")
    if isinstance(value, (list, tuple)):
        texts = [str(item) for item in value]
        return [Fact(shown, ", ".join(texts) or "none", folded=len(texts) >= LONG_LIST)]
    if value is None or value == "":
        return [Fact(shown, figures.ABSENT)]
    if isinstance(value, bool):
        return [Fact(shown, "yes" if value else "no")]
    if isinstance(value, (int, float)) and name.endswith("_bytes"):
        return [Fact(shown, _gib(value))]
    return [Fact(shown, str(value))]


def nested_facts(values: Mapping[str, Any]) -> list[Fact]:
    """A nested mapping of scalars and lists as a flat list of facts."""
    return _flat("", values)


def machine_line(machine: Mapping[str, Any]) -> str:
    """Host, processor, cores, memory, GPUs and system in one line, as far as they are known."""
    parts = [str(machine[key]) for key in ("host", "cpu") if machine.get(key)]
    if machine.get("cores_usable"):
        parts.append(figures.plural(int(machine["cores_usable"]), "logical core"))
    if machine.get("memory_bytes"):
        parts.append(f"{_gib(float(machine['memory_bytes']))} memory")
    parts += [str(gpu) for gpu in machine.get("gpus") or []]
    parts += [str(machine[key]) for key in ("distribution", "os") if machine.get(key)]
    if machine.get("virtualization"):
        parts.append(f"virtualized ({machine['virtualization']})")
    return " · ".join(parts) or "unknown machine"


def headline(run: Run) -> list[Fact]:
    """What a reader wants to know of a run first."""
    info = run.info
    ok = sum(cell.status == "ok" for cell in run.cells)
    disturbed = sum(cell.disturbed for cell in run.cells)
    built, reused = info.artifacts_built, info.artifacts_reused
    facts = [
        Fact("cells ok", f"{ok} of {len(run.cells)}"),
        Fact("marked disturbed", f"{disturbed} of {len(run.cells)}" if disturbed else ""),
        Fact("started", figures.moment(info.started)),
        Fact("took", figures.duration(info.started, info.finished) or figures.ABSENT),
        Fact("host", str(info.machine.get("host") or figures.ABSENT)),
        Fact("matrix", info.matrix_file or figures.ABSENT),
        Fact("selection", info.selection),
        Fact("seed", str(info.seed)),
        Fact("commit", (info.git_commit or figures.ABSENT)[:12]),
        Fact("artifacts", _artifacts(built, reused)),
        Fact("Deploymark", info.deploymark_version),
    ]
    return [fact for fact in facts if fact.text]


def _artifacts(built: int | None, reused: int | None) -> str:
    counts = ((built, "built"), (reused, "reused"))
    return ", ".join(f"{count} {word}" for count, word in counts if count is not None)


def state(run: Run) -> str | None:
    """A sentence where the run did not end, otherwise None."""
    if run.info.finished is None:
        return (
            "This run has no end: it is under way or was cut off, and figures may be missing. "
            f"Go on with: deploymark run --resume {run.folder.name}"
        )
    return None


def disturbed(run: Run) -> str | None:
    """By what the marked cells of a run were disturbed, and what that means; None without marks."""
    count = sum(cell.disturbed for cell in run.cells)
    if not count:
        return None
    number = f"{count} of {figures.plural(len(run.cells), 'cell')}"
    return (
        f"{run.info.disturbed or f'{number} are marked disturbed'}. Their intervals cover all that "
        "was seen. What would mend it: deploymark doctor."
    )


def held_out(datasets: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each data set whose calibration images came from its validation images."""
    sentences: dict[str, None] = {}  # in order, once: two models may share a data set
    for dataset in datasets:
        if dataset.get("calibration_source") != "validation":
            continue
        name, images = dataset.get("name") or "the data set", dataset.get("calibration_images")
        number = f"{images} images" if images is not None else "The images"
        sentence = (
            f"{number} for calibration were held out of the validation images of {name}: "
            "they are not among the images scored, and every mAP here is over the others alone."
        )
        sentences[sentence] = None
    return list(sentences)
