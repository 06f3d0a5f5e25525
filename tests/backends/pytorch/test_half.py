from __future__ import annotations

from typing import Any

import pytest

from deploymark.backends.pytorch import half as torch_half

HEAD = r"^/model\.23/(?!(one2one_)?cv[23]).*"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("", "/"),
        ("model.23", "/model.23/"),
        ("model.23.dfl.conv", "/model.23/dfl/conv/"),
        ("model.23.cv2.0.1.conv", "/model.23/cv2.0.1/conv/"),
    ],
)
def test_module_paths_are_written_as_node_names(path: str, name: str) -> None:
    assert torch_half.node_prefix(path) == name


@pytest.mark.parametrize(
    ("path", "stays"),
    [
        ("", False),
        ("model.2.m.0", False),
        ("model.23", True),
        ("model.23.dfl", True),
        ("model.23.cv2.0.0.conv", False),
        ("model.23.one2one_cv3.1", False),
    ],
)
def test_the_decode_stays_float(path: str, *, stays: bool) -> None:
    assert torch_half.is_float(path, [HEAD]) is stays


@pytest.mark.heavy
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_types_change_where_regions_meet(precision: str) -> None:
    torch = pytest.importorskip("torch")
    seen: dict[str, Any] = {}

    class Note(torch.nn.Module):
        """Multiplies by one, and notes the type of what it got."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name
            self.weight = torch.nn.Parameter(torch.ones(1))
            self.register_buffer("steps", torch.zeros(1, dtype=torch.int64))

        def forward(self, x: Any) -> Any:
            seen[self.name] = (x.dtype, self.weight.dtype)
            return x * self.weight

    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cv2 = torch.nn.ModuleList([Note("cv2.0"), torch.nn.Sequential(Note("cv2.1"))])
            self.dfl = Note("dfl")

        def forward(self, features: list[Any]) -> Any:
            outputs = [branch(x) for branch, x in zip(self.cv2, features, strict=True)]
            seen["decode"] = {output.dtype for output in outputs}
            return self.dfl(torch.cat(outputs))

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = Note("body"), Head()

        def forward(self, x: Any) -> Any:
            x = self.body(x)
            return self.head([x, x])

    model = Model()
    torch_half.convert(model, precision, [r"^/head/(?!cv2).*"])
    output = model(torch.rand(2, 3))
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    full = torch.float32
    assert output.dtype == full
    assert seen == {
        "body": (half, half),
        "cv2.0": (half, half),
        "cv2.1": (half, half),
        "decode": {full},
        "dfl": (full, full),
    }
    assert {buffer.dtype for buffer in model.buffers()} == {torch.int64}
