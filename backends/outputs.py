"""A session's outputs, cut into those of each image: shapes, counts, rows and places.

Below ``backends.candidates``, which makes boxes and scores of them. Written for Python 3.10 and
numpy alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploymark.backends.layout import BOX_CHANNELS, ROLES, OutputLayout, OutputSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from deploymark.backends.inputs import Size
    from deploymark.backends.session import Outputs

Image = tuple["npt.NDArray[Any]", ...]
"""The arrays of one image in the order of ``ROLES``, without counts."""

ROWS = frozenset(
    {"detections", "queries-ranked", "rtdetr", "nms-in-graph", "ssd", "torchvision", "paddle"}
)
"""Layouts that give one score and one class a box."""

CORNERS = ROWS - {"queries-ranked"}
"""Those whose boxes are two corners; all others have centre and sides."""

QUERIES = frozenset({"queries", "queries-ranked", "detr", "rtdetr"})
"""Layouts that give the same number of boxes of every image, however low their scores."""

STRIDES = (8, 16, 32)
"""Of the heads of a layout of places: they make the number of places."""

_PADDED = frozenset({"nms-in-graph", "paddle"})
"""Layouts whose rows of class -1 are padding (TensorRT's plugins, Paddle's ``multiclass_nms``)."""

_SHAPES: Mapping[OutputLayout, tuple[tuple[int | str, ...], ...]] = {
    "anchors": (("batch", "4 + classes", "places"),),
    "anchors-last": (("batch", "places", "4 + classes"),),
    "yolov5": (("batch", "places", "5 + classes"),),
    "yolox": (("batch", "places", "5 + classes"),),
    "detections": (("batch", "n", 6),),
    "queries": (("batch", "n", "4 + classes"),),
    "queries-ranked": (("batch", "n", 6),),
    "detr": (("batch", "n", "classes"), ("batch", "n", 4)),
    "rtdetr": (("batch", "n"), ("batch", "n", 4), ("batch", "n")),
    "nms-in-graph": (("batch",), ("batch", "n", 4), ("batch", "n"), ("batch", "n")),
    "ssd": (("batch", "n", 4), ("batch", "n"), ("batch", "n"), ("batch",)),
    "torchvision": (("n", 4), ("n",), ("n",)),
    "paddle": (("n", 6), ("batch",)),
}
"""The shapes of each layout's arrays, in the order of ``ROLES``. A word stands for one length."""


def images_of(raw: Outputs, output: OutputSpec) -> list[Image]:
    """The arrays of each image of a batch, in views where they can be.

    Rows beyond an image's count are left out. Raises ValueError where the arrays do not fit the
    layout: their number, their shapes, or counts that ask for more rows than there are.
    """
    arrays = _arrays(raw, output.layout)
    if not _fits(arrays, output):
        raise ValueError(_misfit(arrays, output.layout))
    if output.layout == "torchvision":
        return [arrays]
    if output.layout == "paddle":
        return _of_one_list(*arrays)
    roles = ROLES.get(output.layout, ("",))
    if "counts" not in roles:
        return list(zip(*arrays))  # noqa: B905 - of one length, just checked
    counts = _whole(arrays[roles.index("counts")])
    rows = arrays[roles.index("scores")].shape[1]
    if max(counts, default=0) > rows:
        raise ValueError(
            f"a count of {max(counts)} asks for more than the {rows} rows of an image (the layout "
            f"{output.layout!r})"
        )
    others = [array for role, array in zip(roles, arrays) if role != "counts"]  # noqa: B905
    return [tuple(array[index, :count] for array in others) for index, count in enumerate(counts)]


def places_by_stride(size: Size) -> list[tuple[int, int, int]]:
    """(stride, rows, columns) of the grids that cover an input."""
    return [(stride, size.height // stride, size.width // stride) for stride in STRIDES]


def places_of(
    image: Image, output: OutputSpec, size: Size, above: float | None = None
) -> npt.NDArray[np.float32]:
    """One image of a layout that is not in ``ROWS``, as float32 (4 + classes, places).

    Boxes are centre-x, centre-y, width and height in the unit of the contract; scores are those
    that count, in [0, 1] where the file is sound. Of YOLOv5 and YOLOX they are objectness times
    class (``non_max_suppression`` of ultralytics/yolov5, ``postprocess`` of YOLOX); places whose
    objectness is not above ``above``, where that is given, are left out. Raises ValueError where
    the places of a YOLOX are not those of its size.
    """
    import numpy as np

    if output.layout == "anchors":
        return np.asarray(image[0], np.float32)
    if output.layout in {"anchors-last", "queries"}:
        return np.asarray(image[0], np.float32).T
    if output.layout == "detr":
        scores = _probabilities(np.asarray(image[0], np.float32), output.scores)
        return np.concatenate((np.asarray(image[1], np.float32), scores), axis=1).T
    rows = np.asarray(image[0], np.float32)
    if output.layout == "yolox":
        rows = _off_the_grid(rows, size)
    kept = rows if above is None else rows[rows[:, BOX_CHANNELS] > above]
    boxes, objectness, classes = np.split(kept, (BOX_CHANNELS, BOX_CHANNELS + 1), axis=1)
    joined: npt.NDArray[np.float32] = np.concatenate((boxes, classes * objectness), axis=1).T
    return joined


def rows_of(image: Image, output: OutputSpec) -> npt.NDArray[np.float32]:
    """One image of a layout in ``ROWS`` as float32 (n, 6): x1, y1, x2, y2, score, class.

    Boxes of ``queries-ranked`` stay centre and sides. All are in the unit of the contract. Padding
    of class -1 is left out.
    """
    import numpy as np

    if output.layout in {"detections", "queries-ranked"}:
        return np.asarray(image[0], np.float32)
    if output.layout == "paddle":
        rows = np.asarray(image[0], np.float32)[:, [2, 3, 4, 5, 1, 0]]
    else:
        roles = [role for role in ROLES[output.layout] if role != "counts"]
        parts = dict(zip(roles, image))  # noqa: B905 - one each
        boxes = parts["boxes"]
        if output.layout == "ssd":
            boxes = boxes[:, [1, 0, 3, 2]]
        classes = parts["classes"] if "classes" in parts else parts["labels"]
        rows = np.column_stack((boxes, parts["scores"], classes)).astype(np.float32)
    return rows[rows[:, 5] != -1] if output.layout in _PADDED else rows


def _arrays(raw: Outputs, layout: OutputLayout) -> Image:
    """Arrays, where counts are of one axis: files have (batch, 1) or, of one image, none."""
    given = raw if isinstance(raw, tuple) else (raw,)
    roles = ROLES.get(layout, ("",))
    if len(given) != len(roles):
        raise ValueError(
            f"{len(given)} output{'s' if len(given) > 1 else ''}, where the layout {layout!r} has "
            f"{len(roles)}{': ' + ', '.join(roles) if roles[0] else ''}"
        )
    return tuple(
        array.reshape(-1) if role == "counts" else array
        for role, array in zip(roles, given)  # noqa: B905 - of one length
    )


def _fits(arrays: Image, output: OutputSpec) -> bool:
    lengths: dict[str, int] = {}
    for array, form in zip(arrays, _SHAPES[output.layout]):  # noqa: B905 - of one length
        if array.ndim != len(form):
            return False
        for length, wanted in zip(array.shape, form):  # noqa: B905
            if isinstance(wanted, int):
                if length != wanted:
                    return False
            elif lengths.setdefault(wanted, length) != length or length < _least(wanted):
                return False
    # With softmax one column is "no object".
    return output.scores != "softmax" or lengths.get("classes") != 1


def _least(word: str) -> int:
    """The smallest length that ``4 + classes`` and the like may have."""
    number, plus, _ = word.partition(" + ")
    if plus:
        return int(number) + 1
    return 1 if word == "classes" else 0


def _misfit(arrays: Image, layout: OutputLayout) -> str:
    wanted = [_shape_told(form) for form in _SHAPES[layout]]
    roles = ROLES.get(layout)
    if roles is None:
        return (
            f"an output of shape {arrays[0].shape} does not have the layout {layout!r}, {wanted[0]}"
        )
    seen = ", ".join(f"{role} {array.shape}" for role, array in zip(roles, arrays))  # noqa: B905
    told = ", ".join(f"{role} {form}" for role, form in zip(roles, wanted))  # noqa: B905
    return f"outputs of shapes {seen} do not have the layout {layout!r}, {told}"


def _shape_told(form: tuple[int | str, ...]) -> str:
    inside = ", ".join(map(str, form))
    return f"({inside},)" if len(form) == 1 else f"({inside})"


def _whole(counts: npt.NDArray[Any]) -> list[int]:
    """Counts as integers; what is not a number counts nothing (``bench.worker.outputs`` tells)."""
    import numpy as np

    sound = np.nan_to_num(counts.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return [max(0, round(float(count))) for count in sound]


def _of_one_list(rows: npt.NDArray[Any], counts: npt.NDArray[Any]) -> list[Image]:
    """The rows of each image, which follow one another."""
    import numpy as np

    ends = np.cumsum([0, *_whole(counts)])
    if ends[-1] > len(rows):
        raise ValueError(
            f"counts {counts.tolist()} ask for {ends[-1]} of {len(rows)} rows of the layout "
            "'paddle'"
        )
    return [(rows[start:end],) for start, end in itertools.pairwise(ends)]


def _off_the_grid(rows: npt.NDArray[np.float32], size: Size) -> npt.NDArray[np.float32]:
    """YOLOX's raw places (places, 5 + classes) with boxes in pixels of the input.

    Places are in the order of its ``decode_outputs``: grids of growing stride, each row by row.
    """
    import numpy as np

    grids = places_by_stride(size)
    expected = sum(height * width for _, height, width in grids)
    if len(rows) != expected:
        raise ValueError(
            f"{len(rows)} places do not have the layout 'yolox' at {size} px, where grids of "
            f"stride {', '.join(map(str, STRIDES))} have {expected}"
        )
    places = np.concatenate(
        [
            np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2).reshape(-1, 2)
            for _, height, width in grids
        ]
    ).astype(np.float32)
    strides = np.repeat(
        np.array([stride for stride, _, _ in grids], np.float32),
        [height * width for _, height, width in grids],
    )[:, None]
    out = rows.copy()
    out[:, :2] = (rows[:, :2] + places) * strides
    out[:, 2:4] = np.exp(rows[:, 2:4]) * strides
    return out


def _probabilities(logits: npt.NDArray[np.float32], form: str) -> npt.NDArray[np.float32]:
    """Scores of (n, classes) logits; with ``softmax`` without the last column, "no object"."""
    import numpy as np

    if form == "sigmoid":
        return np.float32(1) / (np.float32(1) + np.exp(-logits))
    if form == "softmax":
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        found: npt.NDArray[np.float32] = (shares / shares.sum(axis=1, keepdims=True))[:, :-1]
        return found
    return logits
