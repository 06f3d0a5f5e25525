"""What a file really is, told from its first bytes, and what to do where it is no model.

Asked of every checkpoint and exported file before a runtime is, whose own words for a web page or a
pointer of Git LFS are about Protocol Buffers. Numbers are those of each format's documentation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from deploymark.backends.pickled import held_in_archive, held_in_file

FETCH = "Fetch it again, from the address of the file itself."
UNPACK = "Unpack it, and give the file that is inside."
WHOLE_MODEL = (
    "Give the .pt that Ultralytics' training leaves (weights/best.pt), which has the model as "
    "well; or export the model, and give the exported file."
)
GIVE_DETECTOR = "Give the .pt of a detector (YOLOv8, YOLO11, YOLO26, …), or an exported file."

ENDINGS = {
    "checkpoint": (".pt",),
    "onnx": (".onnx",),
    "openvino": (".xml", "_openvino_model"),
    "tflite": (".tflite",),
    "engine": (".engine",),
    "torchscript": (".torchscript",),
    "executorch": (".pte",),
    "ncnn": (".param", "_ncnn_model"),
    "mnn": (".mnn",),
    "coreml": (".mlpackage",),
    "paddle": ("_paddle_model",),
    "executorch-folder": ("_executorch_model",),
}
"""What names of files and folders end in that hold what; others are not judged by content."""

_READ_BYTES = 4096
_NEVER = frozenset({"html", "lfs", "empty", "unreadable"})
"""Kinds that are a model under no name."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a file is. ``name`` is a key of ``ENDINGS`` where it is a model that can be measured.

    ``what`` goes behind "is": ``an ONNX model``. ``remedy`` is the way out where it is no model.
    """

    name: str
    what: str
    remedy: str = ""


_MODELS = {
    name: Kind(name, what)
    for name, what in (
        ("checkpoint", "a PyTorch checkpoint"),
        ("onnx", "an ONNX model"),
        ("openvino", "an OpenVINO model"),
        ("tflite", "a LiteRT (TFLite) model"),
        ("engine", "a TensorRT engine"),
        ("torchscript", "a TorchScript file"),
        ("executorch", "an ExecuTorch program"),
        ("ncnn", "an ncnn graph"),
    )
}

_HTML = Kind("html", "a web page (HTML), as a failed download leaves", FETCH)
_XML = Kind("html", "an XML document, as a failed download leaves", FETCH)
_LFS = Kind("lfs", "a pointer of Git LFS, not the file itself", "Fetch the file: git lfs pull")
_ORT = Kind("ort", "a model in ONNX Runtime's own format", "Give the .onnx that it is of.")
_TO_ONNX = "Export the detector to ONNX, and give that file."

_ARCHIVES = {
    "script": _MODELS["torchscript"],
    "model": _MODELS["checkpoint"],
    "weights": Kind(
        "weights", "a PyTorch file of weights without their model (a state_dict)", WHOLE_MODEL
    ),
    "nothing": Kind("pickle", "a PyTorch file without a model in it", GIVE_DETECTOR),
    "damaged": Kind("damaged", "a ZIP archive that is cut off or damaged", FETCH),
    "archive": Kind("archive", "a ZIP archive", UNPACK),
}
"""Kinds by what ``pickled`` finds; any other word is a task."""


def _picture(name: str) -> Kind:
    return Kind("picture", f"a picture ({name})", GIVE_DETECTOR)


def _packed(name: str) -> Kind:
    return Kind("archive", f"a {name} archive", UNPACK)


_NUMBERS: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"\x1f\x8b", _packed("gzip")),
    (0, b"BZh", _packed("bzip2")),
    (0, b"\xfd7zXZ", _packed("xz")),
    (0, b"7z\xbc\xaf", _packed("7z")),
    (0, b"Rar!", _packed("RAR")),
    (0, b"\x28\xb5\x2f\xfd", _packed("Zstandard")),
    (257, b"ustar", _packed("tar")),
    (4, b"TFL3", _MODELS["tflite"]),
    (4, b"ET12", _MODELS["executorch"]),
    (4, b"ORTM", _ORT),
    (0, b"\x89PNG", _picture("PNG")),
    (0, b"\xff\xd8\xff", _picture("JPEG")),
    (0, b"GIF8", _picture("GIF")),
    (0, b"II*\0", _picture("TIFF")),
    (0, b"MM\0*", _picture("TIFF")),
    (8, b"WEBP", _picture("WebP")),
    (0, b"\x89HDF", Kind("other", "an HDF5 file, as Keras writes", _TO_ONNX)),
    (0, b"GGUF", Kind("other", "a GGUF file of a language model", GIVE_DETECTOR)),
    (0, b"%PDF", Kind("other", "a PDF document", GIVE_DETECTOR)),
    (0, b"\x7fELF", Kind("other", "a program for Linux", GIVE_DETECTOR)),
    (0, b"MZ", Kind("other", "a program for Windows", GIVE_DETECTOR)),
    (0, b"ftrt", _MODELS["engine"]),
    # Ultralytics puts its notes before the plan, behind their length in four bytes.
    (2, b'\0\0{"', _MODELS["engine"]),
    (
        4,
        b'\0\0\0\0{"',
        Kind("weights", "a safetensors file: weights without their model", WHOLE_MODEL),
    ),
)
"""Place and value of the numbers that formats begin with."""


def kind_of(path: Path) -> Kind | None:
    """What a file or folder is; None where its bytes do not tell. Raises OSError."""
    if path.is_dir():
        return _folder(path)
    with path.open("rb") as stream:
        head = stream.read(_READ_BYTES)
    if not head:
        return Kind("empty", "an empty file", FETCH)
    return _binary(path, head) or _text(head)


def misfit(path: Path) -> tuple[str, str] | None:
    """What is wrong with the content of a file of this name, and the remedy; None if nothing is.

    A name whose ending is not known here may belong to anything but what is never a model.
    """
    kind = seen(path)
    name = path.name.lower()
    wanted = [key for key, endings in ENDINGS.items() if name.endswith(endings)]
    if kind is None or kind.name in wanted or (not wanted and kind.name not in _NEVER):
        return None
    return f"{path.name} is {kind.what}", way_out(path, kind)


def seen(path: Path) -> Kind | None:
    """``kind_of``, and what a file is that cannot be read."""
    try:
        return kind_of(path)
    except OSError as error:
        return Kind("unreadable", f"not readable: {error.strerror or error}")


def way_out(path: Path, kind: Kind) -> str:
    """What to do with a file that is not what its name says."""
    if kind.name not in ENDINGS:
        return kind.remedy
    as_is = "" if kind.name == "checkpoint" else ", and it is measured as it is"
    return f"Name it {path.stem}{ENDINGS[kind.name][0]}{as_is}."


def _folder(path: Path) -> Kind | None:
    name = path.name.lower()
    if any(name.endswith(known) for endings in ENDINGS.values() for known in endings):
        return None  # its backend looks for what belongs into it
    if (path / "saved_model.pb").is_file():
        return Kind(
            "folder", "a TensorFlow SavedModel", "Give the .tflite inside, or an ONNX file."
        )
    for inside in ("weights/best.pt", "best.pt"):
        if (path / inside).is_file():
            return Kind("folder", "a folder of a training", f"Give its {inside}.")
    found = sorted(
        item.name
        for item in path.iterdir()
        if item.name.lower().endswith(tuple(end for known in ENDINGS.values() for end in known))
    )
    remedy = f"Give one of its files: {', '.join(found[:5])}." if found else GIVE_DETECTOR
    return Kind("folder", "a folder", remedy)


def _binary(path: Path, head: bytes) -> Kind | None:
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _of_archive(held_in_archive(path))
    if head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        return _of_archive(held_in_file(path))
    for place, number, kind in _NUMBERS:
        if head[place:].startswith(number):
            return kind
    return _MODELS["onnx"] if _begins_as_onnx(head) else None


def _of_archive(held: str) -> Kind:
    task = Kind("task", f"a {held!r} model, Deploymark measures detectors", GIVE_DETECTOR)
    return _ARCHIVES.get(held, task)


def _begins_as_onnx(head: bytes) -> bool:
    """``ModelProto``: its ``ir_version``, a small number, then a field that is a text or a number.

    The format has no number of its own (``onnx/onnx.proto``).
    """
    ir_version, varint, length = b"\x08", 0, 2
    return (
        head.startswith(ir_version)
        and 0 < head[1] < 32  # noqa: PLR2004 - 13 in 2026
        and (head[2] & 7) in (varint, length)
        if len(head) > 2  # noqa: PLR2004 - the bytes looked at
        else False
    )


def _text(head: bytes) -> Kind | None:
    if b"\0" in head:
        return None
    try:
        # a character may be cut in two at the end of what was read
        text = head.decode("utf-8-sig", errors="strict" if len(head) < _READ_BYTES else "ignore")
    except UnicodeDecodeError:
        return None
    start = text.strip()
    first = next(iter(start.splitlines()), "").strip()
    shown = first if len(first) <= 40 else first[:39] + "…"  # noqa: PLR2004 - one short line
    begins: Mapping[tuple[str, ...], Kind] = {
        ("version https://git-lfs.github.com/spec/",): _LFS,
        ("<!doctype html", "<html", "<head"): _HTML,
        ("<?xml", "<net"): _MODELS["openvino"] if "<net" in text else _XML,
        ("7767517",): _MODELS["ncnn"],
        ("{", "["): Kind("text", "a JSON text", GIVE_DETECTOR),
    }
    found = (kind for words, kind in begins.items() if start.lower().startswith(words))
    plain = Kind("text", f"a text (it begins {shown!r})", GIVE_DETECTOR)
    return next(found, plain if first.isprintable() and first else None)
