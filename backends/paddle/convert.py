"""From a torch module to Paddle's inference files, by way of X2Paddle."""

from __future__ import annotations

import contextlib
import importlib
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploymark.backends.base import BackendError, ExportError
from deploymark.backends.exporting import forward_once, quiet

GENERATED_MODULE = "x2paddle_code"
"""The module that X2Paddle writes, imports and traces again."""

FILES = ("model.json", "model.pdiparams")


def convert(model: Any, folder: Path, shape: tuple[int, int, int, int]) -> None:
    """Write ``FILES`` into ``folder``, for images of ``shape``, (batch, 3, height, width).

    X2Paddle writes a Python module besides, and imports it: both live in a temporary folder. Raises
    ExportError.
    """
    import torch

    example = torch.zeros(shape)
    try:
        with quiet():  # it sets the level of its logger when it is imported
            importlib.import_module("x2paddle.convert")
        with (
            torch.no_grad(),
            quiet("x2paddle.convert"),
            contextlib.redirect_stdout(io.StringIO()) as printed,
            tempfile.TemporaryDirectory(prefix="deploymark-") as temporary,
        ):
            forward_once(model, example)
            _run(model, example, Path(temporary))
            made = Path(temporary, "inference_model")
            for name in FILES:
                if not (made / name).is_file():
                    said = printed.getvalue().strip().splitlines()
                    raise ExportError(f"X2Paddle wrote no {name}: {said[-1] if said else ''}")
                shutil.copyfile(made / name, folder / name)
    except BackendError:
        raise
    except (Exception, SystemExit) as error:
        raise ExportError(f"X2Paddle failed: {type(error).__name__}: {error}") from error


def _run(model: Any, example: Any, folder: Path) -> None:
    """X2Paddle's conversion with its side effects undone and its report to the vendor left out."""
    import paddle
    from x2paddle.convert import pytorch2paddle

    with (
        _without_asserts(),
        _generated_module(),
        # Weights and layers are named by counters of the process.
        paddle.utils.unique_name.guard(),
        _layer_names(),
    ):
        pytorch2paddle(
            model,
            save_dir=str(folder),
            jit_type="trace",
            input_examples=[example],
            disable_feedback=True,
        )


@contextlib.contextmanager
def _without_asserts() -> Iterator[None]:
    """Leave X2Paddle's generated asserts out.

    Its writer of them reads a name that ``exec`` set from ``locals()``, which ends with Python 3.13
    (PEP 667); they check again what the trace has fixed already.
    """
    from x2paddle.op_mapper.pytorch2paddle import prim2code

    original = prim2code.prim_assert
    prim2code.prim_assert = _no_assert
    try:
        yield
    finally:
        prim2code.prim_assert = original


def _no_assert(layer: Any, **keywords: Any) -> None:
    del layer, keywords


@contextlib.contextmanager
def _layer_names() -> Iterator[None]:
    """Count the names of layers, which are in the program, from the start."""
    from paddle.base import framework

    counted = framework._name_struct  # noqa: SLF001 - there is no other way to it
    framework._name_struct = framework.NameStruct()  # noqa: SLF001
    try:
        yield
    finally:
        framework._name_struct = counted  # noqa: SLF001


@contextlib.contextmanager
def _generated_module() -> Iterator[None]:
    """Forget the generated module and the folder it was imported from."""
    path = list(sys.path)
    writes = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes
        sys.path[:] = path
        sys.modules.pop(GENERATED_MODULE, None)
