"""A matrix with what the command line gives in place of what its file says."""

from __future__ import annotations

from collections.abc import Sequence

from deploymark.backends.base import PRECISIONS
from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.axes import known_backend
from deploymark.bench.matrix.entries import BUILTIN
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.yaml_source import did_you_mean

CHECKPOINT_ENDING = ".pt"
"""What ``--model`` takes for a checkpoint; anything else is an exported file."""


def with_overrides(
    matrix: Matrix,
    *,
    model: str | None = None,
    data: str | None = None,
    imgsz: Sequence[int] = (),
    backends: Sequence[str] = (),
    precisions: Sequence[str] = (),
) -> Matrix:
    """The matrix with what the command line gives in place of what the file says.

    ``backends`` keeps the file's entry of a backend where it has one; ``precisions`` replaces those
    of every backend. Raises BadInputError naming the option.
    """
    values = matrix.model_dump()
    if model is not None or data is not None:
        names = next(iter(matrix.models)).names
        values["models"] = [{**_given_model(model, data), "names": names}]
    if imgsz:
        values["imgsz"] = list(imgsz)
    if backends:
        entries = {entry.name: entry.model_dump() for entry in matrix.backend_entries()}
        values["backends"] = [entries.get(name, {"name": name}) for name in _checked(backends)]
    if precisions:
        values["precisions"] = list(_known_precisions(precisions))
        values["native_only"] = []
        values["backends"] = [
            {**(item if isinstance(item, dict) else {"name": item}), "precisions": None}
            for item in values["backends"] or ()
        ] or None
    try:
        return Matrix.model_validate(values)
    except ValueError as error:
        raise BadInputError(f"the command line gives an impossible matrix: {error}") from error


def _given_model(model: str | None, data: str | None) -> dict[str, str]:
    if model is None or data is None:
        raise BadInputError(
            "--model and --data belong together",
            remedy="Write: --model my.pt --data my.yaml [--imgsz 640]",
        )
    checkpoint = model.startswith(BUILTIN) or model.lower().endswith(CHECKPOINT_ENDING)
    return {"path" if checkpoint else "artifact": model, "data": data}


def _checked(backends: Sequence[str]) -> Sequence[str]:
    for name in backends:
        try:
            known_backend(name)
        except ValueError as error:
            raise BadInputError(f"--backends {name}: {error}") from error
    return backends


def _known_precisions(precisions: Sequence[str]) -> Sequence[str]:
    for precision in precisions:
        if precision not in PRECISIONS:
            raise BadInputError(
                f"--precisions {precision}: unknown precision, expected one of "
                f"{', '.join(PRECISIONS)}{did_you_mean(precision, PRECISIONS)}"
            )
    return precisions
