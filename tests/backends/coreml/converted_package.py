"""A converted detector, as tests look at it."""

from __future__ import annotations

import dataclasses
from typing import Any

from deploymark.backends import base
from deploymark.backends.coreml import package as coreml_package


@dataclasses.dataclass(frozen=True)
class Package:
    """A converted detector: where it lies and what its specification says."""

    artifact: base.Artifact
    specification: Any

    @property
    def operations(self) -> list[Any]:
        return list(coreml_package.operations(self.specification))

    @property
    def weights(self) -> list[str]:
        """For each convolution, the type of operation that gives its weights."""
        made = {op.outputs[0].name: op.type for op in self.operations if op.outputs}
        convolutions = [op for op in self.operations if op.type == "conv"]
        return [made[coreml_package.argument(op, "weight")] for op in convolutions]

    @property
    def bytes(self) -> int:
        return sum(file.stat().st_size for file in coreml_package.files(self.artifact.path))
