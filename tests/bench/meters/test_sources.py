"""The kernel's trees and vendors' values as they come; and what would bring a meter."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from deploymark.bench.meters import battery, finding, hwmon, rapl, zeus_meters
from deploymark.bench.meters.base import Facts, Found, GarbageError, Meter, MeterDiedError
from tests.trees import write_tree

PACKAGES = {
    "intel-rapl/enabled": "1\n",
    "intel-rapl:0/name": "package-0\n",
    "intel-rapl:0/energy_uj": "1500000\n",
    "intel-rapl:0/max_energy_range_uj": "262143328850\n",
    "intel-rapl:0:0/name": "core\n",
    "intel-rapl:0:0/energy_uj": "700000\n",
    "intel-rapl:0:1/name": "dram\n",
    "intel-rapl:0:1/energy_uj": "300000\n",
    "intel-rapl:1/name": "package-1\n",
    "intel-rapl:1/energy_uj": "2500000\n",
    "intel-rapl:1/max_energy_range_uj": "262143328850\n",
    "intel-rapl:1:0/name": "core\n",
    "intel-rapl:1:0/energy_uj": "900000\n",
    "intel-rapl:2/name": "psys\n",
    "intel-rapl:2/energy_uj": "9000000\n",
    "intel-rapl-mmio:0/name": "package-0\n",
    "intel-rapl-mmio:0/energy_uj": "1500001\n",
}


def readings(found: Found) -> dict[str, float]:
    return {meter.facts.name: meter.read() for meter in found.meters}


def test_packages_are_read_once_each_and_never_their_parts(tmp_path: Path) -> None:
    write_tree(tmp_path, PACKAGES)
    found = rapl.find(tmp_path)
    assert readings(found) == pytest.approx(
        {"rapl:package-0": 1.5, "rapl:package-1": 2.5, "rapl:psys": 9.0}
    )
    packages = [meter.facts for meter in found.meters if meter.facts.scope == "package"]
    assert [facts.sums_as for facts in packages] == ["rapl:packages"] * 2
    assert packages[0].wraps_at_j == pytest.approx(262143.32885)
    psys = next(meter.facts for meter in found.meters if meter.facts.scope == "board")
    assert psys.sums_as == ""


def test_a_counter_that_may_not_be_read_names_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tmp_path, PACKAGES)
    closed = tmp_path / "intel-rapl:0/energy_uj"
    opened = Path.open

    def deny(path: Path, *arguments: object, **options: object) -> object:
        if path == closed:  # tests may run as root, whom modes do not keep out
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", deny)
    found = rapl.find(tmp_path)
    assert not found.meters
    (missing,) = found.missing
    assert f"{closed} is there and may not be read" in missing.reason
    assert "udev" in missing.remedy
    assert "chgrp" in missing.remedy
    assert "sudo deploymark" not in missing.remedy


def test_no_tree_is_told(tmp_path: Path) -> None:
    (missing,) = rapl.find(tmp_path / "none").missing
    assert "there is no RAPL counter" in missing.reason


def test_a_tree_that_goes_away_or_holds_no_number_is_told(tmp_path: Path) -> None:
    write_tree(tmp_path, PACKAGES)
    meter = rapl.find(tmp_path).meters[0]
    (tmp_path / "intel-rapl:0/energy_uj").write_text("n/a\n")
    with pytest.raises(GarbageError, match="holds 'n/a'"):
        meter.read()
    (tmp_path / "intel-rapl:0/energy_uj").unlink()
    with pytest.raises(MeterDiedError, match="cannot be read"):
        meter.read()


def test_hwmon_reads_what_sees_a_whole(tmp_path: Path) -> None:
    write_tree(
        tmp_path,
        {
            "hwmon0/name": "amdgpu\n",
            "hwmon0/power1_average": "33000000\n",
            "hwmon0/power1_label": "PPT\n",
            "hwmon1/name": "ina3221\n",
            "hwmon1/in1_label": "VDD_IN\n",
            "hwmon1/in1_input": "5072\n",
            "hwmon1/curr1_input": "1200\n",
            "hwmon1/in2_label": "VDD_CPU_GPU_CV\n",
            "hwmon1/in2_input": "5072\n",
            "hwmon1/curr2_input": "320\n",
            "hwmon2/name": "amd_energy\n",
            "hwmon2/energy1_label": "Ecore000\n",
            "hwmon2/energy1_input": "1000000\n",
            "hwmon2/energy9_label": "Esocket0\n",
            "hwmon2/energy9_input": "7000000\n",
            "hwmon3/name": "power_meter\n",
            "hwmon3/power1_average": "210000000\n",
            "hwmon4/name": "nvme\n",
            "hwmon4/temp1_input": "38850\n",
        },
    )
    found = hwmon.find(tmp_path)
    assert {m.facts.source: (m.read(), m.facts.scope, m.facts.unit) for m in found.meters} == {
        "hwmon amdgpu PPT": (33.0, "GPU", "w"),
        "hwmon ina3221 VDD_IN": (pytest.approx(6.0864), "board", "w"),
        "hwmon amd_energy Esocket0": (7.0, "package", "j"),
        "hwmon power_meter": (210.0, "wall", "w"),
    }


def test_a_driver_that_nobody_knows_is_not_guessed_at(tmp_path: Path) -> None:
    write_tree(tmp_path, {"hwmon0/name": "corsairpsu\n", "hwmon0/power1_input": "90000000\n"})
    found = hwmon.find(tmp_path)
    assert not found.meters
    assert "corsairpsu" in found.missing[0].reason


BATTERY = {
    "BAT0/type": "Battery\n",
    "BAT0/status": "Discharging\n",
    "BAT0/voltage_now": "11400000\n",
    "BAT0/current_now": "-1000000\n",
    "AC/type": "Mains\n",
}


def test_a_battery_that_discharges_is_a_meter(tmp_path: Path) -> None:
    write_tree(tmp_path, BATTERY)
    (meter,) = battery.find(tmp_path).meters
    assert meter.read() == pytest.approx(11.4)
    (tmp_path / "BAT0/power_now").write_text("12000000\n")
    assert meter.read() == pytest.approx(12.0)
    (tmp_path / "BAT0/status").write_text("Charging\n")
    with pytest.raises(MeterDiedError, match="on mains"):
        meter.read()
    (missing,) = battery.find(tmp_path).missing
    assert missing.remedy == "Unplug the machine while it measures."


@dataclasses.dataclass
class RecordedGpu:
    """Answers of zeus's ``GPU``: integers, milliwatts and millijoules (NVML's own units)."""

    energies_mj: list[int]
    powers_mw: list[int]
    has_counter: bool = True

    def supports_get_total_energy_consumption(self) -> bool:
        return self.has_counter

    def get_total_energy_consumption(self) -> int:
        return self.energies_mj.pop(0)

    def get_average_power_usage(self) -> int:
        raise RuntimeError("Average power usage is not supported on this AMD GPU.")

    def get_instant_power_usage(self) -> int:
        return self.powers_mw.pop(0)


@dataclasses.dataclass
class RecordedGpus:
    gpus: Sequence[RecordedGpu]


def test_gpus_have_a_counter_and_a_power() -> None:
    gpus = RecordedGpus(
        [
            RecordedGpu([163_554_811, 163_561_902], [68_221, 69_000]),
            RecordedGpu([], [25_000, 26_000], has_counter=False),
        ]
    )
    meters = zeus_meters.of_gpus(gpus)  # type: ignore[arg-type]
    assert [(m.facts.name, m.facts.kind, m.facts.unit, m.facts.device) for m in meters] == [
        ("gpu:0:energy", "counter", "j", "0"),
        ("gpu:0:power", "integrated power", "w", "0"),
        ("gpu:1:power", "integrated power", "w", "1"),
    ]
    assert meters[0].facts.sensor == meters[1].facts.sensor == "gpu:0"
    assert [meter.read() for meter in meters] == pytest.approx([163_554.811, 69.0, 26.0])
    assert meters[0].read() == pytest.approx(163_561.902)
    with pytest.raises(MeterDiedError, match="IndexError"):
        meters[0].read()


@dataclasses.dataclass
class JetsonMeasurement:
    """As zeus has it: floats, millijoules, None for a rail that is not there."""

    cpu_energy_mj: float | None = None
    gpu_energy_mj: float | None = None
    total_energy_mj: float | None = None


@dataclasses.dataclass
class AppleSiliconMeasurement:
    """As zeus has it: integers and lists of them, millijoules, None for what a chip has not."""

    cpu_total_mj: int | None = None
    efficiency_cores_mj: list[int] | None = None
    performance_cores_mj: list[int] | None = None
    dram_mj: int | None = None
    gpu_mj: int | None = None
    gpu_sram_mj: int | None = None
    ane_mj: int | None = None


@dataclasses.dataclass
class RecordedSoc:
    measured: object

    def get_total_energy_consumption(self) -> object:
        return self.measured


@pytest.mark.parametrize(
    ("measured", "kind", "scope", "joules"),
    [
        (JetsonMeasurement(812.5, 93.25, 5211.75), "integrated power", "board", 5.21175),
        (
            AppleSiliconMeasurement(5120, [300, 290], [2000, 2100], 410, 733, None, 12),
            "estimate",
            "package",
            6.275,
        ),
    ],
    ids=["jetson", "apple"],
)
def test_systems_on_a_chip(measured: object, kind: str, scope: str, joules: float) -> None:
    (meter,) = zeus_meters.of_soc(RecordedSoc(measured))  # type: ignore[arg-type]
    assert (meter.facts.kind, meter.facts.scope, meter.facts.unit) == (kind, scope, "j")
    assert meter.read() == pytest.approx(joules)


def test_the_recorded_types_are_those_of_zeus() -> None:
    """Where zeus is installed: the fields and methods that are asked for are there."""
    common = pytest.importorskip("zeus.device.gpu.common")
    jetson = pytest.importorskip("zeus.device.soc.jetson")
    apple = pytest.importorskip("zeus.device.soc.apple")
    for name in ("get_total_energy_consumption", "get_average_power_usage"):
        assert callable(getattr(common.GPU, name))
    named = {field.name for field in dataclasses.fields(jetson.JetsonMeasurement)}
    assert {field.name for field in dataclasses.fields(JetsonMeasurement)} <= named
    named = {field.name for field in dataclasses.fields(apple.AppleSiliconMeasurement)}
    assert {*zeus_meters.APPLE_PARTS} <= named


class SmartPlug(Meter):
    def read(self) -> float:
        return 4.5


def smart_plug() -> Found:
    return Found([SmartPlug(Facts("plug", "a smart plug", "integrated power", "wall", "w"))])


def broken() -> Found:
    raise OSError("no such plug")


def nonsense() -> Found:
    return 7  # type: ignore[return-value]


class Point:
    """An entry point of a package that is installed."""

    def __init__(self, value: Callable[[], Found]) -> None:
        self.name, self.value, self.load = value.__name__, f"plugs:{value.__name__}", lambda: value


def test_third_parties_bring_meters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from importlib import metadata

    points = [Point(smart_plug), Point(broken), Point(nonsense)]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points)
    roots = dict.fromkeys(("powercap", "hwmon", "power_supply"), str(tmp_path / "none"))
    found = finding.find_all(None, roots)
    assert [meter.facts.name for meter in found.meters if meter.facts.name == "plug"] == ["plug"]
    told = {item.what: item.reason for item in found.missing}
    assert told["broken"] == "plugs:broken failed: OSError: no such plug"
    assert "gave int" in told["nonsense"]


def test_what_a_matrix_names_comes_first(tmp_path: Path) -> None:
    write_tree(tmp_path / "powercap", PACKAGES)
    roots = {"powercap": str(tmp_path / "powercap")}
    external = {"command": [sys.executable, "-c", "print(3.5)"], "unit": "w", "name": "my meter"}
    found = finding.find_all(external, roots)
    assert [meter.facts.source for meter in found.meters][:2] == ["my meter", "RAPL package-0"]
    assert found.meters[0].read() == 3.5
    found.meters[0].close()
