"""Detectors of random weights, by Ultralytics' names of their architectures."""

from __future__ import annotations

import copy
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends.base import UnsupportedError
from deploymark.bench.variants.checkpoint import quiet_ultralytics
from deploymark.bench.yaml_source import did_you_mean

if TYPE_CHECKING:
    from torch import nn

_HEADS = frozenset({"Detect", "v10Detect"})
_SIZED = re.compile(r"yolov?\d+[a-z]")
"""Names of files that are of one size: yolov10n.yaml, yolov9c.yaml."""


@functools.cache
def architectures() -> dict[str, tuple[Path, str]]:
    """Ultralytics' detectors by name: the file that describes each, and its size in that.

    ``yolo11n.yaml`` is ``yolo11.yaml`` at the size ``n``; the size is empty where there is one.
    """
    quiet_ultralytics()
    import ultralytics
    from ultralytics.utils import YAML

    found = {}
    for path in sorted((Path(ultralytics.__file__).parent / "cfg" / "models").rglob("yolo*.yaml")):
        config = YAML.load(path)
        if config["head"][-1][2] not in _HEADS:
            continue
        sizes = list(config.get("scales", {}))
        if not sizes or _SIZED.match(path.name):
            found[path.name] = (path, sizes[0] if sizes else "")
            continue
        for size in sizes:
            name = re.sub(r"^(yolov?\d+)", rf"\g<1>{size}", path.name)
            found[name] = (path, size)
    return found


def build(name: str, like: Any, seed: int) -> nn.Module:
    """The architecture ``name`` with weights drawn by ``seed``, for the classes of ``like``.

    ``like`` is a detector before fusing; its class names and the arguments that it was trained with
    are taken over, so that what is returned can be trained and saved as ``like`` can be.
    Raises UnsupportedError for a name that Ultralytics does not know as a detector.
    """
    known = architectures()
    if name not in known:
        raise UnsupportedError(
            f"Ultralytics has no detector {name}{did_you_mean(name, list(known))}",
            remedy="Name an architecture with its size, as yolo11n.yaml, or give a .pt checkpoint.",
        )
    import torch
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils import YAML

    path, size = known[name]
    config = {**YAML.load(path), "scale": size, "yaml_file": name}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = DetectionModel(config, nc=int(like.model[-1].nc), verbose=False)
    module.names = copy.deepcopy(like.names)
    module.args = copy.deepcopy(like.args)
    module.task = "detect"
    return module.eval()
