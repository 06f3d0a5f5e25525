"""NVIDIA's and AMD's GPUs, Jetson and Apple silicon, through zeus (the extra ``energy``).

zeus is imported here, in the recorder's process, and in no worker. Its GPUs count as the runtimes
do: it honours ``CUDA_VISIBLE_DEVICES`` and ``HIP_VISIBLE_DEVICES``. Where a GPU has an energy
counter its power is read as well: two paths to the same, which must agree.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from deploymark.backends.hardware.accelerators import has_nvidia_gpu
from deploymark.bench.meters.base import Facts, Found, Meter, MeterDiedError, Missing

if TYPE_CHECKING:
    from zeus.device.gpu.common import GPU, GPUs
    from zeus.device.soc.common import SoC

_MILLI = 1e-3

_INSTALL = "Install zeus: pip install 'deploymark[energy]'"

APPLE_PARTS = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "ane_mj", "dram_mj")
"""Fields of zeus's ``AppleSiliconMeasurement`` that add up to the chip; others are parts of them.
"""


class ZeusMeter(Meter):
    """One value of zeus's, in thousandths of the unit."""

    def __init__(self, facts: Facts, ask: Callable[[], float]) -> None:
        super().__init__(facts)
        self._ask = ask

    def read(self) -> float:
        """Watts or joules. Raises MeterDiedError for whatever zeus raises."""
        try:
            return float(self._ask()) * _MILLI
        except Exception as error:
            raise MeterDiedError(f"{type(error).__name__}: {error}") from error


def find() -> Found:
    """The meters that zeus has here, and why there are none."""
    if importlib.util.find_spec("zeus") is None:
        return Found(missing=list(_without_zeus()))
    meters = []
    missing = []
    for what, of_these in (("GPU", _find_gpus), ("system on a chip", _find_soc)):
        try:
            meters += of_these()
        except Exception as error:  # noqa: BLE001 - zeus and vendors' libraries raise anything
            words = str(error).partition(". ")[0].rstrip(".") or type(error).__name__
            missing.append(Missing(what, f"zeus found no {what}: {words}"))
    return Found(meters, missing)


def _without_zeus() -> Iterator[Missing]:
    if has_nvidia_gpu():
        yield Missing("NVIDIA GPU", "a driver is there, and zeus is not installed", _INSTALL)
    if sys.platform == "darwin":
        remedy = "Install zeus for Apple silicon: pip install 'zeus[apple]'"
        yield Missing("Apple silicon", "zeus is not installed", remedy)


def _find_gpus() -> list[Meter]:
    from zeus.device.gpu import get_gpus

    return of_gpus(get_gpus())


def _find_soc() -> list[Meter]:
    from zeus.device.soc import get_soc

    return of_soc(get_soc())


def of_gpus(gpus: GPUs) -> list[Meter]:
    """An energy counter of each GPU that has one, and a power."""
    meters: list[Meter] = []
    for index, gpu in enumerate(gpus.gpus):
        vendor = "NVIDIA" if "nvidia" in type(gpu).__module__ else "AMD"
        facts = Facts(
            name=f"gpu:{index}:energy",
            source=f"{vendor} energy counter, GPU {index}",
            kind="counter",
            scope="GPU",
            unit="j",
            sensor=f"gpu:{index}",
            device=str(index),
        )
        if gpu.supports_get_total_energy_consumption():
            meters.append(ZeusMeter(facts, gpu.get_total_energy_consumption))
        power = _power_of(gpu)
        if power is not None:
            facts = dataclasses.replace(
                facts,
                name=f"gpu:{index}:power",
                source=f"{vendor} power, GPU {index}",
                kind="integrated power",
                unit="w",
            )
            meters.append(ZeusMeter(facts, power))
    return meters


def _power_of(gpu: GPU) -> Callable[[], float] | None:
    """How to ask a GPU for its power: a mean, which misses nothing, before one moment's."""
    for ask in (gpu.get_average_power_usage, gpu.get_instant_power_usage):
        try:
            ask()
        except Exception:  # noqa: BLE001, S112 - each vendor has its own ways to say no
            continue
        found: Callable[[], float] = ask
        return found
    return None


def of_soc(soc: SoC) -> list[Meter]:
    """The input of a Jetson's module, or Apple's model of the whole chip."""
    first: Any = soc.get_total_energy_consumption()
    if getattr(first, "total_energy_mj", None) is not None:
        facts = Facts(
            name="jetson:total",
            source="Jetson input power, integrated by zeus",
            kind="integrated power",
            scope="board",
            unit="j",
        )
        return [ZeusMeter(facts, lambda: _total(soc, ("total_energy_mj",)))]
    if getattr(first, "cpu_total_mj", None) is not None:
        facts = Facts(
            name="apple:chip",
            source="Apple's energy model of the chip",
            kind="estimate",
            scope="package",
            unit="j",
        )
        return [ZeusMeter(facts, lambda: _total(soc, APPLE_PARTS))]
    return []


def _total(soc: SoC, parts: tuple[str, ...]) -> float:
    """Millijoules of the parts that the chip has."""
    measured: Any = soc.get_total_energy_consumption()
    values = [getattr(measured, part) for part in parts]
    return float(sum(value for value in values if value is not None))
