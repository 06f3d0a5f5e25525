"""ONNX Runtime: FP32, FP16, static, trained and dynamic INT8 files, on its execution providers.

Devices are execution providers; of them only ``cpu`` has been run where this was written (see
``ort_providers``). Opens ``.onnx`` files that were made elsewhere, too (see ``ort_files``).
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import base, exporting, loading, packages, telemetry
from deploymark.backends.ends import End, chosen, image_of, require_extras
from deploymark.backends.foreign import the_file
from deploymark.backends.onnx import content as onnx_content
from deploymark.backends.onnx import qdq
from deploymark.backends.onnx import wire as onnx_wire
from deploymark.backends.onnx.graph import matching, onnx_file
from deploymark.backends.onnxruntime import files as ort_files
from deploymark.backends.onnxruntime import profile as ort_profile
from deploymark.backends.onnxruntime import providers as ort_providers
from deploymark.backends.onnxruntime import quantize as ort_quantize
from deploymark.backends.onnxruntime import trace as ort_trace
from deploymark.backends.profile import walls

if TYPE_CHECKING:
    import numpy.typing as npt

# Here, as whoever resolves this backend may import the runtime before it calls ``load``.
telemetry.silence()

REMEDY = "pip install 'deploymark[onnxruntime]'"

PRECISIONS = ("fp32", "fp16", "int8", "int8-dynamic", base.QAT_PRECISION)


LOADER = """\
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = $threads
named = {"cuda": "CUDA", "coreml": "CoreML", "directml": "Dml", "openvino": "OpenVINO"}
provider = f"{named.get('$device', 'CPU')}ExecutionProvider"
file = str(Path(__file__).with_name("$entry"))
session = onnxruntime.InferenceSession(file, options, providers=[provider])
image = next(one for one in session.get_inputs() if one.name not in EXTRA)
known = [one.name for one in session.get_outputs()]
wanted = [known[key] if isinstance(key, int) else key for key in OUTPUTS]


def infer(images):
    given = images[0] if len(image.shape) == 3 else images
    half = image.type == "tensor(float16)"
    found = session.run(wanted, {image.name: given.astype("float16") if half else given, **EXTRA})
    return found if len(found) > 1 else found[0]
"""


class OnnxRuntimeBackend(base.Backend):
    """Exports through ``torch.onnx`` and runs an ``InferenceSession``."""

    name = "onnxruntime"
    export_packages = ("torch", "ultralytics", "onnx", "onnxruntime", "onnxconverter-common")
    runtime_packages = ort_providers.DISTRIBUTIONS
    runtime_modules = ("onnxruntime",)
    extra = "onnxruntime"
    loader = LOADER
    giving_way: Mapping[str, base.Setting] = {"spinning": False}
    resting: Mapping[str, base.Setting] = {"stop_spinning": True}
    artifact_endings = (".onnx",)

    def probe(self) -> base.Probe:
        """Told from the installed distribution: its name says which providers it was built with."""
        found = ort_providers.installed()
        if found is None or packages.missing(["onnxruntime"]):
            return base.Probe.absent(self.name, REMEDY)
        missing = packages.missing(["torch", "onnx", "onnxconverter_common"])
        return base.Probe.present(
            self.name,
            found[1],
            ort_providers.services(found[0]),
            missing=missing,
            remedy=REMEDY,
        )

    def resolve_options(self, precision: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """INT8 and INT8-dynamic have options (``ort_quantize``), other precisions have none."""
        if precision == "int8":
            return ort_quantize.resolve(options)
        if precision == "int8-dynamic":
            return ort_quantize.resolve_dynamic(options)
        return super().resolve_options(precision, options)

    def export(self, request: base.ExportRequest) -> base.Artifact:
        """Write ``model.onnx``; the same request gives the same bytes."""
        if request.precision not in PRECISIONS:
            raise base.UnsupportedError(f"onnxruntime has no {request.precision}")
        options = self.resolve_options(request.precision, request.options)
        artifact = base.Artifact(request.folder, "model.onnx")
        notes: tuple[str, ...] = ()
        what = f"ONNX Runtime's {request.precision} conversion"
        with onnx_file(request) as source, exporting.failures(what):
            if request.precision == "fp32":
                shutil.copyfile(source, artifact.path)
            elif request.precision == base.QAT_PRECISION:
                qdq.for_onnxruntime(source, artifact.path)
            elif request.precision == "fp16":
                _write_half(source, artifact.path, request.float_nodes)
            elif request.precision == "int8-dynamic":
                ort_quantize.quantize_dynamically(
                    source, artifact.path, source.parent, request.float_nodes, options
                )
            else:
                notes = ort_quantize.quantize(
                    source, artifact.path, source.parent, request, options
                )
        return dataclasses.replace(artifact, notes=notes)

    def describe(self, path: Path, told: base.ReadAs = base.AS_SEEN) -> base.ArtifactFacts:
        """What an ``.onnx`` file says of itself; weights in files beside it belong to it."""
        file = the_file(path, "*.onnx")
        # Its bytes first: the runtime's words for a file that is cut off are about its parser.
        onnx_content.files_of(file, onnx_content.read_content(file))
        onnx_wire.read_header(file)
        ort = loading.runtime("onnxruntime", REMEDY)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = _open(ort, file, options, ort_providers.CPU_PROVIDER, {})
        return ort_files.facts(session, file, told)

    def runtime_choices(self, options: base.LoadOptions) -> Mapping[str, tuple[base.Setting, ...]]:
        """ONNX Runtime's own defaults, and what they may be changed to.

        ``spinning``: idle threads of the pool wait busily for the next operator, and for some 50 ms
        after an inference, unless ``stop_spinning`` ends that with it. ``arena`` and
        ``memory_pattern``: memory is kept for the next inference, and planned in one piece.
        ``avx2_exact``: u8 x u8 products in place of saturating u8 x s8 ones, slower, on x86 without
        VNNI (``session.x64quantprecision``); ``reduce_range`` avoids saturation without.
        ``cpu_fallback``, off the CPU only: whether nodes that the device's provider does not take
        may run on the CPU (``executed_precision`` then tells how many did) instead of a refusal.
        """
        fallback = {} if options.device == "cpu" else {"cpu_fallback": (False, True)}
        return {
            "spinning": (True, False),
            "stop_spinning": (False, True),
            "arena": (True, False),
            "memory_pattern": (True, False),
            "avx2_exact": (False, True),
            **fallback,
        }

    def load(self, artifact: base.Artifact, options: base.LoadOptions) -> base.Session:
        """Open the file on one provider; no other one is tried if it fails."""
        settings = self.resolve_runtime_options(options)
        loading.require_file(artifact.path)
        ort = loading.runtime("onnxruntime", REMEDY)
        provider = ort_providers.choose(options.device, ort.get_available_providers())

        def open_session(*, profile: Path | None = None) -> Any:
            """A session of these settings, profiled into files named like ``profile`` or not."""
            session_options = _session_options(ort, options.threads, settings)
            ort_providers.prepare(
                ort, provider, session_options, cpu_fallback=bool(settings.get("cpu_fallback"))
            )
            if profile is not None:
                session_options.enable_profiling = True
                session_options.profile_file_prefix = str(profile)
            provider_options = ort_providers.provider_options(provider, options)
            return _open(ort, artifact.path, session_options, provider, provider_options)

        session = open_session()
        ort_providers.verify(provider, options.device, session.get_providers())
        inputs, outputs = ort_files.ends(session, artifact.path)
        image = image_of(artifact.path, inputs)
        loading.require_shape(artifact.path, image.shape, options)
        ort_files.require_input(artifact.path, image, options.spec)
        others = (end.name for end in inputs if end is not image)
        require_extras(artifact.path, others, options.spec)
        order = chosen(artifact.path, [end.name for end in outputs], options.output)
        taken = [outputs[index] for index in order]
        return OnnxRuntimeSession(session, image, taken, open_session, options)


class OnnxRuntimeSession(base.Session):
    """An ``InferenceSession`` of images, floating numbers or bytes, and what goes with them."""

    def __init__(
        self,
        session: Any,
        image: End,
        outputs: Sequence[End],
        open_session: Callable[..., Any],
        options: base.LoadOptions,
    ) -> None:
        super().__init__(options.input_shape, options.spec)
        self._run = session.run
        self._input = image.name
        self._outputs = [end.name for end in outputs]
        self._half_input = image.element == "float16"
        self._half_output = any(end.element == "float16" for end in outputs)
        self._one_image = len(image.shape) == 3  # noqa: PLR2004 - no batch
        self._open_session = open_session
        self._device = options.device

    def infer_impl(self, images: npt.NDArray[Any]) -> base.Outputs:
        """One run; a float32 input array is read in place, the output arrays are new."""
        found = self._run(self._outputs, self._feeds(images))
        if self._half_output:
            found = [base.widened(array) for array in found]
        predictions: base.Outputs = found[0] if len(found) == 1 else tuple(found)
        return predictions

    def _feeds(self, images: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """Every input by its name."""
        given = images.astype("float16") if self._half_input else images
        return {self._input: given[0] if self._one_image else given, **self.extra}

    def profile(
        self, images: Sequence[npt.NDArray[Any]], *, warmup: int, inferences: int
    ) -> base.Profile:
        """What each node took, from the profile of a second session of the same settings."""
        with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
            session = self._open_session(profile=Path(folder, "profile"))
            feeds = [self._feeds(image) for image in images]
            walls_ms = walls(
                lambda index: session.run(self._outputs, feeds[index % len(feeds)]),
                warmup + inferences,
            )
            trace = Path(session.end_profiling()).read_text(encoding="utf-8")
        samples = ort_profile.samples(trace, walls_ms[warmup:])
        return base.Profile(samples, source="ONNX Runtime's profile of its optimised graph")

    def executed_precision(self) -> base.ExecutedPrecision:
        """Operators by data type, from the profile of one inference of a session alike this one.

        The profiler cannot be stopped and started, so a second session, opened with the same
        settings and thrown away, is profiled; the one that is measured never is.
        """
        import numpy as np

        zeros = np.zeros(self.spec.shape(self.input_shape), self.spec.dtype)
        with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
            session = self._open_session(profile=Path(folder, "profile"))
            session.run(self._outputs, self._feeds(zeros))
            events = Path(session.end_profiling()).read_text(encoding="utf-8")
            del session
        source = "profile of the optimised graph"
        if self._device != "cpu":
            source += f" ({ort_trace.placement(events)})"
        return base.ExecutedPrecision(ort_trace.layers(events), source=source)


def _open(
    ort: Any, path: Path, session_options: Any, provider: str, provider_options: Mapping[str, str]
) -> Any:
    """An ``InferenceSession`` of one provider. Raises LoadError with the runtime's words."""
    try:
        return ort.InferenceSession(
            str(path), session_options, providers=[(provider, dict(provider_options))]
        )
    except Exception as error:
        strict = "disable_cpu_ep_fallback" in str(error)
        raise base.LoadError(
            f"ONNX Runtime refuses {path}: {type(error).__name__}: {error}",
            remedy=(
                f"{provider} does not take every operator of it; set cpu_fallback: true under "
                "session to run those on the CPU."
            )
            if strict
            else "",
        ) from error


def _session_options(ort: Any, threads: int, settings: Mapping[str, base.Setting]) -> Any:
    """``SessionOptions`` with everything that decides speed spelled out."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = bool(settings["arena"])
    options.enable_mem_pattern = bool(settings["memory_pattern"])
    spinning = "1" if settings["spinning"] else "0"
    options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    stop = "1" if settings["stop_spinning"] else "0"
    options.add_session_config_entry("session.force_spinning_stop", stop)
    exact = "1" if settings["avx2_exact"] else "0"
    options.add_session_config_entry("session.x64quantprecision", exact)
    return options


def _write_half(source: Path, target: Path, float_nodes: Sequence[str]) -> None:
    """Convert weights and operators to float16, but nodes that ``float_nodes`` match.

    Those are the decode: in float16 boxes beyond 512 pixels would lie on halves of a pixel, and a
    one-to-one head casts to float32 there, which the converter leaves as it is. The input and the
    output stay float32.
    """
    import onnx
    from onnxconverter_common import float16

    model = onnx.load(source)
    blocked = matching((node.name for node in model.graph.node), float_nodes)
    with exporting.quiet("onnxconverter_common"):
        half = float16.convert_float_to_float16(model, keep_io_types=True, node_block_list=blocked)
    onnx.save(half, target)
