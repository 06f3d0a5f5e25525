"""A fresh process that loads an artifact and infers, and what it saw."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

LAUNCH = """
import json, os, sys
import numpy as np
from pathlib import Path
from deploymark.backends.base import Artifact, InputError, LoadOptions
from deploymark.backends.registry import resolve

job = json.loads(sys.argv[1])
backend = resolve(job["backend"])
images = np.load(job["images"])
options = LoadOptions("cpu", job["precision"], job["threads"], images.shape)
session = backend.load(Artifact(Path(job["folder"]), job["entry"]), options)
first = session.infer(images).copy()
again = session.infer(images[::-1].copy()).copy()
tasks = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else None
refused = []
for wrong in (images[:, :, :-1], images.astype(np.float64), images[0]):
    try:
        session.infer(wrong)
    except InputError as error:
        refused.append(str(error))
executed = session.executed_precision()
after = session.infer(images)
np.savez(job["output"], first=first, again=again, after=after)
print(json.dumps({
    "tasks": tasks, "refused": refused, "layers": dict(executed.layers),
    "source": executed.source, "reason": executed.reason, "dtype": str(first.dtype),
    "modules": [name for name, module in sys.modules.items() if module is not None],
}))
"""


@dataclasses.dataclass(frozen=True)
class Launch:
    """What a fresh process saw: ``first``, and ``again`` with the images reversed.

    ``after`` is like ``first``, when all questions about the session had been asked.
    """

    first: npt.NDArray[np.float32]
    again: npt.NDArray[np.float32]
    after: npt.NDArray[np.float32]
    facts: dict[str, Any]
