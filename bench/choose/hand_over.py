"""What ships, in one folder: the artifact, a card of its figures, and a loader for its runtime."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploymark.backends.base import Detector
from deploymark.backends.registry import resolve, specs
from deploymark.bench.choose.loader import written
from deploymark.bench.choose.words import title, with_interval
from deploymark.bench.errors import BadInputError, DeploymarkError
from deploymark.bench.matrix.cells import AS_IS
from deploymark.bench.matrix.figures import ABSENT
from deploymark.bench.matrix.request import expand_resolved
from deploymark.bench.matrix.schema import recorded_matrix
from deploymark.bench.records.answer import Answer
from deploymark.bench.records.run import RUN_FILE, CellResult, Run
from deploymark.bench.store import Store, StoredArtifact
from deploymark.bench.yaml_source import YamlSource

CARD_FILE = "CARD.md"
LOADER_FILE = "load.py"


def hand_over(run: Run, answer: Answer, folder: Path) -> list[Path]:
    """Put the winner's files into ``folder``, in one step; returns what lies there.

    Raises BadInputError where there is no winner, where the artifact is gone or has changed, and
    where ``folder`` is not empty.
    """
    if answer.winner is None:
        raise BadInputError(f"there is no winner to copy: the answer is {answer.outcome}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInputError(
            f"--copy {folder}: it is there already, and not an empty folder",
            remedy="Name another folder.",
        )
    cell = next(row for row in run.cells if row.cell == answer.winner)
    artifact, files = _artifact(run, cell)
    detector = Detector.read(artifact.detector)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".deploymark-") as partial:
            made = Path(partial) / "made"
            _copy_files(artifact, files, made)
            loader = _loader(cell, artifact, detector)
            if loader:
                (made / LOADER_FILE).write_text(loader, encoding="utf-8")
            card = _card(run, answer, cell, artifact, detector, loader=bool(loader))
            (made / CARD_FILE).write_text(card, encoding="utf-8")
            if folder.exists():
                folder.rmdir()
            made.rename(folder)
    except OSError as error:
        raise BadInputError(
            f"--copy {folder}: cannot be written: {error.strerror or error}",
            remedy="Name a folder that can be made.",
        ) from error
    return sorted(folder.iterdir())


def _artifact(run: Run, cell: CellResult) -> tuple[StoredArtifact, Sequence[str] | None]:
    """The very bytes that were measured, of the store or of the file that the matrix named.

    With the names of its files where it lies among others.
    """
    sha256 = str(cell.artifact_sha256)
    stored = Store().find_sha256({sha256})
    if sha256 in stored:
        return stored[sha256], None
    if cell.variant == AS_IS:
        matrix = recorded_matrix(run.info.matrix, run.folder / RUN_FILE)
        where = YamlSource(run.info.matrix_file, None)
        resolved = expand_resolved(matrix, where, run.info.selection, to_be_built=False)
        for one in resolved.cells:
            if one.id == cell.cell and one.given is not None and one.given.outcome is None:
                given = one.given.stored(one.given.detector(()))
                if given.sha256 == sha256:
                    return given, one.given.files
    raise BadInputError(
        f"the artifact of {cell.cell} is not in the store (sha256 {sha256[:12]})",
        remedy="Run its matrix again here, or set DEPLOYMARK_CACHE to the store that has it.",
    )


def _copy_files(artifact: StoredArtifact, files: Sequence[str] | None, target: Path) -> None:
    if files is None:
        shutil.copytree(artifact.folder, target)
        return
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(artifact.folder / name, target / name)


def _loader(cell: CellResult, artifact: StoredArtifact, detector: Detector) -> str:
    """The script that runs the artifact; empty where its backend has none, or is not here."""
    try:
        backend = resolve(specs()[cell.backend])
    except (DeploymarkError, KeyError):
        return ""
    return written(
        backend,
        detector,
        cell.size,
        file=LOADER_FILE,
        entry=artifact.entry,
        device=cell.device,
        precision=cell.precision,
        threads=cell.threads,
        batch=cell.batch,
    )


def _card(
    run: Run,
    answer: Answer,
    cell: CellResult,
    artifact: StoredArtifact,
    detector: Detector,
    *,
    loader: bool,
) -> str:
    """What the artifact is and does, in Markdown."""
    entry = answer.cell(cell.cell)
    lines = [f"# {cell.cell}", "", _origin(run, answer, cell), ""]
    lines += ["| figure | value, 95 % interval |", "| --- | ---: |"]
    lines += [
        f"| {title(name)} | {with_interval(name, one)} |" for name, one in entry.figures.items()
    ]
    lines += ["", "| what it is | |", "| --- | --- |"]
    lines += [
        f"| {name} | {_one_cell(text)} |" for name, text in _facts(cell, artifact, detector).items()
    ]
    lines += [""]
    lines += [f"- {held.constraint}: {held.state}, {held.told}" for held in entry.constraints]
    if loader:
        lines += [
            "",
            f"`python {LOADER_FILE} picture.jpg` prints what is on a picture, in pixels of it.",
            "Its `detect(path)` gives the same, `infer(images)` runs the model alone.",
            "It needs the runtime, numpy and Pillow.",
        ]
    if entry.disturbed:
        lines += ["", "Other load disturbed its launches: the intervals cover all that was seen."]
    return "\n".join(lines) + "\n"


def _origin(run: Run, answer: Answer, cell: CellResult) -> str:
    reason, machine = answer.cell(cell.cell).reason, run.info.machine
    return (
        f"{reason[:1].upper()}{reason[1:]}. Chosen by Deploymark "
        f"{answer.deploymark_version} from run {answer.run}, on {machine.get('cpu', 'a machine')} "
        f"({machine.get('host', '')}), {cell.threads} threads."
    )


def _facts(cell: CellResult, artifact: StoredArtifact, detector: Detector) -> dict[str, str]:
    """What the artifact is, its contracts in words among it."""
    size, spec, output = cell.size, detector.spec, detector.output
    floor = detector.score_floor
    return {
        "file": f"`{artifact.entry}`, SHA-256 `{cell.artifact_sha256}`",
        "model": f"{cell.model}, {cell.variant}, {cell.precision}",
        **({"family": detector.family} if detector.family else {}),
        **({"licence": cell.licence} if cell.licence else {}),
        "runtime": f"{cell.backend} on {cell.device}",
        "size": f"{size.height} x {size.width} (height x width), batch {cell.batch}",
        "input": f"{spec.shape((cell.batch, 3, *size))}, {spec.told()}",
        "output": output.told(),
        **({"lowest score": f"{floor:g}, in the file"} if floor else {}),
        "classes": ", ".join(detector.names) or ABSENT,
    }


def _one_cell(text: str) -> str:
    """Text from outside as one cell of a table."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
