"""Inputs and outputs of an exported file: names, shapes and element types, whoever tells them.

Written for Python 3.10 and nothing besides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from deploymark.backends.errors import LoadError
from deploymark.backends.inputs import ExtraInput, ExtraKind, InputSpec
from deploymark.backends.layout import OutputSpec

RGB = 3

IMAGE_NAMES = frozenset({"images", "image", "input", "pixel_values", "images_tensors", "x"})
"""Names of inputs that take images, where several have four axes."""

EXTRA_KINDS: tuple[ExtraKind, ...] = (
    "orig_target_sizes",
    "im_shape",
    "scale_factor",
    "pixel_mask",
)
"""Inputs besides the images that are known, by the names that they have in files."""

_EXTRA_ELEMENTS = ("int64", "int32", "float32")


@dataclasses.dataclass(frozen=True)
class End:
    """An input or an output of a file.

    ``name`` is its place ("0", "1") where the file has no names. ``shape`` has None for a size that
    is left open, ``element`` is NumPy's name of its type, empty where the file does not tell;
    ``role`` is what the file itself says that it is (``layout.ROLES``), by the operator that makes
    it.
    """

    name: str
    shape: tuple[int | None, ...]
    element: str = ""
    role: str = ""

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        comma = "," if len(self.shape) == 1 else ""
        words = [self.name, f"({sizes}{comma})", self.element]
        return " ".join(word for word in words if word)


def sizes(shape: Sequence[Any]) -> tuple[int | None, ...]:
    """A shape with None for each size that is left open: a name, -1, None."""
    return tuple(size if isinstance(size, int) and size > 0 else None for size in shape)


def unnamed(shapes: Iterable[Sequence[Any]], element: str = "float32") -> list[End]:
    """Ends of which nothing but the shapes is known, and their type."""
    return [End(str(index), sizes(shape), element) for index, shape in enumerate(shapes)]


def listed(ends: Iterable[End]) -> str:
    """Ends in words for people."""
    return ", ".join(map(str, ends))


def batched(shape: Sequence[Any]) -> tuple[Any, ...]:
    """The shape of an input of images; one image without a batch is a batch of one."""
    return (1, *shape) if len(shape) == 3 else tuple(shape)  # noqa: PLR2004 - one image


def channels_last(shape: Sequence[Any]) -> bool:
    """Whether a shape of images, (batch, …), has the three channels at its end."""
    return len(shape) == 4 and shape[3] == RGB and shape[1] != RGB  # noqa: PLR2004 - four axes


def image_of(path: Path, inputs: Sequence[End]) -> End:
    """The input that takes the images. Raises LoadError where there is none, or no telling."""
    images = [end for end in inputs if len(end.shape) == 4]  # noqa: PLR2004 - batch and image
    if not images:
        images = [end for end in inputs if len(batched(end.shape)) == 4 and RGB in end.shape]  # noqa: PLR2004 - as torchvision's, of one image
    if len(images) > 1:
        images = [end for end in images if end.name.lower() in IMAGE_NAMES]
    if len(images) == 1:
        return images[0]
    if len(inputs) == 1:
        raise LoadError(
            f"{path} takes an input of shape {inputs[0].shape}, not images (batch, 3, h, w)",
            remedy="Export the detector for pictures of three channels.",
        )
    raise LoadError(
        f"{path} has {len(inputs)} inputs, and none that is surely the images: {listed(inputs)}",
        remedy="Export the detector with the images as its only input of four axes.",
    )


def extras_of(path: Path, inputs: Sequence[End], image: End) -> tuple[ExtraInput, ...]:
    """The inputs besides the images, known by their names. Raises LoadError for others."""
    found = []
    for end in inputs:
        if end is image:
            continue
        kind = next((kind for kind in EXTRA_KINDS if kind in end.name.lower()), None)
        element = end.element or ("int64" if kind == "orig_target_sizes" else "float32")
        if kind is None or element not in _EXTRA_ELEMENTS:
            raise LoadError(
                f"{path} takes an input besides the images that is not known: {end}",
                remedy=f"What is known: {', '.join(EXTRA_KINDS)}, of "
                f"{', '.join(_EXTRA_ELEMENTS)}. Export the detector without it.",
            )
        found.append(ExtraInput(end.name, kind, dtype=element))  # type: ignore[arg-type]
    return tuple(found)


def require_extras(path: Path, inputs: Iterable[str], spec: InputSpec) -> None:
    """Raise LoadError where a file's inputs besides the images are others than the contract's."""
    there, wanted = sorted(inputs), sorted(item.name for item in spec.extra)
    if there != wanted:
        raise LoadError(
            f"{path} takes besides its images: {', '.join(there) or 'nothing'}; its input contract "
            f"says {', '.join(wanted) or 'nothing'}"
        )


def chosen(path: Path, names: Sequence[str], output: OutputSpec | None) -> list[int]:
    """Which of a file's outputs are the arrays of a contract, in the contract's order.

    All of them where no contract is known. Raises LoadError where a name is not there, or the
    number of outputs is another.
    """
    if output is None or (not output.names and len(names) == output.arrays):
        return list(range(len(names)))
    absent = [name for name in output.names if name not in names]
    if absent or not output.names:
        raise LoadError(
            f"{path} has the outputs {', '.join(names)}, and its output contract is "
            f"{output.told()}",
            remedy="Name its family anew: the file is another than when it was described.",
        )
    return [list(names).index(name) for name in output.names]
