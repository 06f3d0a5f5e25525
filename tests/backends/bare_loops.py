"""Bare loops: each runtime as its own documentation shows it, with nothing of Deploymark in it.

What a user writes to infer with an exported file on the processor: the plain Python interface, and
the runtime's own defaults for waiting, spinning, arenas, memory and layouts. Only the number of
threads and the arithmetic are set, as these are explicit in Deploymark. Each loop names the page
that it follows.

As a program it is one side of a live pair, the other one being Deploymark's worker::

    python bare_loops.py

reads a job from the first line of standard input (``Job``), answers with a line of JSON once it is
warm, and then times so many inferences for each ``{"iterations": n}``. It ends with its input.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.float32]
"""One batch: float32 (1, 3, size, size) in [0, 1]."""

Infer = Callable[[Images], Any]
"""One inference; what it returns reads as the raw predictions (``numpy.asarray``)."""

TUNING_VARIABLES = ("GOMP_", "KMP_", "MKL_", "OMP_", "OPENBLAS_")
"""How variables begin that make waiting, spinning and threads other than a runtime's defaults."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What a loop sets: threads of one inference, and the precision by Deploymark's name."""

    threads: int
    precision: str = "fp32"


def plain_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment as a fresh shell has it: without what tunes threads, and without Deploymark.

    Test suites and harnesses set such variables for their children.
    """
    ours = (*TUNING_VARIABLES, "DEPLOYMARK_", "PYTHONPATH")
    return {name: value for name, value in environment.items() if not name.startswith(ours)}


def torch(file: Path, options: Options) -> Infer:
    """https://docs.pytorch.org/docs/stable/export.html (torch.export.load), with inference mode and
    threads as https://docs.pytorch.org/docs/stable/generated/torch.set_num_threads.html.
    """
    import torch

    torch.set_num_threads(options.threads)
    model = torch.export.load(file).module()

    def infer(images: Images) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(images)).numpy()

    return infer


def torchscript(file: Path, options: Options) -> Infer:
    """https://docs.pytorch.org/docs/stable/generated/torch.jit.load.html and, as its page on
    deployment wants, https://docs.pytorch.org/docs/stable/generated/torch.jit.freeze.html.
    """
    import torch

    torch.set_num_threads(options.threads)
    model = torch.jit.freeze(torch.jit.load(file).eval())

    def infer(images: Images) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(images)).numpy()

    return infer


def aotinductor(file: Path, options: Options) -> Infer:
    """https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html (inference in Python:
    ``aoti_load_package``). Threads by the variable as well
    (https://docs.pytorch.org/docs/stable/threading_environment_variables.html): the package brings
    an OpenMP of its own, the compiler's, which torch.set_num_threads does not reach.
    """
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import torch
    import torch._inductor

    torch.set_num_threads(options.threads)
    model = torch._inductor.aoti_load_package(str(file))

    def infer(images: Images) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(images)).numpy()

    return infer


def onnxruntime(file: Path, options: Options) -> Infer:
    """https://onnxruntime.ai/docs/get-started/with-python.html, threads as
    https://onnxruntime.ai/docs/performance/tune-performance/threading.html: spinning is on there.
    """
    import onnxruntime

    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(
        str(file), session_options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name

    def infer(images: Images) -> Any:
        return session.run(None, {name: images})[0]

    return infer


def openvino(file: Path, options: Options) -> Infer:
    """https://docs.openvino.ai/2025/openvino-workflow/running-inference.html (a shared tensor,
    ``start_async`` and ``wait``), threads and precision as
    https://docs.openvino.ai/2025/openvino-workflow/running-inference/inference-devices-and-modes/cpu-device.html;
    hint, streams, pinning and hyper-threading are the plug-in's.

    The plugin computes float16 in bfloat16 where the processor has no such arithmetic, so there the
    float16 file is computed in float32, and an int8 file's float layers are, too.
    """
    import openvino as ov

    core = ov.Core()
    hint = {"bf16": "bf16", "fp16": "f16"}.get(options.precision, "f32")
    if hint == "f16" and "FP16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        hint = "f32"
    config = {"INFERENCE_NUM_THREADS": options.threads, "INFERENCE_PRECISION_HINT": hint}
    request = core.compile_model(str(file), "CPU", config).create_infer_request()

    def infer(images: Images) -> Any:
        request.set_input_tensor(ov.Tensor(array=images, shared_memory=True))
        request.start_async()
        request.wait()
        return request.get_output_tensor().data

    return infer


def litert(file: Path, options: Options) -> Infer:
    """https://ai.google.dev/edge/litert/inference (``Interpreter``), threads as
    https://www.tensorflow.org/api_docs/python/tf/lite/Interpreter.

    LiteRT's newer ``CompiledModel`` is what its own tool ``litert-benchmark`` times.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file), num_threads=options.threads)
    interpreter.allocate_tensors()
    image = interpreter.get_input_details()[0]["index"]
    predictions = interpreter.get_output_details()[0]["index"]

    def infer(images: Images) -> Any:
        interpreter.set_tensor(image, images)
        interpreter.invoke()
        return interpreter.get_tensor(predictions)

    return infer


def ncnn(file: Path, options: Options) -> Infer:
    """The ``model_ncnn.py`` that pnnx writes beside its models
    (https://github.com/Tencent/ncnn/wiki/use-ncnn-with-pytorch-or-onnx), threads and precision as
    https://github.com/Tencent/ncnn/wiki/faq (``net.opt``, before the model is loaded).
    """
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = options.threads
    half = options.precision == "fp16"
    net.opt.use_fp16_packed = half
    net.opt.use_fp16_storage = half
    net.opt.use_fp16_arithmetic = half
    net.load_param(str(file))
    net.load_model(str(file.with_suffix(".bin")))

    def infer(images: Images) -> Any:
        with net.create_extractor() as extractor:
            extractor.input("in0", ncnn.Mat(images[0]).clone())
            _, predictions = extractor.extract("out0")
            return np.array(predictions)[None]

    return infer


def mnn(file: Path, options: Options) -> Infer:
    """https://mnn-docs.readthedocs.io/en/latest/start/python.html (``load_module_from_file`` with a
    ``RuntimeManager``): the interface that MNN recommends, its older one being sessions.

    Precision there: 1 is high (float32), 2 is low (16 bits where the processor computes in them).
    """
    import MNN

    precision = 2 if options.precision == "fp16" else 1
    config = {"backend": 0, "numThread": options.threads, "precision": precision}
    manager = MNN.nn.create_runtime_manager((config,))
    net = MNN.nn.load_module_from_file(str(file), ["images"], ["output0"], runtime_manager=manager)

    def infer(images: Images) -> Any:
        variable = MNN.expr.const(images, list(images.shape), MNN.expr.NCHW)
        return net.forward([variable])[0].read()

    return infer


def paddle(file: Path, options: Options) -> Infer:
    """https://paddlepaddle.org.cn/inference/v2.3/quick_start/python_demo.html, with oneDNN and
    threads as https://paddlepaddle.org.cn/inference/v2.0/user_guides/inference_python_api.html.

    ``enable_memory_optim``, as there, ends in an error with Paddle 3's default executor.
    """
    from paddle import inference

    config = inference.Config(str(file), str(file.with_suffix(".pdiparams")))
    config.enable_mkldnn()
    config.set_cpu_math_library_num_threads(options.threads)
    predictor = inference.create_predictor(config)
    image = predictor.get_input_handle(predictor.get_input_names()[0])
    predictions = predictor.get_output_handle(predictor.get_output_names()[0])

    def infer(images: Images) -> Any:
        image.copy_from_cpu(images)
        predictor.run()
        return predictions.copy_to_cpu()

    return infer


def executorch(file: Path, options: Options) -> Infer:
    """https://docs.pytorch.org/executorch/stable/runtime-python-api-reference.html; threads by the
    one function that its Python binding has for them.
    """
    import torch
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    portable_lib._unsafe_reset_threadpool(options.threads)
    program = Runtime.get().load_program(file)
    forward = program.load_method("forward")

    def infer(images: Images) -> Any:
        return forward.execute((torch.from_numpy(images),))[0].numpy()

    return infer


def opencv(file: Path, options: Options) -> Infer:
    """https://docs.opencv.org/5.0/main_modules/dnn_engine_selection.html (the engine is left to
    OpenCV), threads by ``cv2.setNumThreads``.
    """
    import cv2

    cv2.setNumThreads(options.threads)
    net = cv2.dnn.readNetFromONNX(str(file))

    def infer(images: Images) -> Any:
        net.setInput(images)
        return net.forward()

    return infer


def iree(file: Path, options: Options) -> Infer:
    """https://iree.dev/reference/bindings/python/ (driver ``local-task``), the module mapped as
    https://iree-python-api.readthedocs.io/en/latest/ has it for large ones; threads by the flag
    that ``iree-run-module --help`` explains.
    """
    from iree import runtime

    runtime.flags.parse_flags(f"--task_topology_group_count={options.threads}")
    module = runtime.load_vm_flatbuffer_file(str(file), driver="local-task")
    function = module["main_graph"]

    def infer(images: Images) -> Any:
        return function(images).to_host()

    return infer


LOOPS: Mapping[str, Callable[[Path, Options], Infer]] = {
    "torch": torch,
    "torchscript": torchscript,
    "aotinductor": aotinductor,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "litert": litert,
    "ncnn": ncnn,
    "mnn": mnn,
    "paddle": paddle,
    "executorch": executorch,
    "opencv": opencv,
    "iree": iree,
}
"""By the backend's name: open the file of an artifact, and return what infers."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What the program is told: the artifact's file, and images as a float32 ``.npy`` of batches.

    ``output`` is where the predictions of each batch are written to (``.npy``), if anywhere.
    """

    backend: str
    file: str
    threads: int
    precision: str
    images: str
    warmup_s: float
    output: str | None = None


def burst(infer: Infer, batches: npt.NDArray[np.float32], iterations: int) -> list[int]:
    """Nanoseconds of each of so many inferences, on the batches in turn from the first."""
    times: list[int] = []
    for index in range(iterations):
        images = batches[index % len(batches)]
        before = time.perf_counter_ns()
        infer(images)
        times.append(time.perf_counter_ns() - before)
    return times


def warm_up(infer: Infer, batches: npt.NDArray[np.float32], seconds: float) -> list[int]:
    """Infer for so long, once for each batch at least; nanoseconds of the last inferences."""
    end = time.monotonic() + seconds
    while True:
        times = burst(infer, batches, len(batches))
        if time.monotonic() >= end:
            return times


@contextlib.contextmanager
def own_output() -> Iterator[IO[str]]:
    """The standard output for answers alone: what runtimes print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with answers:
        yield answers


def serve(commands: Iterator[str], answers: IO[str]) -> None:
    """Do the job in the first line, then a burst for each line."""
    job = Job(**json.loads(next(commands)))
    batches = np.load(job.images)
    infer = LOOPS[job.backend](Path(job.file), Options(job.threads, job.precision))
    if job.output is not None:
        # Copies: runtimes may give the same array again.
        predictions = [np.array(infer(images), np.float32) for images in batches]
        np.save(job.output, np.stack(predictions))
    times = warm_up(infer, batches, job.warmup_s)
    while True:
        answers.write(json.dumps({"latency_ns": times}) + "\n")
        answers.flush()
        command = next(commands, None)
        if command is None:
            return
        times = burst(infer, batches, json.loads(command)["iterations"])


if __name__ == "__main__":
    with own_output() as stream:
        serve(iter(sys.stdin), stream)
    # Without the runtimes' own ends, some of which hang or crash.
    os._exit(0)
