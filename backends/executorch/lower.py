"""From a torch module to an ExecuTorch program: quantized, and lowered to XNNPACK."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploymark.backends.onnx.graph import matching
from deploymark.backends.pytorch import half as torch_half

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

INT8_OPTIONS: dict[str, tuple[Any, ...]] = {
    "per_channel": (True, False),
    "observer": ("histogram", "minmax"),
}
"""Options of an INT8 export and their values, the default first.

``per_channel``: one weight scale an output channel. ``observer``: how the range of an activation
is found, by the least error of a histogram (``XNNPACKQuantizer``'s own choice) or by its extremes.
"""

SPLITS = ("chunk.default", "split.Tensor", "split_with_sizes.default")
"""ATen operators that cut a tensor into several."""


def program(
    model: Any,
    example: Any,
    quantization: Mapping[str, Any] | None,
    calibration: Sequence[npt.NDArray[np.float32]],
    float_nodes: Sequence[str],
) -> bytes:
    """The bytes of a ``.pte`` whose method ``forward`` takes arrays like ``example``.

    Everything that XNNPACK has is delegated to it, the rest runs in ExecuTorch's own kernels.
    ``quantization``: ``INT8_OPTIONS`` resolved, None for float32; ``calibration`` and
    ``float_nodes`` are read for INT8 only. Call without gradients.
    """
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    if quantization is not None:
        separate_activations(model)
    graph = torch.export.export(model, (example,)).module(check_guards=False)
    slice_splits(graph)
    if quantization is not None:
        graph = quantize(graph, quantization, calibration, float_nodes)
    exported = torch.export.export(graph, (example,))
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    return bytes(lowered.to_executorch().buffer)


def separate_activations(model: Any) -> None:
    """Give each layer an activation of its own: a shared one has the module path of the first."""
    import torch

    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, torch.nn.SiLU):
                setattr(module, name, torch.nn.SiLU())


def slice_splits(graph: Any) -> None:
    """Replace splits by slices, in place: XNNPACK has these only, and each split ended a delegate.

    ``graph``: a ``torch.fx.GraphModule`` of ATen operators and fixed shapes.
    """
    import torch

    splits = {_overload(torch, name) for name in SPLITS}
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or node.target not in splits:
            continue
        if any(user.target is not operator.getitem for user in node.users):
            continue
        axis = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)  # noqa: PLR2004
        ends = [0]
        for part in node.meta["val"]:
            ends.append(ends[-1] + part.shape[axis])
        for user in list(node.users):
            part = user.args[1]
            with graph.graph.inserting_before(user):
                piece = graph.graph.call_function(
                    torch.ops.aten.slice.Tensor, (node.args[0], axis, ends[part], ends[part + 1])
                )
            piece.meta = dict(user.meta)
            user.replace_all_uses_with(piece)
            graph.graph.erase_node(user)
        graph.graph.erase_node(node)
    graph.recompile()


def _overload(torch: Any, name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload)


def quantize(
    graph: Any,
    options: Mapping[str, Any],
    calibration: Sequence[npt.NDArray[np.float32]],
    float_nodes: Sequence[str],
) -> Any:
    """The graph with 8-bit weights and activations, all but what ``float_nodes`` match.

    Raises ExportError for a pattern that matches nothing.
    """
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e import MinMaxObserver
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import QuantizationAnnotation
    from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

    names = {node: node_name(node) for node in graph.graph.nodes if node.op == "call_function"}
    floats = set(matching(names.values(), float_nodes))

    class FloatDecode(XNNPACKQuantizer):  # type: ignore[misc]
        """Skips nodes; XNNPACKQuantizer's own filter is not asked for concatenations."""

        def annotate(self, model: Any) -> Any:
            for node in model.graph.nodes:
                if node.op == "call_function" and node_name(node) in floats:
                    node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(_annotated=True)
            return super().annotate(model)

    config = get_symmetric_quantization_config(is_per_channel=options["per_channel"])
    if options["observer"] == "minmax":
        config = _with_observer(config, MinMaxObserver)
    prepared = prepare_pt2e(graph, FloatDecode().set_global(config))
    for images in calibration:
        prepared(torch.from_numpy(images))
    return convert_pt2e(prepared)


def node_name(node: Any) -> str:
    """The name of a node as ``ExportRequest.float_nodes`` speaks of it, by its module's path."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    return torch_half.node_prefix(path) + torch_half.PROBE_NODE


def _with_observer(config: Any, observer: Any) -> Any:
    """A quantization configuration whose activations are watched by another observer."""
    import dataclasses

    activation = dataclasses.replace(
        config.input_activation, observer_or_fake_quant_ctr=observer.with_args(eps=2**-12)
    )
    return dataclasses.replace(config, input_activation=activation, output_activation=activation)
