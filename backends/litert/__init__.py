"""LiteRT (TensorFlow Lite): ``.tflite`` files in FP32, FP16 and INT8 on the CPU, by XNNPACK."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import base, exporting, loading, packages
from deploymark.backends.ends import chosen, require_extras
from deploymark.backends.foreign import the_file
from deploymark.backends.hardware import cpu
from deploymark.backends.litert import convert as litert_convert
from deploymark.backends.litert import file as litert_file
from deploymark.backends.litert import quantize as litert_quantize
from deploymark.backends.one_array import require_one_array
from deploymark.backends.onnxruntime.quantize import batches
from deploymark.backends.options import resolve_choices

if TYPE_CHECKING:
    import numpy.typing as npt

PRECISIONS = ("fp32", "fp16", "int8-dynamic", "int8")

REMEDY = "pip install 'deploymark[litert]'"

HALF_REASON = (
    "LiteRT's interpreter stores float16 weights, and XNNPACK widens them to float32 as it loads"
    " them: computing in float16 is asked for by a flag that Python does not reach"
)

TRIAL_SHAPE = (1, 3, 320, 320)
"""Images of a trial inference where a file leaves sizes open: a multiple of every stride."""

LOADER = """\
from ai_edge_litert.interpreter import Interpreter

file = str(Path(__file__).with_name("$entry"))
interpreter = Interpreter(model_path=file, num_threads=$threads)
interpreter.allocate_tensors()
image = interpreter.get_input_details()[0]
known = interpreter.get_output_details()
named = {one["name"]: one for one in known}
wanted = [known[key] if isinstance(key, int) else named[key] for key in OUTPUTS]


def infer(images):
    if image["shape"][-1] == 3 != images.shape[-1]:
        images = images.transpose(0, 2, 3, 1)
    scale, zero = image["quantization"]
    if scale and images.dtype != image["dtype"]:
        limits = np.iinfo(image["dtype"])
        images = (np.rint(images / np.float32(scale)) + zero).clip(limits.min, limits.max)
    interpreter.set_tensor(image["index"], images.astype(image["dtype"], copy=False))
    interpreter.invoke()
    arrays = [values(one) for one in wanted]
    return arrays if len(arrays) > 1 else arrays[0]


def values(output):
    found, (scale, zero) = interpreter.get_tensor(output["index"]), output["quantization"]
    return (found.astype("float32") - zero) * np.float32(scale) if scale else found
"""


class LiteRtBackend(base.Backend):
    """Exports with ``litert_torch`` and runs an ``Interpreter`` with the XNNPACK delegate."""

    name = "litert"
    export_packages = (
        "torch",
        "ultralytics",
        "litert-torch",
        "litert-converter",
        "ai-edge-quantizer",
        "ai-edge-litert",
    )
    runtime_packages = ("ai-edge-litert",)
    runtime_modules = ("ai_edge_litert.interpreter",)
    extra = "litert"
    loader = LOADER
    runtime_options = base.NO_OPTIONS
    artifact_endings = (".tflite",)

    def probe(self) -> base.Probe:
        """One device: the interpreter's CPU."""
        version = packages.installed_version("ai-edge-litert")
        if version is None or packages.missing(["ai_edge_litert"]):
            return base.Probe.absent(self.name, REMEDY)
        missing = packages.missing(["torch", "litert_torch", "ai_edge_quantizer"])
        return base.Probe.present(
            self.name,
            version,
            {
                ("cpu", "fp32"): base.Service(served=True),
                ("cpu", "fp16"): base.Service(served=True, native=False, reason=HALF_REASON),
                ("cpu", "bf16"): base.Service.never("LiteRT has no bfloat16 convolution"),
                ("cpu", "int8-dynamic"): base.Service(served=True),
                ("cpu", "int8"): base.Service(served=True),
            },
            missing=missing,
            remedy=REMEDY,
        )

    def resolve_options(self, precision: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """INT8 takes ``litert_quantize.INT8_OPTIONS``; other precisions have no options."""
        if precision != "int8":
            return super().resolve_options(precision, options)
        return resolve_choices(self.name, litert_quantize.INT8_OPTIONS, options)

    def export(self, request: base.ExportRequest) -> base.Artifact:
        """Write ``model.tflite``; the same request gives the same bytes.

        Input and output are float32 in every precision, images in the order (batch, 3, height,
        width), boxes in pixels. What decodes boxes stays in float32 (``float_nodes``): quantized
        to its end, with boxes and scores as two outputs, a YOLO11n of mAP50-95 0.311 scored 0.270
        in INT8, against 0.304 so.
        """
        if request.precision not in PRECISIONS:
            raise base.UnsupportedError(f"litert has no {request.precision}")
        options = self.resolve_options(request.precision, request.options)
        require_one_array(self.name, request.detector.output, request.detector.spec)
        artifact = base.Artifact(request.folder, "model.tflite")
        calibrated = request.precision == "int8"
        given = request.calibration() if calibrated and request.calibration is not None else ()
        images = batches(given, request.batch) if calibrated else []
        with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
            source = Path(folder, "fp32.tflite")
            target = artifact.path if request.precision == "fp32" else source
            what = f"LiteRT's {request.precision} conversion"
            with exporting.failures(what), litert_convert.held_back():
                floats = litert_convert.convert(request, target)
                if request.precision != "fp32":
                    litert_quantize.quantize(
                        source,
                        artifact.path,
                        request.precision,
                        floats=floats,
                        images=images,
                        options=options,
                    )
        return artifact

    def describe(self, path: Path, told: base.ReadAs = base.AS_SEEN) -> base.ArtifactFacts:
        """The facts of a ``.tflite`` file, or of the one such file in a folder.

        Most files of others give boxes as shares of the image whatever their layout, which the
        output contract then says. Where neither maker nor user tells, one inference does.
        """
        file = the_file(path, "*.tflite")
        interpreter = _open(file, threads=1, delegate=False)
        form = litert_file.read_form(file, interpreter)
        artifact = base.Artifact(file.parent, file.name)
        found = litert_file.file_facts(artifact, form, interpreter, told)
        shares = None if told.boxes is None else told.boxes == "normalised"
        if shares is None:
            shares = litert_file.normalised(form, found.output)
        if shares is None:
            shares = self._measured(found)
        if not shares:
            return found
        output = dataclasses.replace(found.output, boxes="normalised")
        return dataclasses.replace(found, output=output)

    def load(self, artifact: base.Artifact, options: base.LoadOptions) -> base.Session:
        """Open the file with ``options.threads`` threads, and plan its memory."""
        self.resolve_runtime_options(options)
        path = artifact.path
        loading.require_file(path)
        if options.device != "cpu":
            raise base.UnavailableError(f"litert has no device {options.device!r} here, only cpu")
        interpreter = _open(path, threads=options.threads)
        form = litert_file.read_form(path, interpreter)
        require_extras(path, (), options.spec)
        wanted = form.images.shape if options.spec.channels_last else form.image_shape
        loading.require_shape(path, wanted, options)
        if form.of_bytes != (options.spec.dtype == "uint8"):
            raise base.LoadError(
                f"{path} takes {form.images.data_type}, and images come as {options.spec.dtype}"
            )
        output = options.output or litert_file.own_contract(form) or self.describe(path).output
        order = chosen(path, [item.name for item in form.outputs], output)
        taken = tuple(form.outputs[index] for index in order)
        _allocate(path, interpreter, form, options.input_shape)
        return LiteRtSession(interpreter, path, form, taken, options)

    def _measured(self, found: base.ArtifactFacts) -> bool:
        """Whether a file that does not tell gives boxes as shares of the image, by an inference."""
        import numpy as np

        sizes = (size or other for size, other in zip(found.input_shape, TRIAL_SHAPE, strict=True))
        batch, channels, height, width = sizes
        options = base.LoadOptions(
            device="cpu",
            precision=found.precision or "fp32",
            threads=1,
            input_shape=(batch, channels, height, width),
            spec=found.spec,
            output=found.output,
        )
        session = self.load(found.artifact, options)
        images = np.full(session.spec.shape(session.input_shape), 0.5)
        given = session.infer((images * session.spec.range[1]).astype(session.spec.dtype))
        predictions = given[0] if isinstance(given, tuple) else given
        return litert_file.looks_normalised(predictions, found.output.layout)


class LiteRtSession(base.Session):
    """An interpreter of one input; boxes are given in the file's own unit."""

    no_profiler = (
        "LiteRT's op profiler is part of its C++ benchmark tool: the interpreter of the Python "
        "package (ai-edge-litert) offers none"
    )

    def __init__(
        self,
        interpreter: Any,
        path: Path,
        form: litert_file.Form,
        outputs: tuple[litert_file.Tensor, ...],
        options: base.LoadOptions,
    ) -> None:
        super().__init__(options.input_shape, options.spec)
        self._interpreter = interpreter
        self._path = path
        self._form = form
        self._outputs = outputs
        self._turned = form.channels_last and not options.spec.channels_last
        self._narrow = not form.of_bytes and form.images.data_type != "float32"

    def infer_impl(self, images: npt.NDArray[Any]) -> base.Outputs:
        """One inference; images are copied in, predictions copied out."""
        if self._turned:
            images = images.transpose(0, 2, 3, 1)
        if self._narrow:
            images = _narrowed(images, self._form.images)
        self._interpreter.set_tensor(self._form.images.index, images)
        self._interpreter.invoke()
        found = tuple(self._taken(output) for output in self._outputs)
        predictions: base.Outputs = found[0] if len(found) == 1 else found
        return predictions

    def _taken(self, output: litert_file.Tensor) -> npt.NDArray[Any]:
        """One output: real numbers in float32, whole ones without a scale as they are."""
        values: npt.NDArray[Any] = self._interpreter.get_tensor(output.index)
        if output.scaled or output.data_type == "float16":
            values = _widened(values, output)
        return values

    def executed_precision(self) -> base.ExecutedPrecision:
        """Operators by the type that they compute in, from the interpreter's own graph."""
        noted = litert_file.HALF_NOTE in self._path.read_bytes()
        if noted and cpu.detect().has_fp16:
            return base.ExecutedPrecision(
                reason="the file lets XNNPACK compute in float16, and it does not tell if it does"
            )
        taken, total = litert_file.taken_over(self._interpreter)
        return base.ExecutedPrecision(
            litert_file.count_types(self._interpreter),
            source=f"types of the interpreter's tensors; XNNPACK runs {taken} of {total}"
            " convolutions",
        )


def _narrowed(images: Any, tensor: litert_file.Tensor) -> Any:
    """Images in [0, 1] as the input's type keeps them."""
    import numpy as np

    if tensor.is_float:
        return images.astype(tensor.data_type)
    limits = np.iinfo(tensor.data_type)
    scaled = np.rint(images / np.float32(tensor.scale)) + tensor.zero_point
    return scaled.clip(limits.min, limits.max).astype(tensor.data_type)


def _widened(predictions: Any, tensor: litert_file.Tensor) -> Any:
    """Predictions in float32, from the output's type."""
    import numpy as np

    wide = predictions.astype(np.float32)
    return wide if tensor.is_float else (wide - tensor.zero_point) * np.float32(tensor.scale)


def _open(path: Path, *, threads: int, delegate: bool = True) -> Any:
    """An interpreter of a file. Raises LoadError, or UnavailableError without the runtime."""
    runtime = loading.runtime("ai_edge_litert.interpreter", REMEDY, called="ai_edge_litert")
    known = runtime.OpResolverType
    kernels = known.BUILTIN if delegate else known.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        return runtime.Interpreter(
            str(path), num_threads=threads, experimental_op_resolver_type=kernels
        )
    except Exception as error:
        raise base.LoadError(f"LiteRT refuses {path}: {_first_line(error)}") from error


def _allocate(
    path: Path, interpreter: Any, form: litert_file.Form, shape: tuple[int, int, int, int]
) -> None:
    """Plan the memory for images of a shape, and let XNNPACK take what it can. Raises LoadError."""
    batch, channels, height, width = shape
    own = (batch, height, width, channels) if form.channels_last else shape
    try:
        if None in form.images.shape:
            interpreter.resize_tensor_input(form.images.index, own)
        interpreter.allocate_tensors()
    except Exception as error:
        raise base.LoadError(f"LiteRT cannot prepare {path}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    """The first line of what the runtime said."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
