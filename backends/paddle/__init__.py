"""Paddle Inference: FP32 programs on the processor, with and without oneDNN, and on NVIDIA GPUs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import base, loading, packages
from deploymark.backends.ends import unnamed
from deploymark.backends.exporting import quiet
from deploymark.backends.foreign import METADATA_FILE, facts, metadata_beside
from deploymark.backends.hardware import accelerators
from deploymark.backends.one_array import require_one_array
from deploymark.backends.openmp import OpenMpBackend
from deploymark.backends.paddle import convert as paddle_convert
from deploymark.backends.paddle import program as paddle_program

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DISTRIBUTIONS = ("paddlepaddle-gpu", "paddlepaddle")
"""Builds of Paddle; they exclude each other."""

REMEDY = "pip install 'deploymark[paddle]'"

ONE_PRECISION = "Deploymark runs Paddle's programs in FP32 only"

GPU_POOL_MB = 64
"""First size of the allocator's pool on a GPU; it grows as needed."""

ONEDNN_CACHE = 10
"""Shapes whose oneDNN kernels are kept, Paddle's own default; a session has one shape."""

KINDS = {"f32": "float32", "f16": "float16"}
"""Element types of images that programs take, as numpy has them."""


LOADER = """\
from paddle import inference

file = Path(__file__).with_name("$entry")
config = inference.Config(str(file), str(file.with_suffix(".pdiparams")))
config.enable_mkldnn()
config.set_cpu_math_library_num_threads($threads)
predictor = inference.create_predictor(config)
image = predictor.get_input_handle(predictor.get_input_names()[0])
predictions = predictor.get_output_handle(predictor.get_output_names()[0])


def infer(images):
    image.copy_from_cpu(images)
    predictor.run()
    return predictions.copy_to_cpu()
"""


class PaddleBackend(OpenMpBackend):
    """Exports with X2Paddle and runs a predictor of Paddle Inference."""

    name = "paddle"
    export_packages = ("torch", "ultralytics", "paddlepaddle", "paddlepaddle-gpu", "x2paddle")
    runtime_packages = DISTRIBUTIONS
    runtime_modules = ("paddle.inference",)
    extra = "paddle"
    loader = LOADER
    artifact_endings = ("_paddle_model",)

    def probe(self) -> base.Probe:
        """Told from the installed distribution: its name says whether it was built with CUDA."""
        version = packages.installed_version(*DISTRIBUTIONS)
        if version is None or packages.missing(["paddle"]):
            return base.Probe.absent(self.name, REMEDY)
        missing = packages.missing(["torch", "x2paddle", "six", "setuptools"])
        return base.Probe.present(
            self.name, version, self._services(), missing=missing, remedy=REMEDY
        )

    def _services(self) -> dict[tuple[str, str], base.Service]:
        if packages.installed_version("paddlepaddle-gpu") is None:
            gpu = base.Service(
                served=False,
                reason="this build of Paddle has no CUDA",
                remedy="Install paddlepaddle-gpu in place of paddlepaddle.",
            )
        elif accelerators.has_nvidia_gpu():
            gpu = base.Service(served=True)
        else:
            gpu = base.Service(served=False, reason="no NVIDIA driver is loaded")
        services = {("cpu", "fp32"): base.Service(served=True), ("cuda", "fp32"): gpu}
        none = base.Service.never(ONE_PRECISION)
        return services | {
            (device, precision): none
            for device in ("cpu", "cuda")
            for precision in ("fp16", "bf16", "int8")
        }

    def export(self, request: base.ExportRequest) -> base.Artifact:
        """Write ``model.json`` and ``model.pdiparams``; the same request gives the same bytes."""
        if request.precision != "fp32":
            raise base.UnsupportedError(f"paddle has no {request.precision}: {ONE_PRECISION}")
        self.resolve_options(request.precision, request.options)
        require_one_array(self.name, request.detector.output, request.detector.spec)
        if request.detector.output.layout == "detections":
            raise base.UnsupportedError(
                "X2Paddle cannot convert a one-to-one head: it has no choice of the best places",
                remedy="Take the model's one-to-many head (head: one-to-many).",
            )
        paddle_convert.convert(request.model(), request.folder, request.input_shape)
        return base.Artifact(request.folder, paddle_convert.FILES[0])

    def describe(self, path: Path, told: base.ReadAs = base.AS_SEEN) -> base.ArtifactFacts:
        """What a folder of Paddle's files says of itself, Ultralytics' notes included."""
        if not path.exists():
            raise base.LoadError(f"there is no file {path}")
        found = sorted(file.with_suffix(".json") for file in path.rglob("*.pdiparams"))
        if len(found) != 1:
            raise base.LoadError(f"{path} holds {len(found)} files *.pdiparams, not one")
        program = paddle_program.read_program(found[0])
        # X2Paddle leaves its code and the weights for training beside them.
        shipped = (found[0], found[0].with_suffix(".pdiparams"), path / METADATA_FILE)
        if len(program.inputs) != 1 or len(program.outputs) != 1:
            raise base.UnsupportedError(
                f"{path} has {len(program.inputs)} inputs and {len(program.outputs)} outputs, "
                "paddle is given one array and gives one here",
                remedy="Convert it to ONNX with paddle2onnx: onnxruntime measures that.",
            )
        return facts(
            base.Artifact(path, found[0].relative_to(path).as_posix()),
            [file for file in shipped if file.is_file()],
            unnamed([program.inputs[0].shape]),
            unnamed([output.shape for output in program.outputs]),
            metadata_beside(path),
            precision="fp32" if {value.element for value in program.weights} == {"f32"} else None,
            told=told,
        )

    def runtime_choices(self, options: base.LoadOptions) -> Mapping[str, tuple[base.Setting, ...]]:
        """``onednn``: oneDNN's kernels, in place of Paddle's own; and ``wait``. Of the CPU.

        Paddle's documentation has a user of the CPU switch oneDNN on.
        """
        onednn = (True, False) if options.device == "cpu" else (False,)
        return {"onednn": onednn, **super().runtime_choices(options)}

    def load(self, artifact: base.Artifact, options: base.LoadOptions) -> base.Session:
        """Optimise the program for one device and make its predictor."""
        onednn = bool(self.resolve_runtime_options(options)["onednn"])
        require_one_array(self.name, options.output, options.spec)
        program = paddle_program.read_program(artifact.path)
        weights = artifact.path.with_suffix(".pdiparams")
        paddle_program.require_whole(weights, program)
        image = program.inputs[0] if len(program.inputs) == 1 else None
        if image is None or image.element not in KINDS or len(program.outputs) != 1:
            raise base.LoadError(f"{artifact.path} does not make one output of one float image")
        loading.require_shape(artifact.path, image.shape, options)
        with quiet():
            inference = loading.runtime("paddle.inference", REMEDY, called="paddle")
        _require_device(options.device)
        files = (str(artifact.path), str(weights))
        try:
            predictor = inference.create_predictor(_config(inference, files, options, onednn))
        except Exception as error:
            raise base.LoadError(f"Paddle refuses {artifact.path}: {_first_line(error)}") from error
        form = (files, options, onednn)
        return PaddleSession(inference, predictor, form, KINDS[image.element])


class PaddleSession(base.Session):
    """A predictor and the handles of its one input and one output."""

    def __init__(
        self,
        inference: Any,
        predictor: Any,
        form: tuple[tuple[str, str], base.LoadOptions, bool],
        kind: str,
    ) -> None:
        super().__init__(form[1].input_shape)
        self._inference = inference
        self._predictor = predictor
        self._form = form
        self._kind = kind
        self._input = predictor.get_input_handle(predictor.get_input_names()[0])
        self._output = predictor.get_output_handle(predictor.get_output_names()[0])

    def infer_impl(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One run; the input is copied into Paddle's tensor, the output out of it."""
        import numpy as np

        self._input.copy_from_cpu(images.astype(self._kind, copy=False))
        self._predictor.run()
        output = self._output.copy_to_cpu()
        predictions: npt.NDArray[np.float32] = output.astype(np.float32, copy=False)
        return predictions

    def executed_precision(self) -> base.ExecutedPrecision:
        """Operators by the type of their result, from the program that Paddle's passes made.

        Paddle writes it while it makes a predictor, so one more is made, and thrown away.
        """
        with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
            config = _config(self._inference, *self._form)
            config.enable_save_optim_model(True)  # noqa: FBT003 - a C++ function
            config.set_optim_cache_dir(folder)
            self._inference.create_predictor(config)
            written = sorted(Path(folder).glob("*.json"))
            if len(written) != 1:
                return base.ExecutedPrecision(reason="Paddle did not write its optimised program")
            program = paddle_program.read_program(written[0])
        return base.ExecutedPrecision(program.operators, source="optimised program")


def _config(
    inference: Any,
    files: tuple[str, str],
    options: base.LoadOptions,
    onednn: bool,  # noqa: FBT001
) -> Any:
    """``Config`` with everything that decides speed spelled out."""
    config = inference.Config(*files)
    config.disable_glog_info()
    config.enable_new_ir(True)  # noqa: FBT003 - C++ functions without keywords, here and below
    config.enable_new_executor(True)  # noqa: FBT003
    config.switch_ir_optim(True)  # noqa: FBT003
    config.enable_memory_optim(True)  # noqa: FBT003
    if options.device == "cuda":
        config.enable_use_gpu(GPU_POOL_MB, 0, inference.PrecisionType.Float32)
    else:
        config.disable_gpu()
        config.set_cpu_math_library_num_threads(options.threads)
    if onednn:
        config.enable_mkldnn()
        config.set_mkldnn_cache_capacity(ONEDNN_CACHE)
    else:
        config.disable_mkldnn()
    return config


def _require_device(device: str) -> None:
    """Raise UnavailableError unless this build of Paddle can use the device."""
    import paddle

    if device == "cuda" and not paddle.device.is_compiled_with_cuda():
        raise base.UnavailableError(
            "this build of Paddle has no CUDA",
            remedy="Install paddlepaddle-gpu in place of paddlepaddle.",
        )
    if device == "cuda" and not paddle.device.cuda.device_count():
        raise base.UnavailableError(
            "Paddle finds no CUDA device", remedy="Check the driver with nvidia-smi."
        )
    if device not in ("cpu", "cuda"):
        raise base.UnavailableError(f"paddle has no device {device!r} here")


def _first_line(error: Exception) -> str:
    """A Paddle exception without its stack of C++ functions."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("---", "C++", "Error Message"))]
    return next(iter(said), type(error).__name__)
