"""What a PyTorch file holds, told from the names in its pickle. Nothing in it is run.

A ``.pt`` is a ZIP archive with a pickle in it (``torch.save`` since 1.6), or a bare pickle. Opening
one runs what it says, which is the build child's business; reading its opcodes does not.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from pathlib import Path

PICKLE_ENTRY = "data.pkl"
SCRIPT_ENTRY = "constants.pkl"
"""Names in the archives of ``torch.save`` and, the latter besides, of ``torch.jit.save``."""

TASKS = {
    "ClassificationModel": "classify",
    "OBBModel": "obb",
    "PoseModel": "pose",
    "SegmentationModel": "segment",
}
"""Classes of ``ultralytics.nn.tasks`` that are no box detectors, and Ultralytics' word for each."""

MAX_PICKLE_BYTES = 64 << 20
"""A pickle without its tensors is far smaller; what is larger is not looked into."""

_TENSOR = "torch._utils _rebuild_"
_PLAIN_MODULES = ("torch", "collections", "numpy", "builtins", "__builtin__", "_codecs")

_OLD_FORMAT = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
_OLD_HEADERS = 3
"""``torch.serialization.MAGIC_NUMBER`` as it was pickled before 1.6, and the pickles before that of
what was saved: the number, the protocol, the system."""

Held = str
"""What a file holds. ``model``: an object that may be a detector; ``weights``: tensors by name
without their model; ``script``: TorchScript; ``archive``: a ZIP archive of something else. Any
other word is Ultralytics' name of a task that is not detection."""


def held_in_archive(path: Path) -> Held:
    """What a file that begins as a ZIP archive holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.rpartition("/")[2] for name in archive.namelist()]
            if PICKLE_ENTRY not in names:
                return "archive"
            if SCRIPT_ENTRY in names:
                return "script"
            entry = archive.infolist()[names.index(PICKLE_ENTRY)]
            if entry.file_size > MAX_PICKLE_BYTES:
                return "model"
            return held_in_pickle(archive.read(entry))
    # RuntimeError is zipfile's for a password and for a compression that it does not know.
    except (zipfile.BadZipFile, EOFError, RuntimeError, OSError, ValueError):
        return "damaged"


def held_in_file(path: Path) -> Held:
    """What a file that begins as a pickle holds. Raises OSError."""
    with path.open("rb") as stream:
        return held_in_pickle(stream.read(MAX_PICKLE_BYTES))


def held_in_pickle(data: bytes) -> Held:
    """What a pickle makes, told from the classes and functions that it names."""
    named = _globals(data)
    if named is None:
        return "model"  # it cannot be told: let it be opened
    classes = {name.rpartition(" ")[2] for name in named if name.startswith("ultralytics.")}
    if "DetectionModel" not in classes and (tasks := sorted(classes & set(TASKS))):
        return TASKS[tasks[0]]
    if all(
        name.partition(".")[0].partition(" ")[0] in _PLAIN_MODULES for name in named
    ) and not any(name.startswith("torch.nn.modules") for name in named):
        tensors = any(name.startswith(_TENSOR) for name in named)
        return "weights" if tensors else "nothing"
    return "model"


def _globals(data: bytes) -> set[str] | None:
    """``module name`` of all that a pickle names; None where its opcodes cannot be read."""
    named: set[str] = set()
    texts: list[str] = []
    stream = io.BytesIO(data)
    try:
        if data.startswith(_OLD_FORMAT):
            for _ in range(_OLD_HEADERS):
                for _ in pickletools.genops(stream):
                    pass
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "GLOBAL":
                named.add(str(argument))
            elif opcode.name == "STACK_GLOBAL":
                named.add(" ".join(texts[-2:]))
            elif isinstance(argument, str):
                texts.append(argument)
    except (ValueError, IndexError, UnicodeDecodeError):
        return None
    return named
