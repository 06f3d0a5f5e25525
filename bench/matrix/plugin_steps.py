"""Steps of recipes that other packages bring, by entry points ``deploymark.steps``.

The name of an entry point is the step's ``kind``, its value the step's class (``module:Class``).
"""

from __future__ import annotations

import functools
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import ClassVar

from deploymark.bench.matrix.strict import Strict
from deploymark.bench.store import file_sha256

ENTRY_POINT_GROUP = "deploymark.steps"


class PluginStep(Strict):
    """What a matrix may say of a step; the function ``run`` of the same module carries it out.

    A subclass narrows ``kind`` to the entry point's name and has a field for each further key.
    ``run`` is called as ``bench.variants.apply.run_step`` is. The module is read where torch is not
    installed, too, so ``run`` imports it.
    """

    kind: str

    needs_data: ClassVar[bool] = False
    """Whether it cannot be carried out without images of the train split."""

    uses_data: ClassVar[bool] = False
    """Whether it reads images of the train split where there are any."""

    @property
    def source(self) -> str:
        """The hash of the module's file: an edit of it carries the step out anew."""
        return f"sha256:{file_sha256(Path(str(sys.modules[type(self).__module__].__file__)))}"


@functools.cache
def brought() -> dict[str, EntryPoint]:
    """The entry points of steps by kind."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def plugin_step(kind: object) -> type[PluginStep] | None:
    """The class of a kind that another package brings; None where none does.

    Raises ValueError where it cannot be imported, or is no PluginStep.
    """
    point = brought().get(kind) if isinstance(kind, str) else None
    if point is None:
        return None
    try:
        found: object = point.load()
    except Exception as error:
        raise ValueError(
            f"step {kind!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, PluginStep)):
        problem = f"step {kind!r} ({point.value}) is not a PluginStep"
        raise ValueError(problem)  # noqa: TRY004 - pydantic tells where in the file a ValueError is
    return found
