"""What PyTorch really ran in one inference: convolutions and matrix products by data type.

Two readings, put together. Operators that pass the dispatcher are seen there, with the data type of
what they are given. Compiled code calls some kernels directly (Inductor's and TorchScript's fused
convolutions), past the dispatcher: on the CPU those are oneDNN's, whose own log names each
primitive that it executes.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, Any

from deploymark.backends.base import ExecutedPrecision
from deploymark.backends.short_types import SHORT_TYPES

HEAVY = frozenset(
    {
        "_convolution",
        "addmm",
        "baddbmm",
        "bmm",
        "conv2d",
        "convolution",
        "cudnn_convolution",
        "cudnn_convolution_relu",
        "linear",
        "linear_dynamic",
        "matmul",
        "mkldnn_convolution",
        "mm",
    }
)
"""ATen operators that count: nearly all arithmetic of a detector."""

BIAS_FIRST = frozenset({"addmm", "baddbmm"})
"""Operators whose first argument is what is added."""

TYPES = {**SHORT_TYPES, "qint8": "i8", "quint8": "u8"}
"""torch's data types as ``ExecutedPrecision`` writes them."""

LOGGED_TYPES = {"s8": "i8"}
"""oneDNN's names of data types, where they are not those of ``ExecutedPrecision``."""

EXECUTED = re.compile(
    r"^(?:onednn|dnnl)_verbose,.*?\bexec,cpu,(convolution|matmul|inner_product),.*?"
    r"\bsrc(?:_|:)(\w+?)(?:::|:)"
)
"""A primitive's line in oneDNN's log (``ONEDNN_VERBOSE``, "Verbose Mode" of its developer guide):
its name and its source's data type. 3.x writes ``src:f32:…``, before that it was ``src_f32::…``."""


SOURCE = "dispatched operators and oneDNN's log"


def executed(torch: Any, run: Callable[[], object]) -> ExecutedPrecision:
    """Convolutions and matrix products of one call of ``run``, by data type.

    Float32 matrix products of compiled code that go to another library than oneDNN stay unseen.
    """
    counts: Counter[str] = Counter()
    with _onednn_log(torch) as log:
        with _dispatched(log, counts):
            run()
        counts.update(read_log(log.text()))
    if not counts:
        return ExecutedPrecision(
            reason="PyTorch shows neither dispatched operators nor oneDNN primitives of this model"
        )
    return ExecutedPrecision(dict(sorted(counts.items())), source=SOURCE)


def read_log(text: str) -> Counter[str]:
    """Counts by ``"onednn_convolution:f32"`` from the lines that oneDNN wrote."""
    counts: Counter[str] = Counter()
    for line in text.splitlines():
        found = EXECUTED.match(line)
        if found:
            primitive, data_type = found.groups()
            counts[f"onednn_{primitive}:{LOGGED_TYPES.get(data_type, data_type)}"] += 1
    return counts


@contextlib.contextmanager
def _dispatched(log: _Log, counts: Counter[str]) -> Iterator[None]:
    """Count heavy operators on their way through the dispatcher.

    The log is off while one runs, or a convolution would be counted by both.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):  # type: ignore[misc]
        """Sees each operator on its way to its kernel; gone when the block ends."""

        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            # Nothing is compiled here: True would import torch._dynamo, and take seconds.
            return False

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            del types
            name = func.overloadpacket.__name__
            if name not in HEAVY:
                return func(*args, **(kwargs or {}))
            tensor = args[1] if name in BIAS_FIRST else args[0]
            data_type = str(tensor.dtype).removeprefix("torch.")
            counts[f"{name}:{TYPES.get(data_type, data_type)}"] += 1
            with log.silent():
                return func(*args, **(kwargs or {}))

    with Count():
        yield


class _Log:
    """What oneDNN prints; nothing where torch was built without it."""

    def __init__(self, set_level: Callable[[int], object], file: IO[bytes] | None) -> None:
        self._set_level = set_level
        self._file = file

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Log nothing inside the block."""
        self._set_level(0)
        try:
            yield
        finally:
            self._set_level(1)

    def text(self) -> str:
        """What was logged so far."""
        if self._file is None:
            return ""
        self._file.seek(0)
        return self._file.read().decode("utf-8", "replace")


@contextlib.contextmanager
def _onednn_log(torch: Any) -> Iterator[_Log]:
    """Collect what oneDNN prints, which it does on the process's standard output."""
    if not torch.backends.mkldnn.is_available():
        yield _Log(lambda _level: None, None)
        return
    # What torch.backends.mkldnn.verbose calls: that one cannot be switched within its block.
    set_level = torch._C._verbose.mkldnn_set_verbose  # noqa: SLF001
    sys.stdout.flush()
    with tempfile.TemporaryFile() as file, _standard_output_to(file.fileno()):
        set_level(1)
        try:
            yield _Log(set_level, file)
        finally:
            set_level(0)


@contextlib.contextmanager
def _standard_output_to(descriptor: int) -> Iterator[None]:
    """Point the process's standard output, C libraries' included, to another open file."""
    kept = os.dup(1)
    os.dup2(descriptor, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
