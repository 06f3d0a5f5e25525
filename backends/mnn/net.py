"""MNN's interpreter, session and tensors, in the terms of ``backends.base``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploymark.backends import loading
from deploymark.backends.base import LoadError, LoadOptions
from deploymark.backends.ends import sizes

NORMAL = 0
"""``MNN::BackendConfig``'s ``Memory_Normal`` and ``Power_Normal``: weights are widened once, at
load, and no core is preferred."""

RELEASE, DEBUG = 1, 0
"""``MNN::Interpreter::SessionMode``: without and with callbacks between operators."""

REMEDY = "pip install 'deploymark[mnn]'"


def import_mnn() -> Any:
    """MNN. Raises UnavailableError."""
    return loading.runtime("MNN", REMEDY)


def open_session(mnn: Any, path: Path, options: LoadOptions, mode: int) -> tuple[Any, Any]:
    """An ``Interpreter`` and its session, every setting spelled out. Raises LoadError.

    MNN checks a whole file before it reads it, so a damaged one is no crash.
    """
    try:
        interpreter = mnn.Interpreter(str(path))
        interpreter.setSessionMode(mode)
        session = interpreter.createSession(
            {
                "backend": "CPU",
                "numThread": options.threads,
                # Left alone, or "low", it computes in 16 bits wherever the processor can.
                "precision": "low" if options.precision == "fp16" else "high",
                "memory": NORMAL,
                "power": NORMAL,
            }
        )
    except Exception as error:
        raise LoadError(f"MNN refuses {path}: {error}") from error
    return interpreter, session


def the_input(interpreter: Any, session: Any, path: Path) -> Any:
    """The one input tensor. Raises LoadError where there are others."""
    inputs = interpreter.getSessionInputAll(session)
    if len(inputs) != 1:
        raise LoadError(f"{path} has {len(inputs)} inputs, a detector has one")
    return next(iter(inputs.values()))


def outputs_of(interpreter: Any, session: Any) -> Mapping[str, Any]:
    """Output tensors by name."""
    outputs: Mapping[str, Any] = interpreter.getSessionOutputAll(session)
    return outputs


def _is_channels_last(mnn: Any, tensor: Any) -> bool:
    return bool(tensor.getDimensionType() == mnn.Tensor_DimensionType_Tensorflow)


def image_shape(mnn: Any, image: Any) -> tuple[int, ...]:
    """The input's shape as (batch, channels, height, width), whatever order the file keeps."""
    shape = tuple(image.getShape())
    if len(shape) == 4 and _is_channels_last(mnn, image):  # noqa: PLR2004 - batch, rows, columns, channels
        return (shape[0], shape[3], shape[1], shape[2])
    return shape


def resize(mnn: Any, interpreter: Any, session: Any, image: Any, wanted: Any) -> None:
    """Give an input that takes any size the shape (batch, channels, height, width)."""
    batch, channels, height, width = wanted
    last = _is_channels_last(mnn, image)
    shape = (batch, height, width, channels) if last else (batch, channels, height, width)
    interpreter.resizeTensor(image, shape)
    interpreter.resizeSession(session)


def fitted_input(mnn: Any, interpreter: Any, session: Any, path: Path, options: LoadOptions) -> Any:
    """The input tensor in the shape of ``options``. Raises LoadError where it has another."""
    image = the_input(interpreter, session, path)
    found = image_shape(mnn, image)
    loading.require_shape(path, found, options)
    if None in sizes(found):
        resize(mnn, interpreter, session, image, options.input_shape)
    return image


def host_tensor(mnn: Any, shape: Any) -> Any:
    """A float32 tensor in row-major order, which ``getNumpyData`` gives a view into."""
    import numpy as np

    empty = np.zeros(shape, np.float32)
    return mnn.Tensor(tuple(shape), mnn.Halide_Type_Float, empty, mnn.Tensor_DimensionType_Caffe)
