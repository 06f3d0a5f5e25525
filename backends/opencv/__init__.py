"""OpenCV's DNN module: FP32 ONNX files on the processor, read by OpenCV itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import base, loading, packages
from deploymark.backends.foreign import facts, read_metadata, the_file
from deploymark.backends.one_array import require_one_array
from deploymark.backends.onnx import wire as onnx_wire
from deploymark.backends.onnx.content import files_of, read_content
from deploymark.backends.onnx.graph import write_onnx
from deploymark.backends.profile import walls

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DISTRIBUTIONS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
"""Wheels of OpenCV; they all hold the DNN module and exclude each other."""

FIRST_MAJOR = 5
"""The version whose DNN module has two engines to choose from, and tells what it runs."""

REMEDY = "pip install 'deploymark[opencv]'"

ENGINES = {"new": "ENGINE_NEW", "classic": "ENGINE_CLASSIC"}
"""Values of the option ``engine``, the default first. ``cv2.dnn.ENGINE_AUTO`` tries them in this
order and does not tell which it took, so it is not offered."""

ONE_PRECISION = (
    "OpenCV's DNN computes float files in float32 on the processor; Deploymark gives it no other"
)

SHORT_TYPES = {
    "32F": "f32",
    "16F": "f16",
    "16BF": "bf16",
    "64F": "f64",
    "8S": "i8",
    "8U": "u8",
    "32S": "i32",
    "64S": "i64",
    "BOOL": "bool",
    "Bool": "bool",
}
"""OpenCV's names of element types, as they stand between ``CV_`` and ``C1``."""

LAYER = re.compile(
    r"^\s*// op #\d+\n\s*(\w+) \{\n(.*?)(?=^\s*// op #|\Z)", re.DOTALL | re.MULTILINE
)
ELEMENT = re.compile(r"// <(?:Input|Temp|Output)> CV_(\w+)C\d")


RUNTIME_OPTIONS: dict[str, tuple[base.Setting, ...]] = {
    "engine": tuple(ENGINES),
    "winograd": (True, False),
}
"""Runtime options and their values, OpenCV's own defaults first. ``engine``: ``new``, the graph
engine of OpenCV 5, or ``classic``, that of OpenCV 4. ``winograd``: transformed 3 x 3 convolutions,
faster and a little less exact."""


LOADER = """\
import cv2

cv2.setNumThreads($threads)
net = cv2.dnn.readNetFromONNX(str(Path(__file__).with_name("$entry")))


def infer(images):
    net.setInput(images)
    return net.forward()
"""


class OpenCvBackend(base.Backend):
    """Exports through ``torch.onnx`` and runs a ``cv2.dnn.Net``."""

    name = "opencv"
    export_packages = ("torch", "ultralytics", "onnx")
    runtime_packages = DISTRIBUTIONS
    runtime_modules = ("cv2",)
    extra = "opencv"
    loader = LOADER
    runtime_options = RUNTIME_OPTIONS
    artifact_endings = (".onnx",)

    def probe(self) -> base.Probe:
        """FP32 on the processor, from OpenCV 5 on."""
        version = packages.installed_version(*DISTRIBUTIONS)
        if version is None or packages.missing(["cv2"]):
            return base.Probe.absent(self.name, REMEDY)
        if int(version.partition(".")[0]) < FIRST_MAJOR:
            return base.Probe(
                self.name,
                installed=False,
                version=version,
                reason=f"OpenCV {version} cannot choose its engine, {FIRST_MAJOR}.0 can",
                remedy=REMEDY,
            )
        missing = packages.missing(["torch", "onnx"])
        services = {("cpu", "fp32"): base.Service(served=True)}
        services |= {
            ("cpu", precision): base.Service.never(ONE_PRECISION)
            for precision in ("fp16", "bf16", "int8")
        }
        return base.Probe.present(self.name, version, services, missing=missing, remedy=REMEDY)

    def export(self, request: base.ExportRequest) -> base.Artifact:
        """Write ``model.onnx``; the same request gives the same bytes."""
        if request.precision != "fp32":
            raise base.UnsupportedError(f"opencv has no {request.precision}: {ONE_PRECISION}")
        self.resolve_options(request.precision, request.options)
        require_one_array(self.name, request.detector.output, request.detector.spec)
        artifact = base.Artifact(request.folder, "model.onnx")
        write_onnx(request.model(), artifact.path, batch=request.batch, imgsz=request.imgsz)
        return artifact

    def describe(self, path: Path, told: base.ReadAs = base.AS_SEEN) -> base.ArtifactFacts:
        """What an ONNX file says of itself; weights in files beside it belong to it."""
        file = the_file(path, "*.onnx")
        header = onnx_wire.read_header(file)
        if len(header.inputs) == 1 and header.inputs[0].element != onnx_wire.FLOAT:
            raise base.LoadError(
                f"{file} does not take one float32 image, as OpenCV gives it",
                remedy="onnxruntime and openvino read files that take bytes or float16.",
            )
        content = read_content(file)
        found = facts(
            base.Artifact(file.parent, file.name),
            files_of(file, content),
            onnx_wire.ends(header.inputs),
            onnx_wire.ends(header.outputs),
            read_metadata(header.metadata),
            precision=content.precision,
            told=told,
        )
        require_one_array(self.name, found.output, found.spec)
        return found

    def load(self, artifact: base.Artifact, options: base.LoadOptions) -> base.Session:
        """Read the file with one engine; no other one is tried if it fails."""
        settings = self.resolve_runtime_options(options)
        require_one_array(self.name, options.output, options.spec)
        chosen = str(settings["engine"])
        header = onnx_wire.read_header(artifact.path)
        loading.require_cpu(self.name, options)
        cv2 = _import_opencv()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        cv2.ocl.setUseOpenCL(False)
        cv2.setNumThreads(options.threads)
        engine = getattr(cv2.dnn, ENGINES[chosen])
        try:
            net = cv2.dnn.readNetFromONNX(str(artifact.path), engine=engine)
        except cv2.error as error:
            raise base.LoadError(
                f"OpenCV's {chosen} engine refuses {artifact.path}: {error.err}"
            ) from error
        if len(header.inputs) != 1 or header.inputs[0].element != onnx_wire.FLOAT:
            raise base.LoadError(
                f"{artifact.path} does not take one float32 image, as OpenCV gives it"
            )
        image = header.inputs[0]
        loading.require_shape(artifact.path, image.shape, options)
        if chosen == "classic":  # the new one has no other target, and says so
            net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
            net.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)
        net.enableWinograd(settings["winograd"])
        return OpenCvSession(net, options, chosen, artifact.path)


class OpenCvSession(base.Session):
    """A network of one input and one output."""

    def __init__(self, net: Any, options: base.LoadOptions, engine: str, path: Path) -> None:
        super().__init__(options.input_shape)
        import cv2

        self._net = net
        self._engine = engine
        self._path = path
        self._error = cv2.error

    def infer_impl(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One forward; OpenCV copies the input, and the output is its own new array."""
        try:
            self._net.setInput(images)
            predictions: npt.NDArray[np.float32] = self._net.forward()
        except self._error as error:
            raise base.LoadError(
                f"OpenCV's {self._engine} engine cannot run {self._path}: {error.err}"
            ) from error
        return predictions

    def profile(
        self, images: Sequence[npt.NDArray[Any]], *, warmup: int, inferences: int
    ) -> base.Profile:
        """What each layer took, by ``cv2.dnn.Net.getPerfProfile``."""
        import cv2

        def infer(index: int) -> object:
            return self.infer_impl(images[index % len(images)])

        walls(infer, warmup)
        self._net.setProfilingMode(cv2.dnn.DNN_PROFILE_DETAILED)
        ticks_per_ms = cv2.getTickFrequency() / 1e3
        # The classic engine's layer 0 is the input, which has a number and no time.
        first = int(self._engine == "classic")
        samples = []
        for index in range(inferences):
            (wall_ms,) = walls(infer, 1, first=index)
            _, ticks = self._net.getPerfProfile()
            found = (self._net.getLayer(number + first) for number in range(len(ticks)))
            samples.append(
                base.Sample(
                    wall_ms,
                    tuple(
                        base.Layer(
                            layer.name,
                            layer.type,
                            float(taken) / ticks_per_ms,
                            sources=(layer.name.removeprefix("onnx_node!"),),
                        )
                        for layer, taken in zip(found, ticks, strict=True)
                    ),
                )
            )
        return base.Profile(tuple(samples), source="OpenCV's profile of its layers")

    def executed_precision(self) -> base.ExecutedPrecision:
        """Layers by the type of their first input, from the new engine's text of its graph."""
        if self._engine != "new":
            return base.ExecutedPrecision(
                reason="OpenCV's classic engine does not tell the data types of its layers"
            )
        return base.ExecutedPrecision(layers(self._net.dump()), source="dump of the engine's graph")


def layers(dump: str) -> Mapping[str, int]:
    """Layers by type, as ``"Conv2:f32"``, from what ``cv2.dnn.Net.dump`` writes.

    A layer's data type is that of its first operand that is not a constant.
    """
    counts: dict[str, int] = {}
    for operator, body in LAYER.findall(dump):
        element = ELEMENT.search(body)
        if element is None:
            continue
        key = f"{operator}:{SHORT_TYPES.get(element[1], element[1].lower())}"
        counts[key] = counts.get(key, 0) + 1
    return dict(sorted(counts.items()))


def _import_opencv() -> Any:
    """OpenCV, if it is one that this module knows. Raises UnavailableError."""
    cv2 = loading.runtime("cv2", REMEDY, called="OpenCV")
    if not hasattr(cv2.dnn, "ENGINE_NEW"):
        raise base.UnavailableError(
            f"OpenCV {cv2.__version__} cannot choose its engine, {FIRST_MAJOR}.0 can",
            remedy=REMEDY,
        )
    return cv2
