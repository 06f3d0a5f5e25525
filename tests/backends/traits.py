"""Where backends differ in what the contract tests may ask of them; one entry a backend."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Traits:
    """What is to be expected of one backend.

    ``convolutions`` is how many a fused YOLO11n has in ``executed_precision`` (None where nothing
    is known of it, or the runtime does not tell its layers, and then it must say why),
    ``tasks_a_thread`` how many system threads one more thread of inference makes (None where the
    pool does not show so), ``not_imported`` are modules that no worker of it may import besides
    torch, ``varying`` files whose bytes may differ between two exports of the same model,
    ``largest`` and ``mean`` errors (box in pixels, score) by precision where they are not the
    common ones, ``sizes`` the artifact's largest share of its FP32 size by precision alike,
    ``refused`` precisions that are served but whose export finds that the small detector cannot
    have them. Where ``slow_export`` (ten seconds and more) several images are tried in the first
    precision only.
    """

    convolutions: int | None = 88
    tasks_a_thread: int | None = 1
    not_imported: tuple[str, ...] = ("torch", "ultralytics", "onnx")
    varying: tuple[str, ...] = ()
    largest: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    mean: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    sizes: dict[str, float] = dataclasses.field(default_factory=dict)
    refused: frozenset[str] = frozenset()
    slow_export: bool = False


TRAITS: dict[str, Traits] = {
    # torch keeps a second pool of the same size beside OpenMP's.
    "torch": Traits(
        tasks_a_thread=2,
        not_imported=("ultralytics",),
        sizes={"bf16": 0.65},
        # Dynamic quantization covers Linear and recurrent layers, and a YOLO has none.
        refused=frozenset({"int8-dynamic"}),
    ),
    "torchscript": Traits(
        tasks_a_thread=2,
        not_imported=("ultralytics",),
        # Traced types are numbered on and on in one process.
        varying=("model.torchscript",),
    ),
    "aotinductor": Traits(
        tasks_a_thread=2,
        not_imported=("ultralytics",),
        # Its source quotes objects by their address.
        varying=("model.pt2",),
        sizes={"bf16": 0.75},
        slow_export=True,
    ),
    "onnxruntime": Traits(),
    "openvino": Traits(
        not_imported=("torch", "ultralytics", "onnx", "nncf", "openvino_telemetry"),
        # Nameless nodes are numbered on and on in one process, so weights only.
        varying=("model.xml",),
        sizes={"bf16": 1.01},
    ),
    "litert": Traits(
        not_imported=("torch", "ultralytics", "onnx", "jax", "tensorflow", "litert_torch"),
        slow_export=True,
    ),
    # Runs on macOS only. coremltools imports torch where it is installed, and Core ML chooses its
    # threads itself.
    "coreml": Traits(tasks_a_thread=None, not_imported=("ultralytics",)),
    "opencv": Traits(),
    # Its compiler makes matrix products of the 1 x 1 convolutions, and names pooling a convolution.
    "iree": Traits(convolutions=45, slow_export=True),
    "paddle": Traits(slow_export=True),
    "ncnn": Traits(),
    # Its binding takes and gives torch's tensors.
    "executorch": Traits(
        not_imported=("ultralytics", "onnx", "torchao", "executorch.exir"), slow_export=True
    ),
    "mnn": Traits(),
    # The example of docs/adding-a-backend.md.
    "pocket": Traits(convolutions=None),
}


def traits_of(name: str) -> Traits:
    """Those of a backend; of one that has no entry nothing particular is known."""
    return TRAITS.get(name, Traits(convolutions=None, tasks_a_thread=None))
