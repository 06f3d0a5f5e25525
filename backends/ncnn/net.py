"""ncnn's network, opened on one device with every option spelled out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploymark.backends.base import LoadError, LoadOptions, Setting, UnavailableError

REMEDY = "pip install 'deploymark[ncnn]'"

SOFTWARE_GPU = 3
"""``ncnn.GpuInfo.type`` of a driver that computes on the processor (0: discrete, 1: integrated, 2:
virtual; ``ncnn/src/gpu.h``)."""


def net_settings(options: LoadOptions, settings: Mapping[str, Setting]) -> Mapping[str, Setting]:
    """Attributes of ``ncnn.Net.opt`` that a cell decides; all others stay at ncnn's own values.

    ncnn's own default computes in float16 wherever the device can. ``openmp_blocktime`` is how many
    milliseconds a thread spins when it has no work (20), where OpenMP is Clang's; ``settings`` are
    the resolved runtime options, whose ``wait: passive`` takes it to 0.
    """
    half = options.precision == "fp16"
    passive = {"openmp_blocktime": 0} if settings.get("wait") == "passive" else {}
    return {
        "num_threads": options.threads,
        "use_vulkan_compute": options.device == "vulkan",
        **dict.fromkeys(("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"), half),
        **dict.fromkeys(("use_bf16_packed", "use_bf16_storage"), False),
        **passive,
    }


def told(net: Any) -> dict[str, Setting]:
    """The options of a network that are numbers and truth values, by name."""
    names = (name for name in dir(net.opt) if not name.startswith("_"))
    found = {name: getattr(net.opt, name) for name in names}
    return {name: value for name, value in found.items() if isinstance(value, bool | int)}


def open_net(
    ncnn: Any,
    graph: Path,
    weights: Path,
    options: LoadOptions,
    settings: Mapping[str, Setting],
) -> Any:
    """A ``Net`` on one device. Raises LoadError or UnavailableError."""
    net = ncnn.Net()
    for setting, value in net_settings(options, settings).items():
        if hasattr(net.opt, setting):  # older versions know fewer
            setattr(net.opt, setting, value)
    if options.device == "vulkan":
        net.set_vulkan_device(_gpu(ncnn))
    elif options.device != "cpu":
        raise UnavailableError(f"ncnn has no device {options.device!r}")
    # Both give 0, or another number and a line on stderr. After a failure a run would crash.
    for file, read in ((graph, net.load_param), (weights, net.load_model)):
        status = read(str(file))
        if status != 0:
            raise LoadError(f"ncnn refuses {file} (it returned {status})")
    return net


def _gpu(ncnn: Any) -> int:
    """The index of the GPU to take. Raises UnavailableError where Vulkan shows none."""
    if not hasattr(ncnn, "get_gpu_count"):
        raise UnavailableError("this ncnn was built without Vulkan", remedy=REMEDY)
    if ncnn.get_gpu_count() < 1:
        raise UnavailableError(
            "ncnn finds no Vulkan device", remedy="Check the driver with vulkaninfo --summary."
        )
    index = int(ncnn.get_default_gpu_index())
    info = ncnn.get_gpu_info(index)
    if info.type() == SOFTWARE_GPU:
        raise UnavailableError(
            f"the only Vulkan device, {info.device_name()}, computes on the processor"
        )
    return index
