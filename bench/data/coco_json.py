"""COCO JSON files (``instances_*.json``): their images, categories and annotations."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.bench.data.coco_boxes import Annotation, BoxChecks, CocoImage, annotation
from deploymark.bench.data.coco_document import Identity, identity, read_document, size_said
from deploymark.bench.data.fault_kinds import (
    COCO_CATEGORY_ID,
    COCO_IMAGE_ID,
    COCO_IMAGE_RECORD,
    COCO_RECORD,
    IMAGE_TWICE,
)
from deploymark.bench.data.faults import Faults
from deploymark.bench.data.image_lists import is_file
from deploymark.bench.data.images import image_size
from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.errors import BadInputError

_PREFIX = "instances_"
_LOOKED_FOR = 100
"""Images by which the folder is found: the first one may be the one that is missing."""


@dataclasses.dataclass(frozen=True)
class CocoFile:
    """A COCO JSON that was read; ``root_category`` is one that groups the others and has no box."""

    names: tuple[str, ...]
    images: tuple[CocoImage, ...]
    root_category: str | None


def read_coco(path: Path, images: Path | None, faults: Faults, counts: Counter[str]) -> CocoFile:
    """Read a COCO JSON file; what is wrong with single entries goes to ``faults``.

    Classes are numbered in the order of their category ids, which may have gaps. ``images`` is the
    folder that file names are relative to; see ``image_folders`` where it is None. ``counts`` gets
    ``rows`` and ``repeated``. Raises BadInputError for a file that is none.
    """
    document = read_document(path)
    names, index_of, root = _categories(path, document["categories"], document["annotations"])
    records = _images(path, document["images"], faults)
    by_image = _annotations(path, document["annotations"], index_of, set(records), faults, counts)
    files = _files(path, [str(record["file_name"]) for record in records.values()], images)
    found: dict[Path, CocoImage] = {}
    for (key, record), file in zip(records.items(), files, strict=True):
        place = f"{path}: images[{record['place']}]"
        if file in found:
            detail = f"{file.name} is also at {found[file].place.rsplit(': ', 1)[1]}"
            faults.add(IMAGE_TWICE, place, detail)
            continue
        said = (record["width"], record["height"])
        found[file] = CocoImage(path, place, file, said, tuple(by_image[key]))
    return CocoFile(names, tuple(found.values()), root)


def read_coco_json(
    path: Path, images: Path | None = None
) -> tuple[tuple[str, ...], tuple[ImageLabels, ...]]:
    """Class names and labelled images of a COCO JSON file, in its order.

    Raises BadInputError for anything that is wrong with it.
    """
    faults, counts = Faults(), Counter[str]()
    found = read_coco(path, images, faults, counts)
    checks = BoxChecks(faults, counts)
    faults.check(str(path), "refuse")
    labels = [checks.labels(image, *image_size(image.file)) for image in found.images]
    checks.check_guesses()
    faults.check(str(path), "refuse")
    return found.names, tuple(image for image in labels if image is not None)


def image_folders(path: Path) -> list[Path]:
    """Where the images of ``instances_<split>.json`` are looked for, in this order.

    Beside the file, in ``images`` beside it, and next to its folder in ``images``,
    ``images/<split>``, ``<split>``, and ``images/<split>2017``, ``<split>2017``.
    """
    here, above = path.parent, path.parent.parent
    split = path.stem.removeprefix(_PREFIX)
    return [
        here,
        here / "images",
        above / "images",
        above / "images" / split,
        above / split,
        above / "images" / f"{split}2017",
        above / f"{split}2017",
    ]


def _categories(
    path: Path, records: Sequence[Any], annotations: Sequence[Any]
) -> tuple[tuple[str, ...], dict[Identity, int], str | None]:
    """Class names, their index by category id, and the root category that is left out of them."""
    by_id: dict[Identity, str] = {}
    for place, record in enumerate(records):
        where = f"{path}: categories[{place}]"
        if not isinstance(record, dict) or not {"id", "name"} <= record.keys():
            raise BadInputError(f"{where}: needs id, name", remedy="Export the file anew.")
        key = identity(record["id"])
        if key is None or isinstance(record["name"], (dict, list, type(None))):
            raise BadInputError(
                f"{where}: id {record['id']!r} and name {record['name']!r} are none",
                remedy="An id is a whole number, a name is text.",
            )
        if key in by_id:
            raise BadInputError(
                f"{path}: `categories` gives an id twice: {key!r}",
                remedy="Give each category an id of its own.",
            )
        by_id[key] = str(record["name"])
    if not by_id:
        raise BadInputError(f"{path}: `categories` is empty", remedy="Export the file anew.")
    if len({type(key) for key in by_id}) > 1:
        text = next(key for key in by_id if isinstance(key, str))
        raise BadInputError(
            f"{path}: `categories` mixes ids that are numbers and ids that are text, such as"
            f' "{text}"',
            remedy="Write all ids as numbers, those in `annotations` as well.",
        )
    root = _root(records, annotations)
    if root is not None:
        del by_id[root]
    ordered = sorted(by_id, key=lambda key: (0, key, "") if isinstance(key, int) else (1, 0, key))
    name = next((str(r["name"]) for r in records if identity(r["id"]) == root), None)
    index_of = {key: index for index, key in enumerate(ordered)}
    return tuple(by_id[key] for key in ordered), index_of, None if root is None else name


def _root(records: Sequence[Any], annotations: Sequence[Any]) -> Identity | None:
    """The id of a category without boxes that another one names as its ``supercategory``.

    Roboflow's export begins with one, named after the project.
    """
    above = {
        str(record.get("supercategory"))
        for record in records
        if record.get("supercategory") != record["name"]
    }
    used = {
        identity(record.get("category_id")) for record in annotations if isinstance(record, dict)
    }
    candidates = [
        key
        for record in records
        if (key := identity(record["id"])) not in used and str(record["name"]) in above
    ]
    return candidates[0] if len(candidates) == 1 and len(records) > 1 else None


def _images(path: Path, records: Sequence[Any], faults: Faults) -> dict[Identity, dict[str, Any]]:
    """The usable entries of ``images`` by id, with their sizes as numbers or None."""
    if not records:
        raise BadInputError(f"{path}: `images` is empty", remedy="Export the file anew.")
    found: dict[Identity, dict[str, Any]] = {}
    for place, record in enumerate(records):
        where = f"{path}: images[{place}]"
        if not isinstance(record, dict) or not {"id", "file_name"} <= record.keys():
            faults.add(COCO_IMAGE_RECORD, where, "needs id, file_name")
            continue
        key, name = identity(record["id"]), record["file_name"]
        size = size_said(record)
        if key is None or not isinstance(name, str) or not name.strip():
            detail = f"id {record['id']!r} or file_name {name!r} is none"
            faults.add(COCO_IMAGE_RECORD, where, detail)
        elif size is None:
            detail = (
                f"width {record.get('width')!r} or height {record.get('height')!r} is no number"
            )
            faults.add(COCO_IMAGE_RECORD, where, detail)
        elif key in found:
            faults.add(IMAGE_TWICE, where, f"id {key!r} is also of images[{found[key]['place']}]")
        else:
            found[key] = {
                "place": place,
                "file_name": name,
                "width": size[0],
                "height": size[1],
            }
    if not found:
        faults.check(str(path), "refuse")
    return found


def _annotations(
    path: Path,
    records: Sequence[Any],
    index_of: Mapping[Identity, int],
    image_ids: set[Identity],
    faults: Faults,
    counts: Counter[str],
) -> dict[Identity, list[Annotation]]:
    by_image: dict[Identity, list[Annotation]] = defaultdict(list)
    seen = set()
    for place, record in enumerate(records):
        counts["rows"] += 1
        where = f"{path}: annotations[{place}]"
        needed = ("image_id", "category_id", "bbox")
        if not isinstance(record, dict) or any(name not in record for name in needed):
            faults.add(COCO_RECORD, where, f"needs {', '.join(needed)}")
            continue
        image, category = identity(record["image_id"]), identity(record["category_id"])
        if image is None or image not in image_ids:
            detail = f"image_id {record['image_id']!r} is no id of `images`"
            faults.add(COCO_IMAGE_ID, where, detail + _twin(image, image_ids))
            continue
        if category is None or category not in index_of:
            detail = f"category_id {record['category_id']!r} is no id of `categories`"
            faults.add(COCO_CATEGORY_ID, where, detail + _twin(category, index_of))
            continue
        found = annotation(where, record, index_of[category], faults)
        if found is None:
            continue
        key = (image, found.category, found.bbox, found.crowd)
        if key in seen:
            counts["repeated"] += 1
            continue
        seen.add(key)
        by_image[image].append(found)
    return by_image


def _twin(key: Identity | None, known: Any) -> str:
    """That the same id is there as another type, where it is."""
    if isinstance(key, str) and key.isascii() and key.isdigit() and int(key) in known:
        return f", which has the number {key}"
    if isinstance(key, int) and str(key) in known:
        return f', which has the text "{key}"'
    return ""


def _files(path: Path, names: Sequence[str], images: Path | None) -> list[Path]:
    """The image files, of the first folder that has one of the first images.

    Names may have folders that are not there, and Windows' separators.
    """
    folders = [images] if images is not None else image_folders(path)
    forms = (lambda name: name, _slashes, _base_name)
    first = names[:_LOOKED_FOR]
    for form in forms:
        for folder in folders:
            if any(is_file(folder / form(name)) for name in first):
                return [Path(os.path.normpath(folder / form(name))) for name in names]
    places = ", ".join(os.path.normpath(folder) for folder in folders)
    raise BadInputError(
        f"{path}: its first image {names[0]} is not in {places}",
        remedy="Name the folder of the images (`images:` beside `annotations:`).",
    )


def _slashes(name: str) -> str:
    return name.replace("\\", "/")


def _base_name(name: str) -> str:
    return _slashes(name).rsplit("/", 1)[-1]
