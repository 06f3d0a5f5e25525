"""Questions answered without measuring: what backends can do, what a file says of itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from deploymark.backends.base import AS_SEEN, BackendError, ReadAs, UnavailableError
from deploymark.backends.registry import resolve
from deploymark.bench.children.child import Message, phase


def _resolved_options(asked: list[Message]) -> list[Message]:
    """Export options with their defaults, or why they cannot be."""
    answers: list[Message] = []
    for item in asked:
        try:
            backend = resolve(item["spec"])
            options = dict(backend.resolve_options(item["precision"], item["options"]))
            answers.append({"options": options})
        except BackendError as error:
            answers.append({"error": error.message, "remedy": error.remedy})
    return answers


def probe(job: Message) -> Message:
    """What the named backends can do in this interpreter, and what their options come to."""
    answers: list[Message] = []
    for name, spec in job["backends"].items():
        try:
            backend = resolve(spec)
        except UnavailableError as error:
            answers.append(
                {"name": name, "installed": False, "reason": error.message, "remedy": error.remedy}
            )
            continue
        found = backend.probe()
        services = [
            {"device": device, "precision": precision, **dataclasses.asdict(service)}
            for (device, precision), service in found.services.items()
        ]
        answers.append(
            {
                "name": name,
                "installed": found.installed,
                "version": found.version,
                "can_export": found.can_export,
                "reason": found.reason,
                "remedy": found.remedy,
                "services": services,
                "export_packages": list(backend.export_packages),
                "runtime_packages": list(backend.runtime_packages),
                "extra": backend.extra,
                "default_device": backend.default_device,
                "artifact_endings": list(backend.artifact_endings),
                "portable": backend.portable,
            }
        )
    return {"probes": answers, "options": _resolved_options(job["options"])}


def describe(job: Message) -> Message:
    """What an exported file that was made elsewhere says of itself."""
    backend = resolve(job["spec"])
    path = Path(job["path"])
    with phase("load_failed", f"{path.name} cannot be read"):
        # A backend that takes no word of its user's is asked as ever.
        said = ReadAs(**job["told"])
        facts = backend.describe(path) if said == AS_SEEN else backend.describe(path, said)
    return {
        "folder": str(facts.artifact.folder),
        "entry": facts.artifact.entry,
        "files": list(facts.files),
        "input_shape": list(facts.input_shape),
        "output": dataclasses.asdict(facts.output),
        "classes": facts.classes,
        "names": list(facts.names),
        "stride": facts.stride,
        "precision": facts.precision,
        "spec": dataclasses.asdict(facts.spec),
        "family": facts.family,
        "score_floor": facts.score_floor,
    }
