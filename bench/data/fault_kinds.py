"""The kinds of fault that a data set may have: a closed list, with what mends each."""

from __future__ import annotations

import dataclasses
from typing import Literal

LeavesOut = Literal["row", "image", "nothing"]


@dataclasses.dataclass(frozen=True)
class FaultKind:
    """What is wrong, for people, and what mends it.

    ``leaves_out`` is what going on without it leaves out: the ``row`` (a line of a label file or an
    annotation), the ``image`` with all of its rows, or ``nothing``: such a fault cannot be skipped.
    """

    name: str
    title: str
    remedy: str
    leaves_out: LeavesOut


_NUMBERS = "Write numbers as numbers, without quotes or units."

LABEL_NOT_NUMBERS = FaultKind(
    "label_not_numbers", "a line that is not all numbers", "Correct or delete the line.", "row"
)
LABEL_SEPARATOR = FaultKind(
    "label_separator",
    "commas or semicolons between the numbers of a line",
    "Separate them by spaces: 0 0.5 0.5 0.1 0.2, with a point in decimals.",
    "row",
)
LABEL_SCORE = FaultKind(
    "label_score",
    "six columns",
    "A label has five; a sixth is the score of a prediction: score on labels, or delete it.",
    "row",
)
LABEL_COLUMNS = FaultKind(
    "label_columns",
    "another number of columns",
    "A line is a class and a box (5 columns) or a class and 3 or more points (7, 9, 11, …); rows of"
    " keypoints need `kpt_shape` in data.yaml.",
    "row",
)
LABEL_CLASS_NOT_WHOLE = FaultKind(
    "label_class_not_whole",
    "a class that is not a whole number",
    "The first column is the index of the class, from 0.",
    "row",
)
LABEL_CLASS_RANGE = FaultKind(
    "label_class_range",
    "a class out of range",
    "Add its name to `names`, or correct the class: they count from 0.",
    "row",
)
LABEL_COORDINATES = FaultKind(
    "label_coordinates",
    "a coordinate outside of the image",
    "Coordinates are shares of the image's width and height, not pixels.",
    "row",
)
LABEL_NEGATIVE_SIZE = FaultKind(
    "label_negative_size",
    "a negative width or height",
    "A line is class, centre-x, centre-y, width, height.",
    "row",
)
LABEL_UNREADABLE = FaultKind(
    "label_unreadable", "a label file that is no text", "Write it anew, as UTF-8.", "image"
)
LABELS_CORNERS = FaultKind(
    "labels_corners",
    "boxes that look like class x1 y1 x2 y2",
    "A line is class, centre-x, centre-y, width, height: convert them.",
    "nothing",
)
LABELS_KEYPOINTS = FaultKind(
    "labels_keypoints",
    "rows that look like keypoints",
    "Add `kpt_shape: [keypoints, 2 or 3]` to data.yaml; their boxes are read then.",
    "nothing",
)

COCO_RECORD = FaultKind(
    "coco_record", "an annotation that lacks a key", "Export the file anew.", "row"
)
COCO_IMAGE_RECORD = FaultKind(
    "coco_image_record",
    "an entry of `images` that cannot be used",
    "Export the file anew.",
    "image",
)
COCO_IMAGE_ID = FaultKind(
    "coco_image_id",
    "an annotation of no image",
    'Its image_id must be an id of `images`, of the same type (1 is not "1").',
    "row",
)
COCO_CATEGORY_ID = FaultKind(
    "coco_category_id",
    "an annotation of no category",
    'Its category_id must be an id of `categories`, of the same type (1 is not "1").',
    "row",
)
COCO_NUMBER = FaultKind("coco_number", "something else where a number belongs", _NUMBERS, "row")
COCO_BBOX = FaultKind(
    "coco_bbox", "a bbox that is no box", "It is [x, y, width, height] in pixels.", "row"
)
COCO_OUTSIDE = FaultKind(
    "coco_outside",
    "a box outside of its image",
    "A bbox is [x, y, width, height] in pixels of the upright image: delete or correct it.",
    "row",
)
COCO_SIZE = FaultKind(
    "coco_size",
    "an image of another size than the file says",
    "Its boxes belong to another version of the image: export the data set anew.",
    "image",
)
COCO_XYXY = FaultKind(
    "coco_xyxy",
    "boxes that look like [x1, y1, x2, y2]",
    "COCO's bbox is [x, y, width, height]: subtract the first corner from the second.",
    "nothing",
)
COCO_NORMALISED = FaultKind(
    "coco_normalised",
    "boxes that look like shares of the image",
    "COCO's bbox is in pixels: multiply by the image's width and height.",
    "nothing",
)

IMAGE_MISSING = FaultKind(
    "image_missing", "an image that is not there", "Put it there, or take it off the list.", "image"
)
IMAGE_TWICE = FaultKind(
    "image_twice", "one image under two entries", "Keep one entry of each image.", "image"
)
IMAGE_EMPTY = FaultKind(
    "image_empty", "an empty file", "Download or copy the image again.", "image"
)
IMAGE_NO_IMAGE = FaultKind(
    "image_no_image", "a file that is no image", "Fetch the image that belongs there.", "image"
)
IMAGE_TRUNCATED = FaultKind(
    "image_truncated", "a truncated image", "Download or copy the image again.", "image"
)
IMAGE_UNDECODABLE = FaultKind(
    "image_undecodable",
    "an image that cannot be decoded",
    "Replace the file, or take it out of the data set.",
    "image",
)
IMAGE_TOO_LARGE = FaultKind(
    "image_too_large", "an image that is too large", "Scale it down, or cut it into tiles.", "image"
)
IMAGE_LEVELS = FaultKind(
    "image_levels",
    "pixels whose range cannot be told",
    "Convert it to 8 bits a channel, as the model was trained on.",
    "image",
)
