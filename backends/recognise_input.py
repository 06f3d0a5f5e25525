"""How a file made elsewhere takes its images: its family's way, its own types, its user's word.

Written for Python 3.10 and nothing besides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from deploymark.backends.ends import End, batched, channels_last, extras_of
from deploymark.backends.errors import LoadError
from deploymark.backends.families import FAMILIES
from deploymark.backends.inputs import BYTE_RANGE, PLAIN_INPUT, InputSpec
from deploymark.backends.layout import FamilyName, ReadAs

NORMALISATION = ("range", "mean", "deviation")
"""What a file of bytes does itself."""

ORDER = "order"
"""What a user says of ``orig_target_sizes``: ``wh`` or ``hw``. All other words are fields of
``InputSpec``."""


def input_contract(
    path: Path,
    inputs: Sequence[End],
    image: End,
    family: FamilyName | None,
    told: ReadAs,
) -> InputSpec:
    """The input contract of a file, without a size.

    A file of bytes takes 0 to 255 whatever is said. Raises LoadError for inputs besides the images
    that are not known, and for a range whose mean and deviation nobody told.
    """
    usual = PLAIN_INPUT if family is None else FAMILIES[family].input
    said = {key: value for key, value in told.input.items() if key != ORDER}
    for key in NORMALISATION:
        if said.get(key) is not None:
            said[key] = tuple(said[key])
    of_bytes = image.element == "uint8"
    if of_bytes:
        said = {key: value for key, value in said.items() if key not in NORMALISATION}
        usual = dataclasses.replace(usual, range=BYTE_RANGE, mean=None, deviation=None)
    elif (
        usual.mean is not None
        and said.get("range", usual.range) != usual.range
        and not {"mean", "deviation"} <= set(said)
    ):
        low, high = usual.range
        raise LoadError(
            f"{path} is said to take images in {said['range'][0]} to {said['range'][1]}, and the "
            f"mean and deviation of family: {family} are of values in {low} to {high}",
            remedy="Say `mean` and `deviation` as well, under `input:`.",
        )
    extra = extras_of(path, inputs, image)
    order = told.input.get(ORDER)
    if order is not None:
        extra = tuple(
            dataclasses.replace(item, order=order) if item.kind == "orig_target_sizes" else item
            for item in extra
        )
    return dataclasses.replace(
        usual,
        **said,
        dtype="uint8" if of_bytes else "float32",
        channels_last=channels_last(batched(image.shape)),
        extra=extra,
    )
