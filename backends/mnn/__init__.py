"""MNN: FP32 and FP16 files and files of 8-bit weights, on the processor."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import base, loading, packages
from deploymark.backends.ends import End, sizes, unnamed
from deploymark.backends.foreign import facts, metadata_from_json, the_file
from deploymark.backends.hardware import half
from deploymark.backends.mnn import convert as mnn_convert
from deploymark.backends.mnn import net as mnn_net
from deploymark.backends.one_array import require_one_array
from deploymark.backends.onnx.graph import onnx_file
from deploymark.backends.options import resolve_choices
from deploymark.backends.profile import walls

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PRECISIONS = ("fp32", "fp16", "int8-weights")

WEIGHT_OPTIONS: dict[str, tuple[Any, ...]] = {"asymmetric": (True, False)}
"""Options of an export with 8-bit weights and their values, the default first.

``asymmetric``: a zero point beside the scale of each output channel. Scores of a YOLO11n's objects
were 0.004 off in the mean with it and 0.033 without, all boxes 0.3 and 1.3 px; mAP50-95 on 100 COCO
photos did not tell the two apart (0.307, 0.313; FP32 0.310). Old runtimes cannot read it (the
converter's help)."""

NOT_OFFERED = {
    "bf16": "MNN's wheels compute float32 where bfloat16 is asked for",
    "int8": "MNN's static quantizer (mnnquant) aborts, and its wrapper calls home",
    "int8-dynamic": "MNN quantizes activations as it runs only to save memory (memory: low), and "
    "does not tell whether it did",
}

OPEN_SIZE = 320
"""Pixels; the size that a file which takes any is asked at for the shape of its output."""

REMEDY = mnn_net.REMEDY


LOADER = """\
import MNN

precision = 2 if "$precision" == "fp16" else 1
config = {"backend": 0, "numThread": $threads, "precision": precision}
manager = MNN.nn.create_runtime_manager((config,))
file = str(Path(__file__).with_name("$entry"))
net = MNN.nn.load_module_from_file(file, ["images"], ["output0"], runtime_manager=manager)


def infer(images):
    variable = MNN.expr.const(images, list(images.shape), MNN.expr.NCHW)
    return net.forward([variable])[0].read()
"""


class MnnBackend(base.Backend):
    """Exports by way of ONNX and MNN's converter, and runs a session of an ``Interpreter``."""

    name = "mnn"
    export_packages = ("torch", "ultralytics", "onnx", "MNN")
    runtime_packages = ("MNN",)
    runtime_modules = ("MNN",)
    extra = "mnn"
    loader = LOADER
    runtime_options = base.NO_OPTIONS
    artifact_endings = (".mnn",)

    def probe(self) -> base.Probe:
        """The processor; the wheels have no other device."""
        version = packages.installed_version("MNN")
        if version is None or packages.missing(["MNN"]):
            return base.Probe.absent(self.name, REMEDY)
        missing = packages.missing(["torch", "onnx"])
        services = {
            ("cpu", "fp32"): base.Service(served=True),
            ("cpu", "fp16"): half.on_cpu("MNN"),
            ("cpu", "int8-weights"): base.Service(served=True),
        }
        for precision, reason in NOT_OFFERED.items():
            services["cpu", precision] = base.Service.never(reason)
        return base.Probe.present(self.name, version, services, missing=missing, remedy=REMEDY)

    def resolve_options(self, precision: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """8-bit weights take ``WEIGHT_OPTIONS``; other precisions have no options."""
        if precision != "int8-weights":
            return super().resolve_options(precision, options)
        return resolve_choices(self.name, WEIGHT_OPTIONS, options)

    def export(self, request: base.ExportRequest) -> base.Artifact:
        """Write ``model.mnn``; the same request gives the same bytes.

        FP16 and 8-bit weights are ways of storing; every weight of a convolution is stored so, the
        head's included.
        """
        if request.precision not in PRECISIONS:
            reason = NOT_OFFERED.get(request.precision, "")
            raise base.UnsupportedError(reason or f"mnn has no {request.precision}")
        options = self.resolve_options(request.precision, request.options)
        require_one_array(self.name, request.detector.output, request.detector.spec)
        artifact = base.Artifact(request.folder, "model.mnn")
        arguments: tuple[str, ...] = ()
        model = request.model()
        if request.precision == "fp16":
            mnn_convert.round_weights(model)
            arguments = ("--fp16",)
        elif request.precision == "int8-weights":
            arguments = ("--weightQuantBits", "8")
            if options["asymmetric"]:
                arguments += ("--weightQuantAsymmetric",)
        with onnx_file(request, model) as source:
            mnn_convert.convert(source, artifact.path, arguments)
        return artifact

    def describe(self, path: Path, told: base.ReadAs = base.AS_SEEN) -> base.ArtifactFacts:
        """What a file says of itself, Ultralytics' notes (its ``bizCode``) included."""
        file = the_file(path, "*.mnn")
        mnn = mnn_net.import_mnn()
        plain = base.LoadOptions(
            device="cpu", precision="fp32", threads=1, input_shape=(1, 3, 0, 0)
        )
        interpreter, session = mnn_net.open_session(mnn, file, plain, mnn_net.DEBUG)
        image = mnn_net.the_input(interpreter, session, file)
        shape = mnn_net.image_shape(mnn, image)
        if None in sizes(shape):
            known = zip(sizes(shape), (1, 3, OPEN_SIZE, OPEN_SIZE), strict=True)
            mnn_net.resize(
                mnn, interpreter, session, image, [size or trial for size, trial in known]
            )
        outputs = [
            End(name, sizes(tensor.getShape()))
            for name, tensor in mnn_net.outputs_of(interpreter, session).items()
        ]
        info = mnn.nn.load_module_from_file(str(file), [], []).get_info()
        metadata = metadata_from_json(str(info.get("bizCode", "")))
        # Its INT8 are 8-bit weights under float arithmetic.
        stored = "int8-weights" if metadata.precision == "int8" else None
        artifact = base.Artifact(file.parent, file.name)
        given = unnamed([shape])
        found = facts(artifact, [file], given, outputs, metadata, precision=stored, told=told)
        require_one_array(self.name, found.output)
        return found

    def load(self, artifact: base.Artifact, options: base.LoadOptions) -> base.Session:
        """Open the file with ``options.threads`` threads."""
        self.resolve_runtime_options(options)
        require_one_array(self.name, options.output, options.spec)
        loading.require_file(artifact.path)
        mnn = mnn_net.import_mnn()
        loading.require_cpu(self.name, options)
        return MnnSession(mnn, artifact.path, options)


class MnnSession(base.Session):
    """A session of one input and one output, and a tensor for each in plain row-major order."""

    def __init__(self, mnn: Any, path: Path, options: base.LoadOptions) -> None:
        super().__init__(options.input_shape)
        self._mnn = mnn
        self._path = path
        self._options = options
        self._interpreter, self._session = mnn_net.open_session(mnn, path, options, mnn_net.RELEASE)
        self._image = mnn_net.fitted_input(mnn, self._interpreter, self._session, path, options)
        outputs = mnn_net.outputs_of(self._interpreter, self._session)
        if len(outputs) != 1:
            raise base.UnsupportedError(
                f"{path} has the outputs {', '.join(outputs)}, mnn gives one here"
            )
        (self._output,) = outputs.values()
        self._given = mnn_net.host_tensor(mnn, options.input_shape)
        self._taken = mnn_net.host_tensor(mnn, self._output.getShape())
        # MNN's own memory goes with its tensor, whoever still has a view into it.
        self._predictions: npt.NDArray[np.float32] = self._taken.getNumpyData().copy()

    def infer_impl(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One run; images are copied into MNN's own tensor, the output array is reused."""
        self._given.getNumpyData()[...] = images
        self._image.copyFrom(self._given)
        status = self._interpreter.runSession(self._session)
        if status != 0:
            raise base.LoadError(f"MNN cannot run {self._path} (it returned {status})")
        self._output.copyToHostTensor(self._taken)
        self._predictions[...] = self._taken.getNumpyData()
        return self._predictions

    def profile(
        self, images: Sequence[npt.NDArray[Any]], *, warmup: int, inferences: int
    ) -> base.Profile:
        """What each operator took between the callbacks before and after it.

        In a session alike this one that has callbacks; each operator waits for its end there.
        """
        interpreter, session = mnn_net.open_session(
            self._mnn, self._path, self._options, mnn_net.DEBUG
        )
        image = mnn_net.fitted_input(self._mnn, interpreter, session, self._path, self._options)
        begun_ns: list[int] = [0]
        layers: list[base.Layer] = []

        def before(_tensors: Any, _operator: Any) -> bool:
            begun_ns[0] = time.perf_counter_ns()
            return True

        def after(_tensors: Any, operator: Any) -> bool:
            ms = (time.perf_counter_ns() - begun_ns[0]) / 1e6
            name = str(operator.getName())
            source = name.partition("_output_")[0]
            layers.append(base.Layer(name, str(operator.getType()), ms, sources=(source,)))
            return True

        def infer(index: int) -> None:
            layers.clear()
            self._given.getNumpyData()[...] = images[index % len(images)]
            image.copyFrom(self._given)
            interpreter.runSessionWithCallBackInfo(session, before, after)

        walls(infer, warmup)
        samples = []
        for index in range(inferences):
            (wall_ms,) = walls(infer, 1, first=index)
            samples.append(base.Sample(wall_ms, tuple(layers)))
        return base.Profile(tuple(samples), source="MNN's callbacks around each operator")

    def executed_precision(self) -> base.ExecutedPrecision:
        """Convolutions and matrix products by the type that the values they put out fit into.

        MNN declares every tensor as float32, also where it computes in 16 bits, so the values tell:
        they come from one inference of noise, in a session alike this one that has callbacks.
        """
        import numpy as np

        mnn, counts = self._mnn, dict[str, int]()
        interpreter, session = mnn_net.open_session(mnn, self._path, self._options, mnn_net.DEBUG)
        image = mnn_net.fitted_input(mnn, interpreter, session, self._path, self._options)
        noise = mnn_net.host_tensor(mnn, self.input_shape)
        noise.getNumpyData()[...] = np.random.default_rng(0).random(self.input_shape, np.float32)
        image.copyFrom(noise)

        def count(tensors: Any, operator: Any) -> bool:
            kind = operator.getType()
            if "Conv" in kind or "MatMul" in kind:
                values = mnn_net.host_tensor(mnn, tensors[0].getShape())
                tensors[0].copyToHostTensor(values)
                key = f"{kind}:{value_type(values.getNumpyData())}"
                counts[key] = counts.get(key, 0) + 1
            return True

        interpreter.runSessionWithCallBackInfo(session, lambda *_: True, count)
        if not counts:
            return base.ExecutedPrecision(reason="MNN called back for no convolution")
        return base.ExecutedPrecision(
            dict(sorted(counts.items())), source="values that each operator put out"
        )


def value_type(values: npt.NDArray[np.float32]) -> str:
    """``bf16``, ``f16`` or ``f32``: the smallest type that holds all these values exactly."""
    import numpy as np

    if not (np.ascontiguousarray(values).view(np.uint32) & 0xFFFF).any():
        return "bf16"
    with np.errstate(over="ignore"):
        return "f16" if (values.astype(np.float16) == values).all() else "f32"
