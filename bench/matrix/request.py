"""What a command line or a stored run asks for, resolved: absolute paths, cells, the selection."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deploymark.backends.file_kind import misfit
from deploymark.backends.registry import specs
from deploymark.bench.assets import digits_dir
from deploymark.bench.data.coco_names import COCO_NAMES
from deploymark.bench.data.datasets import DataSource
from deploymark.bench.data.known_sets import check_no_address, named_set
from deploymark.bench.errors import BadInputError, together
from deploymark.bench.machine.probing import Answers, OptionsQuestion, probe_backends
from deploymark.bench.matrix.cells import Cell, Expansion, expand, select
from deploymark.bench.matrix.command_line import Overrides, is_checkpoint, with_overrides
from deploymark.bench.matrix.energy_settings import fault_of_meter
from deploymark.bench.matrix.entries import BUILTIN, DataEntry, ModelEntry, VariantEntry, model_name
from deploymark.bench.matrix.followed import check_followed, with_asked_precision
from deploymark.bench.matrix.given import describe_given
from deploymark.bench.matrix.model_source import (
    HUGGING_FACE,
    ModelSource,
    faults_of_folder,
    loader_spec,
    source_file,
)
from deploymark.bench.matrix.schema import Matrix, find_matrix, read_matrix
from deploymark.bench.matrix.steps import files_of, with_files
from deploymark.bench.records.files import printable
from deploymark.bench.yaml_source import YamlSource


@dataclasses.dataclass(frozen=True)
class RunRequest(Overrides):
    """What is asked for. Without ``matrix``: ``default`` or, with ``model``, ``yolo11``.

    ``strict`` makes a cell that stays disturbed ``invalid``, whatever the matrix says;
    ``skip_bad`` leaves out what of a data set has a fault. ``fit`` finds smallest limits of memory,
    and times no more than it must.
    """

    matrix: str | None = None
    select: str = ""
    strict: bool = False
    skip_bad: bool = False
    fit: bool = False


@dataclasses.dataclass(frozen=True)
class ResolvedMatrix:
    """A matrix with absolute paths, where it came from and its cells.

    ``options`` are what the command line gave in place of what the file says, to be given again.
    """

    matrix: Matrix
    file: str
    selection: str
    expansion: Expansion
    cells: tuple[Cell, ...]
    options: tuple[str, ...] = ()


def resolve_matrix(request: RunRequest) -> ResolvedMatrix:
    """Read, override and expand the matrix that a request names. Raises BadInputError."""
    reference = request.matrix or ("yolo11" if request.model else "default")
    path = find_matrix(reference)
    matrix, source = read_matrix(path)
    overridden = with_overrides(matrix, request)
    where = dataclasses.replace(source, given=request.places())
    # What the command line names lies where it was typed, what the file names beside the file.
    folder = path.resolve().parent if request.model is None else Path.cwd()
    absolute = _with_absolute_paths(overridden, path.resolve().parent, models_in=folder)
    if request.strict:
        absolute = _strict(absolute)
    if request.skip_bad:
        absolute = skipping_faults(absolute)
    if request.fit:
        absolute = _to_be_fitted(absolute)
    resolved = expand_resolved(absolute, where, request.select)
    return dataclasses.replace(resolved, options=_options(request, absolute))


def _options(request: RunRequest, absolute: Matrix) -> tuple[str, ...]:
    """The options of a request that change its matrix, in words that hold in any folder."""
    found = list(request.words())
    if request.model is not None:
        entry = absolute.models[0]
        found += ["--model", str(entry.path or entry.artifact), "--data", str(entry.data)]
    flags = {"--strict": request.strict, "--skip-bad": request.skip_bad}
    return (*found, *(flag for flag, given in flags.items() if given))


def _strict(matrix: Matrix) -> Matrix:
    """The matrix with the veto, for a run and all that goes on with it."""
    validity = matrix.validity.model_copy(update={"on_disturbed": "fail"})
    return matrix.model_copy(update={"validity": validity})


def _to_be_fitted(matrix: Matrix) -> Matrix:
    """The matrix with smallest limits, and one short launch a cell."""
    short = {"launches": 1, "max_launches": 1, "target_interval": None, "until": "all"}
    measure = matrix.measure.model_copy(update={**short, "e2e_iterations": 0})
    return matrix.model_copy(update={"measure": measure, "fit": True})


def skipping_faults(matrix: Matrix) -> Matrix:
    """The matrix with faults of data skipped, for a run and all that reads its data again."""
    return matrix.model_copy(update={"on_fault": "skip"})


def expand_resolved(
    matrix: Matrix, where: YamlSource, selection: str, *, to_be_built: bool = True
) -> ResolvedMatrix:
    """The cells of a matrix whose paths are absolute.

    Raises BadInputError: for a model or a recipe's file that is missing, too, unless nothing is
    ``to_be_built``.
    """
    if to_be_built:
        _check_files(matrix, where)
    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        names = [entry.name for entry in matrix.backend_entries()]
        names += [item.backend for item in matrix.include]
        if any(entry.artifact is not None for entry in matrix.models):
            names += specs()
        answers = probe_backends(dict.fromkeys(names), log=Path(folder) / "probe.log")
    devices = {name: found.default_device for name, found in answers.backends.items()}
    given = with_asked_precision(matrix, describe_given(matrix, answers.backends, where), where)
    expansion = expand(matrix, where, default_devices=devices, given=given)
    chosen = select(expansion, selection)
    check_followed(matrix, expansion.cells, chosen, where)
    return ResolvedMatrix(matrix, where.file, selection, expansion, chosen)


def _check_files(matrix: Matrix, where: YamlSource) -> None:
    faults: list[BadInputError] = []
    for index, entry in enumerate(matrix.models):
        faults += _faults_of_model(entry, index, where)
    for index, variant in enumerate(matrix.variants):
        if not isinstance(variant, str):
            faults += _faults_of_recipe(variant, index, where)
    if (fault := fault_of_meter(matrix.energy, where)) is not None:
        faults.append(fault)
    if faults:
        raise together(faults)


def _absolute(reference: str, folder: Path) -> str:
    if reference.startswith(BUILTIN):
        return reference
    if reference.startswith(HUGGING_FACE):
        return HUGGING_FACE + _absolute(reference.removeprefix(HUGGING_FACE), folder)
    path = str((folder / reference).resolve())
    if printable(path) != path:
        raise BadInputError(
            f"{printable(path)}: its path has bytes that are no UTF-8, which a matrix cannot hold",
            remedy="Rename the folder, or give a link to it. Images in it may have any name.",
        )
    return path


def _absolute_data(reference: str, folder: Path) -> str:
    """A data set by its path; or by a name of Ultralytics, where no file has that name.

    Raises BadInputError for an address: nothing is downloaded.
    """
    check_no_address(reference)
    absolute = _absolute(reference, folder)
    if reference.startswith(BUILTIN) or Path(absolute).exists():
        return absolute
    found = named_set(reference)
    return absolute if found is None else str(found)


def _with_absolute_paths(matrix: Matrix, folder: Path, *, models_in: Path) -> Matrix:
    models = []
    for entry in matrix.models:
        changes: dict[str, Any] = {}
        data: str | DataEntry
        if isinstance(entry.data, str):
            data = _absolute_data(entry.data, models_in)
        else:
            given = entry.data.model_dump(exclude_none=True)
            data = DataEntry(**{key: _absolute(value, models_in) for key, value in given.items()})
        for key in ("path", "artifact"):
            if (reference := getattr(entry, key)) is not None:
                changes[key] = _absolute(reference, models_in)
        models.append(entry.model_copy(update={**changes, "data": data}))
    variants = tuple(
        entry if isinstance(entry, str) else _with_absolute_files(entry, folder)
        for entry in matrix.variants
    )
    return matrix.model_copy(update={"models": tuple(models), "variants": variants})


def _checkpoint(reference: str, folder: Path) -> str:
    if reference.startswith(BUILTIN):
        return str(_builtin(reference, ".pt", YamlSource("a step's checkpoint", None)))
    return _absolute(reference, folder)


def _with_absolute_files(entry: VariantEntry, folder: Path) -> VariantEntry:
    steps = tuple(
        with_files(step, {name: _checkpoint(name, folder) for name in files_of(step)})
        for step in entry.steps
    )
    return entry.model_copy(update={"steps": steps})


def _faults_of_model(entry: ModelEntry, index: int, where: YamlSource) -> Iterator[BadInputError]:
    """What is wrong with the file of a model; ``describe_given`` looks into exported files."""
    if isinstance(entry.data, str) and entry.data.startswith(BUILTIN):
        _builtin(entry.data, ".yaml", where, ("models", index, "data"))
    if entry.artifact is not None:
        if not Path(entry.artifact).exists():
            yield where.error(
                ("models", index, "artifact"),
                f"no such file or folder: {entry.artifact}",
                remedy="Give an exported file: here, or with --model my.onnx --data my.yaml",
            )
        return
    if entry.path is not None and entry.path.startswith(BUILTIN):
        _builtin(entry.path, ".pt", where, ("models", index, "path"))
        return
    for key, what, remedy in _faults_of_source(model_source(entry)):
        yield where.error(("models", index, key), what, remedy=remedy)


_OTHER_KINDS = (
    "An exported file is measured as it is with `artifact:` in place of `path:`; a Hugging Face "
    "folder is `path: hf:FOLDER`, a state file of torchvision has `architecture:` beside it."
)


def _faults_of_source(source: ModelSource) -> Iterator[tuple[str, str, str]]:
    """What is wrong with a checkpoint or a loader, without opening it: the key, what, a remedy."""
    path = None if source.path is None else Path(source.path)
    if source.loader is not None and source_file(source.loader.partition(":")[0]) is None:
        yield (
            "loader",
            f"there is no module {source.loader.partition(':')[0]}",
            "Install its package here, or name its folder in PYTHONPATH.",
        )
    if path is None:
        return
    if source.kind == "hugging-face":
        yield from (("path", what, remedy) for what, remedy in faults_of_folder(path))
    elif not path.exists():
        yield (
            "path",
            f"no such file: {path}",
            "Give a checkpoint: in the matrix, or with --model my.pt --data my.yaml",
        )
    elif source.kind == "ultralytics":
        if not is_checkpoint(str(path)):
            yield (
                "path",
                f"{path.name} is not a .pt checkpoint",
                _OTHER_KINDS,
            )
        elif (wrong := misfit(path)) is not None:
            yield ("path", *wrong)


def _faults_of_recipe(
    entry: VariantEntry, index: int, where: YamlSource
) -> Iterator[BadInputError]:
    for number, step in enumerate(entry.steps):
        for name in files_of(step):
            place = ("variants", index, "steps", number)
            if not Path(name).is_file():
                yield where.error(
                    place,
                    f"no such file: {name}",
                    remedy="Give a .pt checkpoint, by a path relative to the matrix.",
                )
            elif (wrong := misfit(Path(name))) is not None:
                yield where.error(place, wrong[0], remedy=wrong[1])


def _builtin(
    reference: str, suffix: str, where: YamlSource, path: tuple[str | int, ...] = ()
) -> Path:
    """The packaged file that ``builtin:digits`` names."""
    name = reference.removeprefix(BUILTIN)
    if name != "digits":
        raise where.error(
            path, f"nothing is built in as {reference!r}, did you mean 'builtin:digits'?"
        )
    return digits_dir() / ("digits.pt" if suffix == ".pt" else "data.yaml")


def model_path(entry: ModelEntry) -> Path:
    """The checkpoint or artifact of an entry whose paths are absolute; else a loader's name."""
    if entry.source.startswith(BUILTIN):
        return _builtin(entry.source, ".pt", YamlSource("the matrix", None))
    return Path(entry.source.removeprefix(HUGGING_FACE))


def model_source(entry: ModelEntry) -> ModelSource:
    """Where the model of an entry whose paths are absolute, no artifact, is loaded from."""
    path = None if entry.path is None else str(model_path(entry))
    if entry.loader is not None:
        return ModelSource("loader", path, loader=loader_spec(entry.loader))
    if entry.source.startswith(HUGGING_FACE):
        return ModelSource("hugging-face", path)
    if entry.architecture is not None:
        return ModelSource("torchvision", path, architecture=entry.architecture)
    return ModelSource("ultralytics", path, head=entry.head)


def data_source(entry: ModelEntry) -> DataSource:
    """The data set of an entry whose paths are absolute."""
    name = model_name(entry)
    if isinstance(entry.data, DataEntry):
        given = entry.data
        return DataSource(
            name=name,
            annotations=Path(given.annotations),
            images=None if given.images is None else Path(given.images),
            calibration=None if given.calibration is None else Path(given.calibration),
            training=None if given.training is None else Path(given.training),
        )
    if entry.data.startswith(BUILTIN):
        return DataSource(name=name, yaml=_builtin(entry.data, ".yaml", YamlSource("", None)))
    path = Path(entry.data)
    if path.is_dir():
        return DataSource(name=name, folder=path)
    if path.suffix.lower() == ".json":
        return DataSource(name=name, annotations=path)
    names = COCO_NAMES if entry.names == "coco" else entry.names
    return DataSource(name=name, yaml=path, names=names)


def probe_matrix(cells: Sequence[Cell], log: Path) -> tuple[Answers, dict[str | None, Answers]]:
    """Ask every backend of the cells here, and again under each interpreter that a cell names."""
    names = list(dict.fromkeys(cell.backend for cell in cells))
    questions = [OptionsQuestion(cell.backend, cell.precision, cell.options) for cell in cells]
    here = probe_backends(names, log=log, options=questions)
    elsewhere: dict[str | None, Answers] = {None: here}
    for python in dict.fromkeys(cell.python for cell in cells):
        if python is not None:
            wanted = {cell.backend for cell in cells if cell.python == python}
            elsewhere[python] = probe_backends(sorted(wanted), log=log, python=python)
    return here, elsewhere
