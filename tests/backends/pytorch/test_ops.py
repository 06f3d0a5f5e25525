from __future__ import annotations

from typing import Any

import pytest

from deploymark.backends.onnx.graph import quiet
from deploymark.backends.pytorch import ops as torch_ops

pytestmark = pytest.mark.heavy

torch = pytest.importorskip("torch")

NEW = (
    "onednn_verbose,v1,primitive,exec,cpu,convolution,brg_conv_fwd:avx512_core,forward_inference,"
    "src:{type}::blocked:acdb::f0 wei:{type}:a:blocked:Acdb16a::f0 dst:f32::blocked:acdb::f0,"
    "attr-scratchpad:user,alg:convolution_direct,mb1_ic3oc16,0.5"
)
OLD = (
    "onednn_verbose,exec,cpu,convolution,jit:avx2,forward_inference,"
    "src_{type}::blocked:acdb:f0 wei_{type}::blocked:Acdb16a:f0 dst_f32::blocked:acdb:f0,,"
    "alg:convolution_direct,mb1_ic3oc16,0.5"
)


@pytest.mark.parametrize("line", [NEW, OLD])
@pytest.mark.parametrize(
    ("logged", "told"), [("f32", "f32"), ("bf16", "bf16"), ("s8", "i8"), ("u8", "u8")]
)
def test_the_log_tells_data_types(line: str, logged: str, told: str) -> None:
    text = "\n".join([line.format(type=logged)] * 2)
    assert torch_ops.read_log(text) == {f"onednn_convolution:{told}": 2}


@pytest.mark.parametrize(
    "line",
    [
        "onednn_verbose,v1,info,cpu,isa:Intel AVX-512",
        "onednn_verbose,v1,primitive,exec,cpu,reorder,jit:uni,undef,src:f32::blocked:abcd::f0,,,1,1",
        NEW.format(type="f32").replace(",exec,", ",create:cache_miss,"),
        "a program's own words on convolution,src:f32:",
    ],
)
def test_other_lines_are_no_convolution(line: str) -> None:
    assert torch_ops.read_log(line) == {}


@pytest.mark.parametrize(("dtype", "told"), [("float32", "f32"), ("bfloat16", "bf16")])
def test_operators_are_counted_once(dtype: str, told: str) -> None:
    model = torch.nn.Conv2d(3, 4, 3).to(getattr(torch, dtype))
    images = torch.zeros(1, 3, 8, 8, dtype=getattr(torch, dtype))

    def run() -> None:
        with torch.inference_mode():
            torch.mm(model(images)[0, 0], torch.ones(6, 6, dtype=images.dtype))

    # The mode sees the convolution, and the log the same one if it were not silenced.
    found = torch_ops.executed(torch, run)
    assert sum(count for key, count in found.layers.items() if "conv" in key) == 1
    assert all(key.endswith(f":{told}") for key in found.layers)
    assert found.layers[f"mm:{told}"] == 1


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
def test_kernels_past_the_dispatcher_are_found_in_the_log(capfd: Any) -> None:
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode(), quiet("torch"):
        traced = torch.jit.freeze(torch.jit.trace(torch.nn.Conv2d(3, 8, 3).eval(), images))
        fused = torch.jit.optimize_for_inference(traced)
        fused(images)
        found = torch_ops.executed(torch, lambda: fused(images))
    assert found.layers == {"onednn_convolution:f32": 1}
    # Standard output is where it was, and quiet.
    print("after")  # noqa: T201
    assert capfd.readouterr().out == "after\n"


def test_nothing_that_counts_is_told_as_such() -> None:
    found = torch_ops.executed(torch, lambda: torch.ones(2) + 1)
    assert not found.layers
    assert found.reason


def test_a_failure_gives_standard_output_back(capfd: Any) -> None:
    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        torch_ops.executed(torch, fails)
    print("after")  # noqa: T201
    assert capfd.readouterr().out == "after\n"
