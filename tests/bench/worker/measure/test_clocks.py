from __future__ import annotations

from pathlib import Path

import pytest

from deploymark.bench.worker.measure.clocks import (
    events,
    firmware_throttling,
    frequencies,
    overcurrent_files,
    reference_khz,
    temperature,
    throttle_files,
)
from tests.trees import write_tree

CPU = "devices/system/cpu/cpu{}/cpufreq/{}"


def test_an_intel_processor_is_held_to_its_base_clock(tmp_path: Path) -> None:
    write_tree(
        tmp_path,
        {
            CPU.format(0, "scaling_cur_freq"): "3900123\n",
            CPU.format(0, "base_frequency"): "2400000\n",
            CPU.format(0, "cpuinfo_max_freq"): "4700000\n",
            CPU.format(0, "scaling_max_freq"): "4700000\n",
        },
    )
    found = frequencies([0], tmp_path)
    assert found["cpu_mhz_min"] == pytest.approx(3900.123)
    assert found["cpu_mhz_reference_kind"] == "base"
    assert found["frequency_share"] == pytest.approx(3900.123 / 2400)


def test_an_amd_processor_is_held_to_its_nominal_clock(tmp_path: Path) -> None:
    write_tree(
        tmp_path,
        {
            CPU.format(3, "cpuinfo_max_freq"): "5759000\n",
            "devices/system/cpu/cpu3/acpi_cppc/nominal_freq": "4500\n",
        },
    )
    assert reference_khz(3, tmp_path) == (4_500_000, "base")


def test_a_limit_that_the_user_set_is_no_disturbance(tmp_path: Path) -> None:
    write_tree(
        tmp_path,
        {
            CPU.format(0, "cpuinfo_max_freq"): "2201600\n",
            CPU.format(0, "scaling_max_freq"): "1510400\n",
        },
    )
    assert reference_khz(0, tmp_path) == (1_510_400, "maximum")


def test_the_slowest_processor_counts(tmp_path: Path) -> None:
    for cpu, now in ((0, 1800000), (1, 600000)):
        write_tree(
            tmp_path,
            {
                CPU.format(cpu, "scaling_cur_freq"): f"{now}\n",
                CPU.format(cpu, "cpuinfo_max_freq"): "1800000\n",
            },
        )
    found = frequencies([0, 1], tmp_path)
    assert (found["cpu_mhz_min"], found["cpu_mhz_mean"]) == (600.0, 1200.0)
    assert found["frequency_share"] == pytest.approx(1 / 3)


def test_the_hottest_zone_is_told_and_those_without_a_sensor_are_not(tmp_path: Path) -> None:
    for index, (kind, degrees) in enumerate(
        (("acpitz", "27800"), ("x86_pkg_temp", "71000"), ("iwlwifi_1", "-274000"), ("bad", "x"))
    ):
        zone = f"class/thermal/thermal_zone{index}/"
        write_tree(tmp_path, {f"{zone}type": f"{kind}\n", f"{zone}temp": f"{degrees}\n"})
    assert temperature(tmp_path) == {"temperature_c": 71.0, "temperature_zone": "x86_pkg_temp"}


def test_throttling_is_counted_of_cores_and_packages_and_apart_a_jetsons_supply(
    tmp_path: Path,
) -> None:
    folder = "devices/system/cpu/cpu0/thermal_throttle/"
    write_tree(
        tmp_path,
        {
            f"{folder}core_throttle_count": "12\n",
            f"{folder}package_throttle_count": "30\n",
            f"{folder}core_throttle_total_time_ms": "999\n",
            "class/hwmon/hwmon3/oc3_event_cnt": "37\n",
            "class/hwmon/hwmon3/oc3_throt_en": "1\n",
        },
    )
    assert events(throttle_files({0, 1}, tmp_path)) == 12 + 30
    assert events(overcurrent_files(tmp_path)) == 37
    assert throttle_files({1}, tmp_path) == []


@pytest.mark.parametrize(
    ("text", "flags"),
    [("0\n", []), ("50000\n", []), ("50005\n", ["under-voltage", "throttled"])],
)
def test_a_raspberry_pi_tells_what_its_firmware_does_now(
    tmp_path: Path, text: str, flags: list[str]
) -> None:
    write_tree(tmp_path, {"devices/platform/soc/soc:firmware/get_throttled": text})
    assert firmware_throttling(tmp_path) == flags


def test_other_machines_have_no_such_firmware(tmp_path: Path) -> None:
    assert firmware_throttling(tmp_path) is None
