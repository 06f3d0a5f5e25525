"""From an ONNX file to an IREE module: the target processor made explicit, and the compiler."""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploymark.backends import packages
from deploymark.backends.base import ExportError, UnavailableError, UnsupportedError
from deploymark.backends.exporting import quiet
from deploymark.backends.options import resolve_choices

OPT_LEVELS = ("O3", "O2", "O1", "O0")
"""``iree-compile --iree-opt-level``, the default first. The compiler's own is O0."""

HOST = "host"

TARGET = re.compile(r'cpu = "([^"]*)", cpu_features = "([^"]*)"')

SMALLEST = """
func.func @f(%a: tensor<4xf32>) -> tensor<4xf32> {
  %0 = arith.addf %a, %a : tensor<4xf32>
  return %0 : tensor<4xf32>
}
"""
"""A module to ask the compiler with what it takes a target for."""


def resolve(options: Mapping[str, Any]) -> dict[str, str]:
    """The export options with ``host`` replaced by what it means on this machine.

    ``target_cpu``: LLVM's name of a processor (``znver4``, ``x86-64-v3``, ``cortex-a76``), default
    the host's. ``target_features``: what differs from that name, as LLVM writes it
    (``-pku,+gfni``).
    Raises UnsupportedError for an unknown option or value, UnavailableError where the host is asked
    for and the compiler is not there to tell it.
    """
    given = dict(options)
    target = {
        "target_cpu": given.pop("target_cpu", HOST),
        "target_features": given.pop("target_features", ""),
    }
    unknown = sorted(set(given) - {"opt_level"})
    if unknown:
        raise UnsupportedError(
            f"iree has no export option {', '.join(unknown)}",
            remedy="Its options are target_cpu, target_features, opt_level.",
        )
    for name, value in target.items():
        if not isinstance(value, str) or not re.fullmatch(r"[\w.,+-]*", value):
            raise UnsupportedError(f"iree's option {name} is a text as LLVM has it, got {value!r}")
    resolved = resolve_choices("iree", {"opt_level": OPT_LEVELS}, given)
    if target["target_cpu"] == HOST:
        if target["target_features"]:
            raise UnsupportedError("iree's option target_features needs a target_cpu that is named")
        target["target_cpu"], target["target_features"] = host_target()
    return target | resolved


@functools.cache
def host_target() -> tuple[str, str]:
    """LLVM's name of this processor and how its features differ from that name's, by the compiler.

    Raises UnavailableError without the compiler.
    """
    if packages.installed_version("iree-base-compiler") is None:
        raise UnavailableError(
            "the processor's name cannot be told without IREE's compiler",
            remedy="pip install 'deploymark[iree]', or set the export option target_cpu.",
        )
    name, here = target_features(HOST, "")
    _, usual = target_features(name, "")
    differs = [f"-{feature}" for feature in usual - here]
    differs += [f"+{feature}" for feature in here - usual]
    return name, ",".join(sorted(differs))


def target_features(cpu: str, features: str) -> tuple[str, frozenset[str]]:
    """The name and all features that the compiler takes a target for. Raises ExportError."""
    text = _run(SMALLEST, "--compile-to=flow", *_target(cpu, features)).decode()
    found = TARGET.search(text)
    if found is None:
        raise ExportError(f"IREE's compiler knows no processor {cpu!r}")
    # Later ones overrule earlier ones.
    signs = {feature[1:]: feature[0] for feature in found[2].split(",") if feature}
    return found[1], frozenset(name for name, sign in signs.items() if sign == "+")


def _target(cpu: str, features: str) -> list[str]:
    named = [f"--iree-llvmcpu-target-cpu-features={features}"] if features else []
    return [f"--iree-llvmcpu-target-cpu={cpu}", *named]


def compile_onnx(source: Path, target: Path, options: Mapping[str, str]) -> None:
    """Write a VM module for the processor that ``options`` name. Raises ExportError."""
    from iree.compiler.tools.import_onnx import __main__ as importer

    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        graph = Path(folder, "model.mlir")
        with quiet():
            importer.main(importer.parse_arguments([str(source), "-o", str(graph)]))
        target.write_bytes(
            _run(
                graph,
                *_target(options["target_cpu"], options["target_features"]),
                f"--iree-opt-level={options['opt_level']}",
                # Source lines, which are paths of temporary files, and what debuggers read of them.
                "--iree-vm-bytecode-module-strip-source-map=true",
                "--iree-llvmcpu-debug-symbols=false",
            )
        )


def _run(source: str | Path, *arguments: str) -> bytes:
    """What the compiler makes of MLIR text or a file of it. Raises ExportError."""
    from iree.compiler import tools

    settings: dict[str, Any] = {
        "target_backends": ["llvm-cpu"],
        "extra_args": list(arguments),
        "output_mlir_debuginfo": False,
        "strip_source_map": False,
    }
    try:
        if isinstance(source, Path):
            made = tools.compile_file(str(source), **settings)
        else:
            made = tools.compile_str(source, **settings)
    except tools.CompilerToolError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        said = next((line for line in lines if "error:" in line), lines[0] if lines else "")
        raise ExportError(f"IREE's compiler failed: {said}") from error
    return bytes(made)
