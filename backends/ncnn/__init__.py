"""ncnn: FP32 and FP16 graphs, converted by pnnx, on the processor and on Vulkan."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import base, loading, packages
from deploymark.backends.ends import unnamed
from deploymark.backends.foreign import facts, metadata_beside, the_file
from deploymark.backends.hardware import accelerators, half
from deploymark.backends.ncnn import convert as ncnn_convert
from deploymark.backends.ncnn import net as ncnn_net
from deploymark.backends.ncnn.files import (
    companions,
    image_size,
    read_graph,
    stored_precision,
    weights_file,
)
from deploymark.backends.one_array import require_one_array
from deploymark.backends.openmp import OpenMpBackend

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DEVICES = ("cpu", "vulkan")
PRECISIONS = ("fp32", "fp16")

NOT_OFFERED = {
    "bf16": "ncnn's bfloat16 stores every blob in it, the decode of boxes included, which then lie "
    "pixels off",
    "int8": "ncnn's wheel has no INT8 quantizer",
}

SHORT_TYPES = {32: "f32", 16: "f16", 8: "i8"}
"""A blob's bits an element as a data type. 16 bits are float16, as bfloat16 is always off."""

REMEDY = ncnn_net.REMEDY


LOADER = """\
import ncnn
import numpy as np

net = ncnn.Net()
net.opt.num_threads = $threads
half = "$precision" == "fp16"
net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = half
file = Path(__file__).with_name("$entry")
net.load_param(str(file))
net.load_model(str(file.with_suffix(".bin")))


def infer(images):
    with net.create_extractor() as extractor:
        extractor.input("in0", ncnn.Mat(images[0]).clone())
        return np.array(extractor.extract("out0")[1])[None]
"""


class NcnnBackend(OpenMpBackend):
    """Exports by way of TorchScript and pnnx, and runs a ``Net``."""

    name = "ncnn"
    export_packages = ("torch", "ultralytics", "pnnx")
    runtime_packages = ("ncnn",)
    runtime_modules = ("ncnn",)
    extra = "ncnn"
    loader = LOADER
    artifact_endings = ("_ncnn_model", ".param")

    def probe(self) -> base.Probe:
        """The processor is always served; Vulkan is where the system shows a driver."""
        version = packages.installed_version("ncnn")
        if version is None or packages.missing(["ncnn"]):
            return base.Probe.absent(self.name, REMEDY)
        missing = packages.missing(["torch", "pnnx"])
        return base.Probe.present(
            self.name, version, self._services(), missing=missing, remedy=REMEDY
        )

    def _services(self) -> dict[tuple[str, str], base.Service]:
        gpu = base.Service(served=True)
        if not accelerators.has_vulkan_driver():
            gpu = base.Service(
                served=False,
                reason="the system shows no Vulkan driver of a GPU",
                remedy="Install the GPU's Vulkan driver and the loader (libvulkan1).",
            )
        services = {
            ("cpu", "fp32"): base.Service(served=True),
            ("cpu", "fp16"): half.on_cpu("ncnn"),
        }
        services |= {("vulkan", precision): gpu for precision in PRECISIONS}
        for precision, reason in NOT_OFFERED.items():
            services |= {(device, precision): base.Service.never(reason) for device in DEVICES}
        return services

    def export(self, request: base.ExportRequest) -> base.Artifact:
        """Write ``model.ncnn.param`` and ``model.ncnn.bin``, the same for every batch and device.

        FP16 stores weights in 16 bits; what they are computed in is the session's choice.
        """
        if request.precision not in PRECISIONS:
            reason = NOT_OFFERED.get(request.precision, "")
            raise base.UnsupportedError(reason or f"ncnn has no {request.precision}")
        self.resolve_options(request.precision, request.options)
        require_one_array(self.name, request.detector.output, request.detector.spec)
        if request.detector.output.layout == "detections":
            raise base.UnsupportedError(
                "ncnn has neither top-k nor gather, which a head that gives reduced detections "
                "ends in",
                remedy=ncnn_convert.ONE_TO_MANY,
            )
        artifact = base.Artifact(request.folder, "model.ncnn.param")
        with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
            source = Path(folder, "model.torchscript")
            made = Path(folder, "made.ncnn.bin")
            ncnn_convert.write_torchscript(request.model(), source, request.imgsz)
            ncnn_convert.convert(
                source,
                artifact.path,
                made,
                size=request.imgsz,
                half=request.precision == "fp16",
            )
            artifact.path.with_suffix(".bin").write_bytes(made.read_bytes())
        return artifact

    def describe(self, path: Path, told: base.ReadAs = base.AS_SEEN) -> base.ArtifactFacts:
        """What a pair of files says of itself; its output's shape is told by one inference."""
        file = the_file(path, "*.param")
        layers = read_graph(file)
        weights = weights_file(file)
        size = image_size(file, layers)
        shape = (1, 3, size.height, size.width)
        metadata = metadata_beside(file.parent)
        precision = stored_precision(weights, layers)
        import numpy as np

        plain = base.LoadOptions(device="cpu", precision="fp32", threads=1, input_shape=shape)
        session = self.load(base.Artifact(file.parent, file.name), plain)
        output = np.shape(session.infer(np.zeros(shape, np.float32)))
        files = [file, weights, *(near for near in companions(file) if near.is_file())]
        return facts(
            base.Artifact(file.parent, file.name),
            files,
            # Images go through one by one, so any batch will do.
            unnamed([(None, *shape[1:])]),
            unnamed([output]),
            metadata,
            precision=precision,
            told=told,
        )

    def load(self, artifact: base.Artifact, options: base.LoadOptions) -> base.Session:
        """Open the pair of files on one device."""
        settings = self.resolve_runtime_options(options)
        require_one_array(self.name, options.output, options.spec)
        layers = read_graph(artifact.path)
        weights = weights_file(artifact.path)
        stored_precision(weights, layers)
        size = image_size(artifact.path, layers)
        found = (options.input_shape[0], 3, size.height, size.width)
        loading.require_shape(artifact.path, found, options)
        ncnn = loading.runtime("ncnn", REMEDY)
        net = ncnn_net.open_net(ncnn, artifact.path, weights, options, settings)
        ends = (net.input_names(), net.output_names())
        if [len(names) for names in ends] != [1, 1]:
            raise base.UnsupportedError(
                f"{artifact.path} has the inputs {', '.join(ends[0])} and the outputs "
                f"{', '.join(ends[1])}, ncnn is given one array and gives one here"
            )
        return NcnnSession(net, artifact.path, options)


class NcnnSession(base.Session):
    """A network of one input and one output, that takes one image after the other."""

    def __init__(self, net: Any, path: Path, options: base.LoadOptions) -> None:
        super().__init__(options.input_shape)
        import ncnn

        self._net = net
        self._path = path
        self._mat = ncnn.Mat
        self._input = net.input_names()[0]
        self._output = net.output_names()[0]
        self._predictions: npt.NDArray[np.float32] | None = None

    def infer_impl(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One run an image: ncnn reads it in place; the output array is reused.

        Newer versions of ncnn can hold a batch in one blob; that was no faster, so all are treated
        alike.
        """
        import numpy as np

        for index, image in enumerate(images):
            with self._net.create_extractor() as extractor:
                # A Mat does not keep its array alive; `images` does, as long as this runs.
                status = extractor.input(self._input, self._mat(image))
                if status == 0:
                    status, output = extractor.extract(self._output)
                if status != 0:
                    raise base.LoadError(f"ncnn cannot run {self._path} (it returned {status})")
                rows = np.array(output, copy=False)
                if self._predictions is None:
                    self._predictions = np.empty((len(images), *rows.shape), np.float32)
                self._predictions[index] = rows
        assert self._predictions is not None  # noqa: S101 - a batch has an image
        return self._predictions

    def settings(self) -> Mapping[str, base.Setting]:
        """The options of ncnn's network, and the threads it has."""
        return ncnn_net.told(self._net)

    def executed_precision(self) -> base.ExecutedPrecision:
        """Layers by the data type of what they put out, read in one inference of their own.

        ncnn stores a blob in the type it computes in. Blobs are kept for that run (``lightmode``
        off), so that each can be read as the next layer gets it.
        """
        import numpy as np

        counts: dict[str, int] = {}
        image = np.zeros(self.input_shape[1:], np.float32)
        with self._net.create_extractor() as extractor:
            extractor.set_light_mode(False)
            extractor.input(self._input, self._mat(image))
            for layer in self._net.layers():
                if layer.type == "Input":
                    continue
                # Type 1 hands the blob over as it is, type 0 widens it to float32 first.
                status, blob = extractor.extract(layer.tops[0], 1)
                if status != 0:
                    return base.ExecutedPrecision(
                        reason=f"ncnn does not give the blob of {layer.name} (it returned {status})"
                    )
                bits = blob.elembits()
                key = f"{layer.type}:{SHORT_TYPES.get(bits, f'{bits} bits')}"
                counts[key] = counts.get(key, 0) + 1
        return base.ExecutedPrecision(dict(sorted(counts.items())), source="blobs of one inference")
