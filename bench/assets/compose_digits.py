"""Compose one image of the digit-detection dataset: digits, occluded at times, on photographs.

Every image is seeded by (seed, split, index) alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]

IMAGE_SIZE = 320
CLASSES = 10
SPLITS = ("train", "calib", "val")
# Parts of the 1797 instances a split owns; most go to training, which needs the variety.
SHARES = {"train": 0.70, "calib": 0.10, "val": 0.20}

MAX_DIGITS = 7
# Crowded training images teach more for the same arithmetic; the others show one digit or several.
MIN_DIGITS = {"train": 5, "calib": 1, "val": 1}
HEIGHT_PX = (30.0, 120.0)
# An occluded digit stays readable at a fifth of its ink, and boxes stay apart under NMS.
MAX_COVERED = 0.20
MAX_BOX_IOU = 0.30
# Opacity above which a pixel counts as ink; lower values would box the blurred fringe.
INK = 0.4
PLACEMENT_TRIES = 25


@dataclass(frozen=True)
class Sources:
    """What the images are composed of.

    ``glyphs``: float32 (1797, 8, 8) in [0, 1]. ``labels``: the digit each glyph shows.
    ``photos``: RGB photographs.
    """

    glyphs: FloatArray
    labels: tuple[int, ...]
    photos: tuple[Image.Image, ...]


@dataclass(frozen=True)
class Sample:
    """One composed image.

    ``pixels``: uint8 (IMAGE_SIZE, IMAGE_SIZE, 3), RGB. ``boxes``: float64 (n, 4), x1 y1 x2 y2 in
    pixels, tight round the ink before occlusion. ``classes`` and ``instances`` (the row in
    scikit-learn's dataset) have one entry a box.
    """

    pixels: ByteArray
    boxes: npt.NDArray[np.float64]
    classes: tuple[int, ...]
    instances: tuple[int, ...]


@dataclass(frozen=True)
class _Placed:
    """A digit on the canvas: its box in pixels, and within the box the ink not hidden by others."""

    box: Box
    visible: BoolArray
    ink_px: int


def load_sources() -> Sources:
    """Read the digits and the photographs from the installed scikit-learn."""
    from sklearn.datasets import load_digits, load_sample_images

    digits: Any = load_digits()
    photos: Any = load_sample_images()
    return Sources(
        glyphs=(np.asarray(digits.images) / 16.0).astype(np.float32),
        labels=tuple(int(label) for label in digits.target),
        photos=tuple(Image.fromarray(np.asarray(photo)) for photo in photos.images),
    )


def split_instances(labels: Sequence[int], seed: int) -> dict[str, tuple[int, ...]]:
    """Deal the digit instances to the splits, stratified by class; no instance is dealt twice."""
    dealt: dict[str, list[int]] = {split: [] for split in SPLITS}
    classes = np.asarray(labels)
    for label in range(CLASSES):
        rng = np.random.default_rng([seed, label])
        members = rng.permutation(np.flatnonzero(classes == label))
        calib = round(len(members) * SHARES["calib"])
        val = round(len(members) * SHARES["val"])
        parts = np.split(members, [calib, calib + val])
        for split, part in zip(("calib", "val", "train"), parts, strict=True):
            dealt[split].extend(int(index) for index in part)
    return {split: tuple(sorted(indices)) for split, indices in dealt.items()}


def compose(sources: Sources, pool: Sequence[int], seed: int, split: str, index: int) -> Sample:
    """Compose image ``index`` of ``split`` from the digit instances in ``pool``."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    canvas = _background(sources.photos, rng)
    _draw_clutter(canvas, sources.photos, rng)
    pixels = np.asarray(canvas, dtype=np.float32).copy()
    for _ in range(int(rng.integers(0, 3))):
        _paint_blob(pixels, rng)

    placed: list[_Placed] = []
    classes: list[int] = []
    instances: list[int] = []
    wanted = int(rng.integers(MIN_DIGITS[split], MAX_DIGITS + 1))
    for instance in rng.choice(np.asarray(pool), size=wanted, replace=False):
        digit = _place_digit(pixels, sources.glyphs[instance], placed, rng)
        if digit is None:
            continue
        placed.append(digit)
        classes.append(sources.labels[instance])
        instances.append(int(instance))

    pixels += rng.normal(0.0, rng.uniform(0.0, 4.0), pixels.shape).astype(np.float32)
    return Sample(
        pixels=np.clip(np.rint(pixels), 0, 255).astype(np.uint8),
        boxes=np.array([digit.box for digit in placed], dtype=np.float64).reshape(-1, 4),
        classes=tuple(classes),
        instances=tuple(instances),
    )


def _background(photos: Sequence[Image.Image], rng: np.random.Generator) -> Image.Image:
    """Crop a photograph at a random place and scale, mirror it at random, and relight it."""
    crop = _photo_crop(photos, rng, int(rng.integers(140, 428)))
    canvas = crop.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        canvas = canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.25:
        canvas = canvas.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    gain, offset = rng.uniform(0.5, 1.1), rng.uniform(-20.0, 50.0)
    return canvas.point(
        [round(min(255.0, max(0.0, level * gain + offset))) for level in range(256)] * 3
    )


def _photo_crop(photos: Sequence[Image.Image], rng: np.random.Generator, side: int) -> Image.Image:
    photo = photos[int(rng.integers(len(photos)))]
    side = min(side, *photo.size)
    left = int(rng.integers(0, photo.width - side + 1))
    top = int(rng.integers(0, photo.height - side + 1))
    return photo.crop((left, top, left + side, top + side))


def _draw_clutter(
    canvas: Image.Image, photos: Sequence[Image.Image], rng: np.random.Generator
) -> None:
    """Paint distractors on the canvas: photo patches, ellipses, and straight or bent strokes."""
    for _ in range(int(rng.integers(0, 3))):
        side = int(rng.integers(24, 110))
        patch = _photo_crop(photos, rng, int(rng.integers(40, 200))).resize((side, side))
        canvas.paste(patch, _point(rng))
    draw = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(0, 4))):
        x, y = _point(rng)
        reach_x, reach_y = (int(reach) for reach in rng.integers(6, 60, size=2))
        bounds = (x - reach_x, y - reach_y, x + reach_x, y + reach_y)
        draw.ellipse(bounds, fill=_colour(rng))
    for _ in range(int(rng.integers(0, 5))):
        points = [_point(rng)]
        for _ in range(int(rng.integers(1, 4))):
            step_x, step_y = (int(step) for step in rng.integers(-90, 91, size=2))
            points.append((points[-1][0] + step_x, points[-1][1] + step_y))
        draw.line(points, fill=_colour(rng), width=int(rng.integers(1, 9)), joint="curve")


def _point(rng: np.random.Generator) -> tuple[int, int]:
    x, y = rng.integers(-20, IMAGE_SIZE, size=2)
    return int(x), int(y)


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, size=3)
    return int(red), int(green), int(blue)


def _paint_blob(pixels: FloatArray, rng: np.random.Generator) -> None:
    """Blend a cloud of no particular shape into the canvas, in ink like a digit's."""
    noise = Image.fromarray(rng.integers(0, 256, size=(5, 5)).astype(np.uint8))
    side = int(rng.integers(24, 100))
    smooth = (
        np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    )
    axis = np.linspace(-1.0, 1.0, side, dtype=np.float32)
    window = np.clip(2.0 - 2.0 * np.hypot(axis[:, None], axis[None, :]), 0.0, 1.0)
    alpha = np.clip((smooth * window - 0.45) * 8.0, 0.0, 1.0).astype(np.float32)
    left, top = (int(corner) for corner in rng.integers(0, IMAGE_SIZE - side, size=2))
    _blend(pixels, alpha, left, top, rng)


def _place_digit(
    pixels: FloatArray, glyph: FloatArray, placed: Sequence[_Placed], rng: np.random.Generator
) -> _Placed | None:
    """Draw a digit where it hides no other too much; None where no such place was found."""
    alpha = _render_glyph(glyph, rng)
    ink = alpha > INK
    height, width = alpha.shape
    for _ in range(PLACEMENT_TRIES):
        left = int(rng.integers(0, IMAGE_SIZE - width + 1))
        top = int(rng.integers(0, IMAGE_SIZE - height + 1))
        digit = _Placed(
            (left, top, left + width, top + height), ink.copy(), int(np.count_nonzero(ink))
        )
        if all(_tolerable(digit, other) for other in placed):
            for other in placed:
                _hide(digit, other)
            _blend(pixels, alpha, left, top, rng)
            return digit
    return None


def _tolerable(upper: _Placed, lower: _Placed) -> bool:
    """Tell whether ``lower`` would stay readable, and its box apart, with ``upper`` drawn on it."""
    shared = _shared_area(upper.box, lower.box)
    if shared == 0:
        return True
    if shared / (_area(upper.box) + _area(lower.box) - shared) > MAX_BOX_IOU:
        return False
    hit = _window(lower, upper.box) & _window(upper, lower.box)
    left_px = np.count_nonzero(lower.visible) - np.count_nonzero(hit)
    return bool(left_px >= (1.0 - MAX_COVERED) * lower.ink_px)


def _hide(upper: _Placed, lower: _Placed) -> None:
    """Take from ``lower`` the ink that ``upper`` covers."""
    if _shared_area(upper.box, lower.box):
        seen = _window(lower, upper.box)
        seen &= ~_window(upper, lower.box)


def _window(digit: _Placed, box: Box) -> BoolArray:
    """Return the view of the digit's ink that lies within ``box``."""
    left, top = digit.box[0], digit.box[1]
    rows = slice(max(box[1] - top, 0), max(box[3] - top, 0))
    return digit.visible[rows, max(box[0] - left, 0) : max(box[2] - left, 0)]


def _shared_area(first: Box, second: Box) -> int:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(0, width) * max(0, height)


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _ink_box(ink: BoolArray) -> Box:
    """Return the tight half-open box x1 y1 x2 y2 round the true pixels."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _render_glyph(glyph: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Enlarge an 8x8 digit smoothly, slant and turn it; return its opacity, cropped to its ink.

    float32 (height, width) in [0, 1], the height near log-uniform in HEIGHT_PX.
    """
    height = math.exp(rng.uniform(math.log(HEIGHT_PX[0]), math.log(HEIGHT_PX[1])))
    # Two empty pixels all round hold the corners that turning swings out.
    padded = Image.fromarray(np.rint(np.pad(glyph, 2) * 255).astype(np.uint8))
    scale = height / 8.0
    size = (round(12 * scale * rng.uniform(0.85, 1.25)), round(12 * scale))
    large = padded.resize(size, Image.Resampling.BICUBIC)
    shear = rng.uniform(-0.2, 0.2)
    matrix = (1.0, shear, -shear * size[1] / 2, 0.0, 1.0, 0.0)
    large = large.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    large = large.rotate(rng.uniform(-12.0, 12.0), Image.Resampling.BICUBIC)
    # Enlarging blurs the pen's edge over half a source pixel; a steep ramp draws it again.
    ramp = (np.asarray(large, dtype=np.float32) / 255 - rng.uniform(0.25, 0.40)) * rng.uniform(
        3.0, 6.0
    )
    alpha = np.clip(ramp, 0.0, 1.0).astype(np.float32)
    left, top, right, bottom = _ink_box(alpha > INK)
    return alpha[top:bottom, left:right]


def _blend(
    pixels: FloatArray, alpha: FloatArray, left: int, top: int, rng: np.random.Generator
) -> None:
    """Ink the canvas in place, in a colour that stands out from what lies below, dark or light."""
    region = pixels[top : top + alpha.shape[0], left : left + alpha.shape[1]]
    below = float(region.mean())
    contrast = rng.uniform(90.0, 200.0)
    sign = 1.0 if rng.random() < 0.5 else -1.0
    if not 0.0 <= below + sign * contrast <= 255.0:
        sign = -sign
    tint = rng.uniform(-45.0, 45.0, size=3)
    ink = np.clip(below + sign * contrast + tint - tint.mean(), 0.0, 255.0).astype(np.float32)
    opacity = (alpha * rng.uniform(0.85, 1.0)).astype(np.float32)[..., None]
    region += opacity * (ink - region)
