"""Where a model comes from: a checkpoint of a known family, or a package's loader.

Everything here is told from names and plain files: opening a checkpoint and importing a loader run
code, and are done in the build child alone (``bench.variants.sources``).
"""

from __future__ import annotations

import dataclasses
import importlib.machinery
import json
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

from deploymark.backends.layout import FamilyName, ScoreForm
from deploymark.bench.errors import BadInputError
from deploymark.bench.store import digest, file_sha256
from deploymark.bench.yaml_source import did_you_mean

HUGGING_FACE = "hf:"
"""Prefix of a local Hugging Face folder."""

ENTRY_POINT_GROUP = "deploymark.models"
"""Entry points of packages that bring loaders."""

SourceKind = Literal["ultralytics", "hugging-face", "torchvision", "loader"]

HF_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
"""What is read of a Hugging Face folder; the last one may be missing."""

HF_INDEX = "model.safetensors.index.json"
"""In place of the weights where they are in several files, which it names."""

HF_FAMILIES: Mapping[str, tuple[FamilyName, ScoreForm]] = {
    "rt_detr": ("rtdetr", "sigmoid"),
    "rt_detr_v2": ("rtdetr", "sigmoid"),
    "d_fine": ("dfine", "sigmoid"),
    "detr": ("detr", "softmax"),
    "table-transformer": ("detr", "softmax"),
    "conditional_detr": ("detr", "sigmoid"),
    "yolos": ("yolos", "softmax"),
}
"""``model_type`` of the configurations that are read: whose conventions of input they have, and
what makes scores of their logits (``post_process_object_detection`` of their image processors)."""

PACKAGES: Mapping[SourceKind, tuple[str, ...]] = {
    "ultralytics": (),  # every exporter has them in its versions
    "hugging-face": ("transformers",),
    "torchvision": ("torchvision",),
    "loader": ("torchvision", "transformers"),
}
"""Distributions that make the modules, besides torch and Ultralytics: part of artifacts' keys."""


@dataclasses.dataclass(frozen=True)
class ModelSource:
    """A model to be opened in the build child. Paths are absolute.

    ``path`` is the checkpoint, the folder or the state file; of a loader what it is given, or None.
    ``architecture`` is torchvision's builder, ``loader`` the string ``module:function``; ``head``
    is of a YOLO with two.
    """

    kind: SourceKind
    path: str | None = None
    architecture: str | None = None
    loader: str | None = None
    head: str = "auto"

    @property
    def told(self) -> str:
        """What a message calls it."""
        return self.path or self.loader or self.kind

    def sha256(self) -> str:
        """The hash of all that makes the weights and the graph, but packages' versions."""
        if self.kind == "ultralytics":
            return file_sha256(Path(self.path or ""))
        parts: dict[str, Any] = {"kind": self.kind, "architecture": self.architecture}
        if self.path is not None:
            parts["files"] = {
                file.name: file_sha256(file) for file in sorted(_files(Path(self.path), self.kind))
            }
        if self.loader is not None:
            parts["loader"] = {"name": self.loader, **_source_hashes(self.loader)}
        return digest(parts)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> ModelSource:
        """From a mapping such as ``dataclasses.asdict`` gives, after a way through JSON."""
        return cls(**values)


def loader_spec(name: str) -> str:
    """The string ``module:function`` of a loader, which may be the name of an entry point.

    Raises ValueError, with the names that there are.
    """
    if ":" in name:
        module, _, function = name.partition(":")
        if all(part.isidentifier() for part in (*module.split("."), function)):
            return name
    else:
        known = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
        if name in known:
            return known[name]
        if known:
            names = ", ".join(sorted(known))
            raise ValueError(
                f"no package brings a loader {name!r} (entry points {ENTRY_POINT_GROUP}: {names})"
                f"{did_you_mean(name, list(known))}"
            )
    raise ValueError(
        f"expected my_package.my_module:function, or an entry point of {ENTRY_POINT_GROUP}; "
        f"got {name!r}"
    )


def source_file(module: str) -> Path | None:
    """The file of a module, found without importing it or its package; None where there is none."""
    path: list[str] | None = None
    found: importlib.machinery.ModuleSpec | None = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        if name in sys.modules and hasattr(sys.modules[name], "__path__"):
            found, path = sys.modules[name].__spec__, list(sys.modules[name].__path__)
            continue
        found = importlib.machinery.PathFinder.find_spec(name, path)
        if found is None:
            return None
        path = list(found.submodule_search_locations or ())
    origin = None if found is None else found.origin
    return Path(origin) if origin and Path(origin).is_file() else None


def faults_of_folder(folder: Path) -> Iterator[tuple[str, str]]:
    """What is wrong with a Hugging Face folder as far as its names and its configuration tell.

    Each with a remedy.
    """
    if not folder.is_dir():
        yield (
            f"no such folder: {folder}",
            "Name a local folder, as save_pretrained writes it: hf:my-model. None is downloaded.",
        )
        return
    lacks = [name for name in HF_FILES[:1] if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in (HF_FILES[1], HF_INDEX)):
        lacks.append(HF_FILES[1])
    if lacks:
        yield (
            f"{folder} has no {' and no '.join(lacks)}",
            "Save the model there: model.save_pretrained(folder), and its image processor.",
        )
    if (folder / HF_FILES[0]).is_file():
        try:
            kind = read_json(folder / HF_FILES[0]).get("model_type")
        except BadInputError as error:
            yield error.message, error.remedy
            return
        if kind not in HF_FAMILIES:
            yield (
                f"{folder}: Deploymark reads no configuration of the type {kind!r}"
                + did_you_mean(kind, list(HF_FAMILIES)),
                f"Those are {', '.join(HF_FAMILIES)}. Another model comes by `loader:`.",
            )


def read_json(path: Path) -> dict[str, Any]:
    """A mapping from a file of JSON. Raises BadInputError."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInputError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise BadInputError(f"{path} is no mapping")
    return values


def _files(path: Path, kind: SourceKind) -> Iterator[Path]:
    """The files below a path that count: all of a loader's, of a Hugging Face folder those read."""
    if path.is_file():
        yield path
    elif kind == "hugging-face":
        names = {*HF_FILES, HF_INDEX} | {file.name for file in path.glob("model-*.safetensors")}
        yield from (path / name for name in names if (path / name).is_file())
    else:
        yield from (file for file in path.rglob("*") if file.is_file())


def _source_hashes(loader: str) -> dict[str, str]:
    """The hash of the loader's own module: an edit of it makes the artifacts anew."""
    file = source_file(loader.partition(":")[0])
    return {} if file is None else {"source": file_sha256(file)}
