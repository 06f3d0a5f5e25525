"""Keep the runtimes from calling home.

Some packages that backends build on report usage to their vendor, switched on by default. A harness
that runs on other people's devices must not, and an uploader's threads would also share the
machine with what is measured.
"""

from __future__ import annotations

import os
import sys


def silence() -> None:
    """Switch telemetry off in this process and its children. Call before importing a runtime.

    ONNX Runtime (since 1.29, on Linux and macOS too) starts an uploader and writes a device
    identifier when its library initialises, unless this variable is set (its Privacy.md). OpenVINO
    reports every import, conversion and quantization (also NNCF's) through ``openvino_telemetry``
    and has no variable for it; all three use a stub where that package cannot be imported, which
    is what a None in ``sys.modules`` makes of it.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    if "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
