"""What a detector takes: the input contract.

Everything between a decoded picture and the array that a session is given is here, in one place:
its size, how the picture is put into it, colours, values, order of axes, and the inputs besides.
Conventions of known families are in ``backends.families``. Written for Python 3.10 and nothing
besides: workers prepare images, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy.typing as npt

Resize = Literal["letterbox", "stretch"]
"""``letterbox``: sides keep their ratio, the rest is grey. ``stretch``: the picture fills it."""

Placement = Literal["centre", "top-left"]
"""Where a letterboxed picture lies."""

Interpolation = Literal["bilinear", "bicubic", "nearest", "bilinear-antialias", "bicubic-antialias"]
"""``bilinear``, ``bicubic`` and ``nearest`` are OpenCV's (``cv2.resize``), which read the
neighbours of a point only; ``…-antialias`` are Pillow's, as torchvision's and Hugging Face's."""

Colours = Literal["rgb", "bgr"]

ExtraKind = Literal["orig_target_sizes", "im_shape", "scale_factor", "pixel_mask"]
"""Inputs besides the images. All of them speak of the input as it is given: its width and height,
its height and width, 1 and 1, and a mask of ones. So boxes come back in pixels of the input
whatever the file does with these, and are carried to the picture as those of every other model."""


class Size(NamedTuple):
    """Height and width of an input, in pixels."""

    height: int
    width: int

    @classmethod
    def of(cls, value: int | str | Size | tuple[int, ...] | list[int]) -> Size:
        """A size as a matrix, a job or a table has it: 640, ``384x640``, [384, 640].

        The height comes first. Raises ValueError.
        """
        if isinstance(value, str):
            numbers = [int(word) for word in value.split("x")]
        elif isinstance(value, (list, tuple)):
            numbers = [int(number) for number in value]
        else:
            numbers = [int(value)]
        if len(numbers) not in (1, 2):
            raise ValueError(f"{value!r} is no height and width")
        return cls(numbers[0], numbers[-1])

    @property
    def square(self) -> bool:
        """Whether both sides are alike."""
        return self.height == self.width

    @property
    def word(self) -> int | str:
        """As tables and matrices have it: 640, and ``384x640`` where the sides differ."""
        return self.height if self.square else f"{self.height}x{self.width}"

    @property
    def pixels(self) -> int:
        """Height times width."""
        return self.height * self.width

    def __str__(self) -> str:
        return str(self.word)


@dataclasses.dataclass(frozen=True)
class ExtraInput:
    """An input besides the images, of a value that the size decides.

    ``name`` is the file's. ``order``: of ``orig_target_sizes``, (width, height) or the reverse.
    """

    name: str
    kind: ExtraKind
    order: Literal["wh", "hw"] = "wh"
    dtype: Literal["int64", "int32", "float32"] = "int64"


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """How a session takes images; ``height`` and ``width`` are None where any size is meant.

    ``resize``, ``placement`` (of a letterbox), ``pad`` (its grey level) and ``interpolation`` say
    how a picture gets into the size. Then, in this order: ``colours``; ``range``, the values of
    black and white; ``mean`` and ``deviation`` (of the three channels in the order of ``colours``),
    subtracted and divided by; ``dtype``; and with ``channels_last`` arrays are (batch, height,
    width, 3). ``extra`` are the inputs besides. The defaults are Ultralytics'.
    """

    dtype: Literal["float32", "uint8"] = "float32"
    channels_last: bool = False
    range: tuple[int, int] = (0, 1)
    height: int | None = None
    width: int | None = None
    resize: Resize = "letterbox"
    placement: Placement = "centre"
    pad: int = 114
    interpolation: Interpolation = "bilinear"
    colours: Colours = "rgb"
    mean: tuple[float, float, float] | None = None
    deviation: tuple[float, float, float] | None = None
    extra: tuple[ExtraInput, ...] = ()

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> InputSpec:
        """From a mapping such as ``dataclasses.asdict`` gives, after a way through JSON."""
        given = dict(values)
        for key in ("range", "mean", "deviation"):
            if given.get(key) is not None:
                given[key] = tuple(given[key])
        given["extra"] = tuple(ExtraInput(**item) for item in given.get("extra") or ())
        return cls(**given)

    def at(self, size: Size) -> InputSpec:
        """The same for images of a size."""
        return dataclasses.replace(self, height=size.height, width=size.width)

    @property
    def size(self) -> Size:
        """Height and width in pixels. Raises ValueError where it is of any size."""
        if self.height is None or self.width is None:
            raise ValueError("the size of the input is not known yet")
        return Size(self.height, self.width)

    def shape(self, images: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """The arrays' shape for images of the shape (batch, 3, height, width)."""
        batch, channels, height, width = images
        return (batch, height, width, channels) if self.channels_last else images

    @property
    def placed(self) -> str:
        """In a word how pictures get into the size: what prepared images depend on.

        Empty for the default, so that what was prepared before is found.
        """
        default = InputSpec()
        if self.resize == "stretch":
            return f"stretch-{self.interpolation}"
        if (self.placement, self.pad, self.interpolation) == (
            default.placement,
            default.pad,
            default.interpolation,
        ):
            return ""
        return f"letterbox-{self.placement}-{self.pad}-{self.interpolation}"

    def told(self) -> str:
        """The contract in words for people, without the size."""
        low, high = self.range
        parts = [
            "stretched" if self.resize == "stretch" else self._letterboxed(),
            self.interpolation,
            f"{self.colours.upper()} in {low} to {high}",
        ]
        if self.mean is not None or self.deviation is not None:
            mean, deviation = self.mean or (0.0,) * 3, self.deviation or (1.0,) * 3
            parts.append(
                f"minus {', '.join(f'{x:g}' for x in mean)}, "
                f"divided by {', '.join(f'{x:g}' for x in deviation)}"
            )
        parts.append(f"{self.dtype}, {'NHWC' if self.channels_last else 'NCHW'}")
        parts += [
            f"with {item.name}" + (f" ({item.order})" if item.kind == "orig_target_sizes" else "")
            for item in self.extra
        ]
        return ", ".join(parts)

    def _letterboxed(self) -> str:
        where = "in the middle" if self.placement == "centre" else "at the top left"
        return f"letterboxed {where} on grey {self.pad}"


PLAIN_INPUT = InputSpec()


def square_input(side: int) -> InputSpec:
    """The default contract of a square of ``side`` pixels: what Ultralytics' models train on."""
    return PLAIN_INPUT.at(Size(side, side))


UNIT_RANGE, BYTE_RANGE, SIGNED_RANGE = (0, 1), (0, 255), (-1, 1)
"""The values of black and white that inputs may have."""

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of RGB in 0 to 1 (torchvision's models)."""


def extra_inputs(spec: InputSpec, images: tuple[int, int, int, int]) -> dict[str, npt.NDArray[Any]]:
    """The inputs besides images of the shape (batch, 3, height, width), by name."""
    batch, _, height, width = images
    found: dict[str, npt.NDArray[Any]] = {}
    for item in spec.extra:
        import numpy as np

        values: tuple[Any, ...] = (width, height) if item.order == "wh" else (height, width)
        if item.kind == "im_shape":
            values = (height, width)
        elif item.kind == "scale_factor":
            values = (1, 1)
        if item.kind == "pixel_mask":
            found[item.name] = np.ones((batch, height, width), item.dtype)
        else:
            found[item.name] = np.tile(np.array(values, item.dtype), (batch, 1))
    return found
