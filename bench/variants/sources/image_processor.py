"""The input contract of a Hugging Face folder, from its ``preprocessor_config.json``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploymark.backends.families import FAMILIES
from deploymark.backends.inputs import BYTE_RANGE, UNIT_RANGE, InputSpec, Interpolation
from deploymark.backends.layout import FamilyName
from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.model_source import HF_FILES, read_json

RESAMPLE: Mapping[int, Interpolation] = {2: "bilinear-antialias", 3: "bicubic-antialias"}
"""Pillow's numbers of the filters that are known here (``PIL.Image.Resampling``)."""

BYTE_STEP = 1 / 255
STEP_TOLERANCE = 1e-6


def input_of(folder: Path | None, family: FamilyName) -> InputSpec:
    """How the model takes images: what the file says, the family's conventions for the rest.

    Images are stretched whatever ``size`` says: an input of one size has no place for rules of the
    shortest edge. Raises BadInputError for what is not known here.
    """
    spec = FAMILIES[family].input
    path = None if folder is None else folder / HF_FILES[2]
    if path is None or not path.is_file():
        return spec
    values = read_json(path)
    changes: dict[str, Any] = {}
    if (resample := values.get("resample")) is not None:
        if resample not in RESAMPLE:
            raise BadInputError(
                f"{path}: resample {resample} is none of the filters known here",
                remedy="Those are 2 (bilinear) and 3 (bicubic).",
            )
        changes["interpolation"] = RESAMPLE[resample]
    changes["range"] = _range(path, values)
    normalised = values.get("do_normalize", spec.mean is not None)
    for key, field in (("mean", "image_mean"), ("deviation", "image_std")):
        if normalised and (given := values.get(field)) is not None:
            changes[key] = tuple(map(float, given))
        elif not normalised:
            changes[key] = None
    return dataclasses.replace(spec, **changes)


def _range(path: Path, values: Mapping[str, Any]) -> tuple[int, int]:
    """The values of black and white before normalising."""
    if not values.get("do_rescale", True):
        return BYTE_RANGE
    factor = values.get("rescale_factor", BYTE_STEP)
    if abs(factor - BYTE_STEP) > STEP_TOLERANCE:
        raise BadInputError(
            f"{path}: rescale_factor {factor} is not 1/255",
            remedy="A model that takes other values comes by `loader:`, with its InputSpec.",
        )
    return UNIT_RANGE
