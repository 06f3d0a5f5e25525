"""Which contract the several outputs of a file made elsewhere have: by names, shapes and types.

Outputs are matched by the names that a family's exporters give, else by shape and type, where these
leave one way; never by their place. Where two families have such outputs, the file is refused with
both. Written for Python 3.10 and nothing besides.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from deploymark.backends.ends import End, listed
from deploymark.backends.errors import LoadError
from deploymark.backends.families import FAMILIES
from deploymark.backends.inputs import ExtraKind
from deploymark.backends.layout import (
    AS_SEEN,
    BOX_CHANNELS,
    DETECTION_COLUMNS,
    ROLES,
    FamilyName,
    OutputLayout,
    OutputSpec,
    ReadAs,
)
from deploymark.backends.recognise import OPTION, Reading, forms_of, say_which

_NAMES: Mapping[OutputLayout, Mapping[str, frozenset[str]]] = {
    "detr": {
        "logits": frozenset({"logits", "pred_logits", "labels"}),
        "boxes": frozenset({"pred_boxes", "dets", "boxes"}),
    },
    "rtdetr": {
        "labels": frozenset({"labels"}),
        "boxes": frozenset({"boxes"}),
        "scores": frozenset({"scores"}),
    },
    "nms-in-graph": {
        "counts": frozenset({"num_dets", "num_detections", "num_predictions"}),
        "boxes": frozenset({"det_boxes", "detection_boxes", "nmsed_boxes", "pred_boxes"}),
        "scores": frozenset({"det_scores", "detection_scores", "nmsed_scores", "pred_scores"}),
        "classes": frozenset({"det_classes", "detection_classes", "nmsed_classes", "pred_classes"}),
    },
    "ssd": {
        "boxes": frozenset({"tflite_detection_postprocess", "detection_boxes"}),
        "classes": frozenset({"tflite_detection_postprocess:1", "detection_classes"}),
        "scores": frozenset({"tflite_detection_postprocess:2", "detection_scores"}),
        "counts": frozenset({"tflite_detection_postprocess:3", "num_detections"}),
    },
    "torchvision": {
        "boxes": frozenset({"boxes"}),
        "labels": frozenset({"labels"}),
        "scores": frozenset({"scores"}),
    },
    "paddle": {"rows": frozenset(), "counts": frozenset({"bbox_num"})},
}
"""The names that exporters of the families give, by layout and role."""

_YOLO_NAS = frozenset({"num_predictions", "pred_boxes", "pred_scores", "pred_classes"})
_EFFICIENT_NMS = frozenset({"num_dets", "det_boxes", "det_scores", "det_classes"})
"""Sets of names that leave no doubt. Those of ``detection_…`` do: TensorFlow's boxes of these names
begin with y, TensorRT's with x."""


def _shaped(rank: int, last: int | None = None) -> Callable[[End], bool]:
    def fits(end: End) -> bool:
        return len(end.shape) == rank and (last is None or end.shape[-1] in (None, last))

    return fits


def _counts(end: End) -> bool:
    return len(end.shape) == 1 or (len(end.shape) == 2 and end.shape[-1] == 1)  # noqa: PLR2004 - batch and 1


_BOXES, _EACH = _shaped(3, BOX_CHANNELS), _shaped(2)

_SHAPES: Mapping[OutputLayout, tuple[Callable[[End], bool], ...]] = {
    "detr": (_shaped(3), _BOXES),
    "rtdetr": (_EACH, _BOXES, _EACH),
    "nms-in-graph": (_counts, _BOXES, _EACH, _EACH),
    "ssd": (_BOXES, _EACH, _EACH, _counts),
    "torchvision": (_shaped(2, BOX_CHANNELS), _shaped(1), _shaped(1)),
    "paddle": (_shaped(2, DETECTION_COLUMNS), _shaped(1)),
}
"""What the arrays of each layout look like, in the order of ``ROLES``."""

_WHOLE = frozenset({"labels", "classes", "counts"})
"""Roles whose values are whole numbers; those of others are not."""


def plain_name(name: str) -> str:
    """A name without what exporters put around it: ``graph2_pred_boxes``, ``model/boxes:0``."""
    short = name.lower().rsplit("/", 1)[-1].removesuffix(":0")
    first, _, rest = short.partition("_")
    return rest if rest and first.startswith("graph") and first[5:].isdigit() else short


def assignments(layout: OutputLayout, outputs: Sequence[End]) -> list[tuple[End, ...]]:
    """Every way in which outputs can be the arrays of a layout, each in the order of ``ROLES``.

    What the file says of an output, by an operator or a name of the family's exporters, is held to.
    Outputs that are too many are left out where all of the others are named so.
    """
    roles = ROLES[layout]
    by_role = {end.role: end for end in outputs if end.role}
    if set(by_role) == set(roles):
        return [tuple(by_role[role] for role in roles)]
    named = [end for end in outputs if _role_of(end, layout) is not None]
    if len(outputs) > len(roles):
        outputs = named if len(named) == len(roles) else ()
    if len(outputs) != len(roles):
        return []
    ways = [
        way
        for way in itertools.permutations(outputs)
        if all(
            _may_be(end, role, shape, layout)
            for end, role, shape in zip(way, roles, _SHAPES[layout], strict=True)
        )
    ]
    # A type tells labels from scores, unless a name does.
    typed = [way for way in ways if all(map(_is_of_type, way, roles))]
    return typed if len(typed) == 1 and len(ways) > 1 else ways


def _role_of(end: End, layout: OutputLayout) -> str | None:
    name = plain_name(end.name)
    return next((role for role, names in _NAMES[layout].items() if name in names), None)


def _may_be(end: End, role: str, shape: Callable[[End], bool], layout: OutputLayout) -> bool:
    return shape(end) and _role_of(end, layout) in (None, role)


def _is_of_type(end: End, role: str) -> bool:
    return end.element.startswith(("int", "uint")) == (role in _WHOLE)


@dataclasses.dataclass(frozen=True)
class _File:
    """What is known of a file: outputs, inputs besides the images, whether it takes bytes."""

    outputs: tuple[End, ...]
    extra: Collection[ExtraKind]
    of_bytes: bool

    @property
    def names(self) -> frozenset[str]:
        return frozenset(plain_name(end.name) for end in self.outputs)

    def only(self, layout: OutputLayout) -> tuple[End, ...] | None:
        """The one way in which the outputs are a layout's arrays, None where there is another."""
        found = assignments(layout, self.outputs)
        return found[0] if len(found) == 1 else None

    def reads(self, layout: OutputLayout) -> bool:
        return self.only(layout) is not None


def reading_of_several(
    path: Path,
    outputs: Sequence[End],
    *,
    extra: Collection[ExtraKind] = (),
    of_bytes: bool = False,
    told: ReadAs = AS_SEEN,
) -> Reading:
    """How several outputs read; ``extra`` are the kinds of the inputs besides the images.

    Raises LoadError with what they may be, where that is nothing or more than one thing.
    """
    file = _File(tuple(outputs), extra, of_bytes)
    if told.family is not None:
        return _of_family(path, file, told.family)
    found = list(_recognised(file))
    if len(found) != 1:
        raise _doubt(path, file)
    family, layout = found[0]
    way = file.only(layout)
    assert way is not None  # noqa: S101 - what is recognised reads one way
    contract = next(item for item in FAMILIES[family].outputs if item.layout == layout)
    return _read(family, contract, way)


def _recognised(file: _File) -> Iterator[tuple[FamilyName, OutputLayout]]:
    """The families that a file is of without a doubt; one at most, by how they are told."""
    if file.reads("rtdetr") and "orig_target_sizes" in file.extra:
        yield "rtdetr", "rtdetr"
    if file.names == {"dets", "labels"} and file.reads("detr"):
        yield "rfdetr", "detr"
    if file.names in (_YOLO_NAS, _EFFICIENT_NMS) and file.reads("nms-in-graph"):
        nas = file.of_bytes and file.names == _YOLO_NAS
        yield ("yolo-nas" if nas else "nms-in-graph"), "nms-in-graph"
    postprocess = any(name.startswith("tflite_detection") for name in file.names)
    if (postprocess or all(end.role for end in file.outputs)) and file.reads("ssd"):
        yield "ssd", "ssd"
    if file.reads("torchvision"):
        yield "torchvision", "torchvision"
    if file.reads("paddle") and {"im_shape", "scale_factor"} & set(file.extra):
        yield "paddle", "paddle"


def _of_family(path: Path, file: _File, family: FamilyName) -> Reading:
    """What a family that its user named makes of the outputs."""
    fitting = [
        (contract, way)
        for contract in FAMILIES[family].outputs
        if contract.layout in ROLES
        for way in assignments(contract.layout, file.outputs)
    ]
    if len(fitting) == 1:
        return _read(family, *fitting[0])
    has = f"{path} has the outputs {listed(file.outputs)}"
    if not fitting:
        raise LoadError(
            f"{has}, and family: {family} is {forms_of(family)}",
            remedy=say_which([name for name in _candidates(file) if name != family]),
        )
    roles = ROLES[fitting[0][0].layout]
    unsure = [role for index, role in enumerate(roles) if len({w[index] for _, w in fitting}) > 1]
    raise LoadError(
        f"{has}, and neither names nor types tell which are the {' and the '.join(unsure)}",
        remedy=f"Export it with outputs that are named {', '.join(_usual(fitting[0][0]))}.",
    )


def _usual(contract: OutputSpec) -> list[str]:
    """Names by which a layout's arrays are known."""
    if contract.names:
        return list(contract.names)
    known = _NAMES[contract.layout]
    return [role if role in known[role] else min(known[role], default=role) for role in known]


def _read(family: FamilyName, contract: OutputSpec, way: tuple[End, ...]) -> Reading:
    classes = None
    if contract.layout == "detr":
        columns = way[0].shape[-1]
        # With softmax the last column is "no object".
        classes = None if columns is None else columns - (contract.scores == "softmax")
    names = tuple(end.name for end in way)
    return Reading(dataclasses.replace(contract, names=names), classes, family)


def _candidates(file: _File) -> list[FamilyName]:
    """The families whose files have outputs of such shapes, one of those that read alike."""
    found: dict[OutputSpec, FamilyName] = {}
    for family in _ASKED:
        for contract in FAMILIES[family].outputs:
            if contract.layout in ROLES and assignments(contract.layout, file.outputs):
                found.setdefault(dataclasses.replace(contract, names=()), family)
    return list(dict.fromkeys(found.values()))


_ASKED: tuple[FamilyName, ...] = (
    "detr",
    "rtdetr",
    "nms-in-graph",
    "ssd",
    "torchvision",
    "paddle",
)


def _doubt(path: Path, file: _File) -> LoadError:
    """The error for outputs that may be several things, or none."""
    has = f"{path} has {len(file.outputs)} outputs: {listed(file.outputs)}"
    found = _candidates(file)
    if set(found) == {"detr", "rtdetr"} and len(file.outputs) == 2:  # noqa: PLR2004 - logits and boxes
        return LoadError(
            f"{has}. Logits and boxes may be DETR's (softmax, the last class is no object) or "
            "those of RT-DETR, D-FINE, Deformable DETR (sigmoid)",
            remedy=f"Say which it is, with `family: detr` or `family: rtdetr` {OPTION}.",
        )
    if found:
        words = "; ".join(f"{name}: {forms_of(name)}" for name in found)
        return LoadError(f"{has}, which may be {words}", remedy=say_which(found))
    return LoadError(f"{has}{_guess(file)}", remedy=say_which(()))


def _guess(file: _File) -> str:
    """What outputs that are no detector's contract probably are."""
    shapes = sorted((end.shape for end in file.outputs), key=len)
    ranks = [len(shape) for shape in shapes]
    if ranks == [3, 4]:
        return ". With a grid of prototypes it is a segmentation model"
    if min(ranks) >= 4:  # noqa: PLR2004 - batch, channels, rows, columns
        return ". Grids are the raw heads of a detector, before boxes are made of them"
    if "masks" in file.names:
        return ". With masks it is a segmentation model"
    if ranks == [2, 3] and shapes[1][-1] == 5:  # noqa: PLR2004 - four sides and a score
        return ". Boxes with a score in the fifth column are MMDeploy's, which are not read"
    return ", which are no detector's that is read"
