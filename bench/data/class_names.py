"""The classes of a data set and those of a model: which are the same, which one side alone has."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from deploymark.bench.data.coco_names import NO_CLASS
from deploymark.bench.errors import BadInputError

_SHOWN_NAMES = 12
_SHOWN_UNMATCHED = 3


@dataclasses.dataclass(frozen=True)
class ClassMatch:
    """What does not match: ``only_in_data`` has name, boxes and the model's name that may be meant.

    Classes of the data set without a box are not in it: nothing of them is scored either way.
    """

    only_in_data: tuple[Mapping[str, Any], ...] = ()
    only_in_model: tuple[str, ...] = ()

    @property
    def boxes_not_scored(self) -> int:
        """Boxes of classes that the model does not have."""
        return sum(item["boxes"] for item in self.only_in_data)

    def unmatched_text(self) -> str:
        """The classes with the most boxes, and what they may mean."""
        shown = sorted(self.only_in_data, key=lambda item: -item["boxes"])
        text = ", ".join(
            f"{item['name']!r} ({item['boxes']}"
            + (f"; did you mean {item['did_you_mean']!r}?)" if item["did_you_mean"] else ")")
            for item in shown[:_SHOWN_UNMATCHED]
        )
        more = len(shown) - _SHOWN_UNMATCHED
        return f"{text} and {more} more" if more > 0 else text

    def remarks(self) -> list[str]:
        """The same in a few words."""
        parts = []
        if self.only_in_data:
            parts.append(
                f"{self.boxes_not_scored} of classes that the model does not have, not scored:"
                f" {self.unmatched_text()}"
            )
        if self.only_in_model:
            count = len(self.only_in_model)
            names = ", ".join(self.only_in_model[:_SHOWN_UNMATCHED])
            more = ", …" if count > _SHOWN_UNMATCHED else ""
            what = "class" if count == 1 else "classes"
            parts.append(f"{count} {what} of the model not in the data: {names}{more}")
        return parts


def match_names(dataset_names: Sequence[str], model_names: Sequence[str]) -> dict[int, int]:
    """The model's class for each class of the data set, by name.

    Case, ``_`` and ``-`` do not matter. Classes that the other side does not have are left out:
    they are not scored. Equal lists match by position, whatever the names, and a data set without
    names (a folder of images) has the model's. Raises BadInputError, listing both, where no name is
    common.
    """
    if not dataset_names or tuple(dataset_names) == tuple(model_names):
        return {index: index for index in range(len(model_names))}
    known = {_plain(name): index for index, name in reversed(list(enumerate(model_names)))}
    mapping = {
        index: known[_plain(name)]
        for index, name in enumerate(dataset_names)
        if _plain(name) in known
    }
    if not mapping:
        raise BadInputError(
            "the data set and the model have no class name in common: the data set has"
            f" {_shown(dataset_names)}; the model has {_shown(model_names)}",
            remedy="Give the data set that the model was trained for, or correct its `names`.",
        )
    return mapping


def compare_classes(
    name: str,
    boxes: Mapping[int, int],
    dataset_names: Sequence[str],
    model_names: Sequence[str],
    class_map: Mapping[int, int],
) -> ClassMatch:
    """What of the classes does not match; ``boxes`` are those of each class of the data set.

    Raises BadInputError where no box is of a common class: nothing could be scored.
    """
    if not dataset_names:
        return ClassMatch()
    free = [model_names[index] for index in set(range(len(model_names))) - set(class_map.values())]
    only_in_data = tuple(
        {
            "name": dataset_names[index],
            "boxes": count,
            "did_you_mean": _near(index, dataset_names, free),
        }
        for index, count in sorted(boxes.items())
        if count and index not in class_map
    )
    present = {class_map[index] for index in range(len(dataset_names)) if index in class_map}
    only_in_model = tuple(
        word for index, word in enumerate(model_names) if index not in present and word != NO_CLASS
    )
    match = ClassMatch(only_in_data, only_in_model)
    if boxes and not any(count for index, count in boxes.items() if index in class_map):
        raise BadInputError(
            f"data set {name}: none of its {sum(boxes.values())} boxes is of a class that the model"
            f" has: {match.unmatched_text()}; in common are"
            f" {_shown(_common(dataset_names, class_map))}",
            remedy="Give the data set that the model was trained for, or correct its `names`.",
        )
    return match


def _common(names: Sequence[str], class_map: Mapping[int, int]) -> list[str]:
    return [names[index] for index in class_map if index < len(names)]


def _near(index: int, names: Sequence[str], free: Sequence[str]) -> str | None:
    """The nearest of the model's classes that no other class of the data set is."""
    by_plain = {_plain(word): word for word in free}
    near = difflib.get_close_matches(_plain(names[index]), list(by_plain), n=1)
    return by_plain[near[0]] if near else None


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _shown(names: Sequence[str]) -> str:
    text = ", ".join(names[:_SHOWN_NAMES])
    return f"{text}, … ({len(names)} in all)" if len(names) > _SHOWN_NAMES else text
