"""AOTInductor's packages: what they note of themselves, and how they are opened.

A package is a zip archive of a shared library, with the weights in it, and its source. PyTorch's
loader unpacks it into the temporary folder and links the library in. Its Python front
(``aoti_load_package``) also asks Inductor for the machine's instructions, which compiles a test
program: the loader itself is taken here, as C++ programs do, so that a worker needs no compiler.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deploymark.backends.base import LoadError, LoadOptions, UnavailableError
from deploymark.backends.hardware import cpu
from deploymark.backends.loading import require_shape
from deploymark.backends.untrusted import ARCHIVE_ERRORS, read_part

INPUT_SHAPE = "deploymark_input_shape"
"""Our note of the input's shape, ``1,3,320,320``: the package has none."""

SIMD = "deploymark_simd"
"""Our note of what the compiler was told to make use of, as ``simd_of`` writes it."""

DEVICE = "AOTI_DEVICE_KEY"
CAPABILITY = "AOTI_COMPUTE_CAPABILITY"
"""Inductor's own notes (``torch/_inductor/codecache.py``, ``get_device_information``)."""

LOADER_ARGUMENTS = ("model", False, 1, -1)
"""The model's name, not single-threaded, one runner, the current device: the front's defaults."""

NOTES = re.compile(r"(?:.*/)?data/aotinductor/model/[^/]*_metadata\.json")

VECTOR = re.compile(r"(amx|asimd|avx|sve).*|bf16|f16c|fma|i8mm|sme2?")
"""Features of a CPU that are vector instructions, by ``cpu.Cpu``'s names."""


def simd_of(here: cpu.Cpu) -> str:
    """A CPU's architecture and vector instructions as one line: ``x86_64 avx avx2 fma``.

    Inductor compiles with ``-march=native``. The features left out are as old as AVX2 or no
    compiler takes them unasked.
    """
    vector = sorted(feature for feature in here.features if VECTOR.fullmatch(feature))
    return " ".join([here.architecture, *vector])


def read_notes(path: Path) -> dict[str, str]:
    """What is noted in a package, which is checked to be whole. Raises LoadError."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise LoadError(f"{path} is damaged at {damaged}")
            names = sorted(filter(NOTES.fullmatch, archive.namelist()))
            notes = [json.loads(read_part(archive, name)) for name in names]
    except ARCHIVE_ERRORS as error:
        raise LoadError(f"{path} is no whole AOTInductor package: {error}") from error
    found = next((note for note in notes if INPUT_SHAPE in note), None)
    if found is None:
        raise LoadError(
            f"{path} does not tell what images it takes",
            remedy="Only packages that Deploymark made can be measured.",
        )
    return {str(key): str(value) for key, value in found.items()}


def check(path: Path, notes: Mapping[str, str], options: LoadOptions) -> None:
    """Raise LoadError or UnavailableError where the package is not for this machine and input.

    Instructions that a CPU lacks would end the process.
    """
    shape = tuple(int(size) for size in notes[INPUT_SHAPE].split(","))
    require_shape(path, shape, options)
    device = notes.get(DEVICE, "cpu")
    if device != options.device:
        raise LoadError(f"{path} was compiled for {device}, not for {options.device}")
    lacking = set(notes.get(SIMD, "").split()) - set(simd_of(cpu.detect()).split())
    if lacking:
        raise UnavailableError(
            f"{path} was compiled for a processor with {', '.join(sorted(lacking))}, which this "
            "one lacks",
            remedy="Build it on this machine.",
        )


def check_capability(torch: Any, path: Path, notes: Mapping[str, str]) -> None:
    """Raise UnavailableError where the package was compiled for another kind of NVIDIA GPU."""
    major, minor = torch.cuda.get_device_capability()
    wanted = notes.get(CAPABILITY, "")
    if wanted and wanted != str(10 * major + minor):
        raise UnavailableError(
            f"{path} was compiled for compute capability {wanted}, this GPU has {major}{minor}",
            remedy="Build it on this machine.",
        )


def open_package(torch: Any, path: Path) -> Any:
    """PyTorch's loader with the package's one model. Nothing stays in the temporary folder.

    The system keeps a linked library whose file was removed. Raises LoadError.
    """
    with tempfile.TemporaryDirectory(prefix="deploymark-", ignore_cleanup_errors=True) as folder:
        try:
            with _unpacked_into(folder):
                return torch._C._aoti.AOTIModelPackageLoader(  # noqa: SLF001 - see above
                    str(path), *LOADER_ARGUMENTS
                )
        except Exception as error:
            raise LoadError(f"PyTorch refuses {path}: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _unpacked_into(folder: str) -> Iterator[None]:
    """Let C++ make its temporary files in a folder (``c10/util/tempfile.h``)."""
    kept = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = folder
    try:
        yield
    finally:
        if kept is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = kept
