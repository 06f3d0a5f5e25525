"""Data types as ``ExecutedPrecision`` writes them."""

from __future__ import annotations

from collections.abc import Mapping

SHORT_TYPES: Mapping[str, str] = {
    "float32": "f32",
    "float16": "f16",
    "bfloat16": "bf16",
    "int8": "i8",
    "uint8": "u8",
}
"""By the names that NumPy and torch give them."""
