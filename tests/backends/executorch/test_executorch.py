from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends import executorch
from deploymark.backends.base import Artifact, ExportError, LoadError, LoadOptions, UnsupportedError
from deploymark.backends.executorch import lower as executorch_lower
from deploymark.backends.executorch import trace as executorch_trace
from deploymark.backends.layout import ReadAs
from deploymark.backends.onnx.graph import quiet

HEAD = b"<\0\0\0ET12eh00" + (32).to_bytes(4, "little")
IMGSZ = 32
METADATA = "task: detect\nstride: 32\nnames:\n  0: cat\n  1: dog\nargs:\n  batch: 1\n"


def event(name: str) -> bytes:
    text = name.encode()
    return len(text).to_bytes(4, "little") + text + b"\0\0\0"


def test_operators_are_counted_by_the_type_they_compute_in() -> None:
    names = [
        "Convolution (NHWC, F32) IGEMM #1",
        "Convolution (NHWC, F32) DWConv #12",
        "Convolution (NHWC, QC8) IGEMM #1",
        "Fully Connected (NC, QS8, QC8W) GEMM #3",
        "Fully Connected (NC, QD8, F32, QC8W) GEMM #1",
        "Fully Connected (NC, F32, QC8W) GEMM #1",
        "Batch Matrix Multiply (NC, F32) GEMM #1",
        "Transpose (ND, X8) #4",
        "Sigmoid (NC) #4",
        "native_call_split_with_sizes_copy.out",
    ]
    assert executorch_trace.layers(b"\x08\0\0\0ED00" + b"".join(map(event, names))) == {
        "Batch Matrix Multiply:f32": 1,
        "Convolution 1x1 or Fully Connected:f32": 1,
        "Convolution 1x1 or Fully Connected:i8": 2,
        "Convolution:f32": 2,
        "Convolution:i8": 1,
    }


def test_int8_options_are_explicit() -> None:
    backend = executorch.ExecuTorchBackend()
    assert backend.resolve_options("int8", {}) == {"per_channel": True, "observer": "histogram"}
    given = {"per_channel": False, "observer": "minmax"}
    assert backend.resolve_options("int8", given) == given
    assert backend.resolve_options("fp32", {}) == {}
    with pytest.raises(UnsupportedError, match="observer"):
        backend.resolve_options("int8", {"observer": "entropy"})


@pytest.mark.usefixtures("all_installed")
def test_dynamic_int8_does_not_exist_and_says_why() -> None:
    service = executorch.ExecuTorchBackend().probe().service("cpu", "int8-dynamic")
    assert not service.served
    assert not service.exists
    assert "XNNPACK" in service.reason


@pytest.mark.parametrize(
    ("sizes", "wanted"), [((64, 0, 0), None), ((64, 64, 900), 964), ((999, 0, 0), 999)]
)
def test_a_file_is_as_long_as_its_header_says(
    tmp_path: Path, sizes: tuple[int, int, int], wanted: int | None
) -> None:
    file = tmp_path / "model.pte"
    head = HEAD + b"".join(size.to_bytes(8, "little") for size in sizes)
    file.write_bytes(head.ljust(64, b"\0"))
    if wanted is None:
        executorch._check_head(file)
        return
    with pytest.raises(LoadError, match=rf"model\.pte is cut off: it has 64 of {wanted} bytes"):
        executorch._check_head(file)


def test_another_kind_of_file_is_no_program(tmp_path: Path) -> None:
    file = tmp_path / "model.pte"
    file.write_bytes(b"PK\x03\x04" * 99)
    with pytest.raises(LoadError, match=r"model\.pte is no ExecuTorch program"):
        executorch._check_head(file)


@pytest.mark.parametrize(
    ("message", "words"),
    [("Failed to load program, error: 0x:23", "invalid program"), ("no code", "no code")],
)
def test_codes_are_told_in_words(message: str, words: str) -> None:
    assert words in executorch._reason(RuntimeError(message))


def small_detector() -> Any:
    """Boxes and scores of 16 places, from two convolutions and a split."""
    import torch

    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cv2 = torch.nn.Conv2d(4, 6, 1)

        def forward(self, x: Any) -> Any:
            boxes, scores = self.cv2(x).flatten(2).split((4, 2), 1)
            return torch.cat((boxes.sigmoid() * IMGSZ, scores.sigmoid()), 1)

    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 8, 1), torch.nn.SiLU())
            self.model = torch.nn.ModuleList([Head()])

        def forward(self, x: Any) -> Any:
            first, second = self.stem(x).chunk(2, 1)
            return self.model[0](first + second)

    torch.manual_seed(0)
    return Small().eval()


@pytest.mark.heavy
def test_splits_become_slices_that_give_the_same() -> None:
    torch = pytest.importorskip("torch")
    model, images = small_detector(), torch.rand(1, 3, IMGSZ, IMGSZ)
    with torch.no_grad():
        graph = torch.export.export(model, (images,)).module(check_guards=False)
        executorch_lower.slice_splits(graph)
        torch.testing.assert_close(graph(images), model(images), rtol=0, atol=0)
    targets = [str(node.target) for node in graph.graph.nodes]
    assert targets.count("aten.slice.Tensor") == 4
    assert not any("chunk" in target or "split" in target for target in targets)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as Ultralytics writes it."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("executorch")
    folder = tmp_path_factory.mktemp("foreign") / "small_executorch_model"
    folder.mkdir()
    with torch.no_grad(), quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        exported = torch.export.export(small_detector(), (torch.zeros(1, 3, IMGSZ, IMGSZ),))
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        (folder / "model.pte").write_bytes(lowered.to_executorch().buffer)
    (folder / "metadata.yaml").write_text(METADATA, encoding="utf-8")
    return folder


@pytest.mark.heavy
def test_a_folder_of_ultralytics_is_described_and_runs(foreign: Path) -> None:
    import torch

    backend = executorch.ExecuTorchBackend()
    facts = backend.describe(foreign)
    assert facts.files == ("metadata.yaml", "model.pte")
    assert facts.input_shape == (1, 3, IMGSZ, IMGSZ)
    assert (facts.output.layout, facts.classes, facts.names) == ("anchors", 2, ("cat", "dog"))
    assert backend.describe(foreign / "model.pte") == facts
    session = backend.load(facts.artifact, LoadOptions("cpu", "fp32", 1, (1, 3, IMGSZ, IMGSZ)))
    images = np.random.default_rng(0).random((1, 3, IMGSZ, IMGSZ), np.float32)
    with torch.no_grad():
        expected = small_detector()(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(session.infer(images), expected, atol=1e-4)
    executed = session.executed_precision()
    assert executed.layers["Convolution:f32"] == 1
    assert executed.layers["Convolution 1x1 or Fully Connected:f32"] == 1


@pytest.mark.heavy
def test_only_what_float_nodes_match_stays_in_float(foreign: Path, tmp_path: Path) -> None:
    import torch

    model = small_detector()
    images = np.random.default_rng(0).random((1, 3, IMGSZ, IMGSZ), np.float32)
    example = torch.from_numpy(images)
    options = {"per_channel": True, "observer": "minmax"}
    with torch.no_grad(), quiet():
        expected = model(example).numpy()
        program = executorch_lower.program(
            model, example, options, [images], (r"^/model\.0/(?!cv2).*",)
        )
    (tmp_path / "model.pte").write_bytes(program)
    session = executorch.ExecuTorchBackend().load(
        Artifact(tmp_path, "model.pte"), LoadOptions("cpu", "int8", 1, images.shape)
    )
    found = session.infer(images)
    assert np.abs(found - expected)[:, :4].max() < 1
    # One scale for boxes and scores would round the scores to whole eighths of a pixel.
    assert np.abs(found - expected)[:, 4:].max() < 0.02
    layers = session.executed_precision().layers
    assert sum(count for key, count in layers.items() if key.endswith(":i8")) == 2


@pytest.mark.heavy
def test_a_pattern_without_a_node_is_an_export_error() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("executorch")
    example = torch.zeros(1, 3, IMGSZ, IMGSZ)
    graph = torch.export.export(small_detector(), (example,)).module(check_guards=False)
    options = {"per_channel": True, "observer": "minmax"}
    with quiet(), pytest.raises(ExportError, match="decoder"):
        executorch_lower.quantize(graph, options, [], ("^/decoder/.*",))


@pytest.mark.heavy
def test_a_program_of_two_inputs_is_a_load_error(foreign: Path) -> None:
    import torch

    class Sum(torch.nn.Module):
        def forward(self, x: Any, y: Any) -> Any:
            return x + y

    example = torch.zeros(1, 3)
    file = foreign.parent / "two.pte"
    with quiet():
        from executorch.exir import to_edge_transform_and_lower

        exported = torch.export.export(Sum(), (example, example))
        file.write_bytes(to_edge_transform_and_lower(exported).to_executorch().buffer)
    with pytest.raises(LoadError, match=r"two\.pte has 2 inputs"):
        executorch.ExecuTorchBackend().describe(file)


@pytest.mark.heavy
def test_a_program_of_several_outputs_is_unsupported(foreign: Path) -> None:
    import torch

    class Queries(torch.nn.Module):
        def forward(self, images: Any) -> Any:
            means = images.mean(dim=(2, 3))
            return means[:, :1, None].expand(1, 300, 80), means[:, 1:2, None].expand(1, 300, 4)

    file = foreign.parent / "several.pte"
    with quiet():
        from executorch.exir import to_edge_transform_and_lower

        exported = torch.export.export(Queries(), (torch.zeros(1, 3, IMGSZ, IMGSZ),))
        file.write_bytes(to_edge_transform_and_lower(exported).to_executorch().buffer)
    with pytest.raises(UnsupportedError, match="executorch gives one array here"):
        executorch.ExecuTorchBackend().describe(file, ReadAs(family="dfine"))
