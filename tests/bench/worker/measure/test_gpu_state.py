from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploymark.bench.worker.measure.gpu_state import (
    GpuWatch,
    foreign_processes,
    gpu_index,
    held_bytes,
    is_gpu,
    parse_processes,
    parse_state,
)
from tests.trees import write_tree

OLD_QUERY = ("clocks.sm", "clocks.max.sm", "temperature.gpu", "clocks_throttle_reasons.active")


class Driver:
    """An nvidia-smi that knows some fields, and refuses the whole query for one it does not."""

    def __init__(self, *states: dict[str, str], apps: str = "") -> None:
        self.states, self.apps = list(states), apps
        self.asked: list[str] = []

    def __call__(self, arguments: Sequence[str]) -> str | None:
        query = arguments[-1]
        self.asked.append(query)
        if query.startswith("--query-compute-apps"):
            return self.apps
        fields = query.removeprefix("--query-gpu=").split(",")
        state = self.states[0]
        if not set(fields) <= state.keys():
            return None
        if len(self.states) > 1:
            self.states.pop(0)
        return ", ".join(state[field] for field in fields) + "\n"


def old(mask: str = "0x0000000000000000") -> dict[str, str]:
    return dict(zip(OLD_QUERY, ("1410", "1410", "41", mask), strict=True))


def new(mask: str, thermal_us: int = 0) -> dict[str, str]:
    counters = {
        f"clocks_event_reasons_counters.{name}": "0"
        for name in ("sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")
    }
    counters["clocks_event_reasons_counters.sw_thermal_slowdown"] = str(thermal_us)
    return {
        "clocks.sm": "1980",
        "clocks.max.sm": "1980",
        "temperature.gpu": "34",
        "clocks_event_reasons.active": mask,
        **counters,
    }


@pytest.mark.parametrize(
    ("device", "gpu"),
    [("cpu", False), ("npu", False), ("cuda:0", True), ("gpu", True), ("vulkan", True)],
)
def test_a_gpu_is_known_by_the_name_of_the_device(device: str, gpu: bool) -> None:
    assert is_gpu(device) is gpu


@pytest.mark.parametrize(
    ("device", "shown", "index"),
    [
        ("cuda", "", "0"),
        ("cuda:1", "", "1"),
        ("cuda:1", "2,3", "3"),
        ("cuda", "GPU-8f6b1c7e", "GPU-8f6b1c7e"),
    ],
)
def test_the_index_is_that_of_the_driver(device: str, shown: str, index: str) -> None:
    assert gpu_index(device, {"CUDA_VISIBLE_DEVICES": shown}) == index


def test_reasons_are_named_by_the_bits_of_nvml() -> None:
    state = parse_state("210, 1410, 88, 0x00000000000000E8\n", OLD_QUERY)
    assert state["reasons"] == [
        "hw_slowdown",
        "sw_thermal_slowdown",
        "hw_thermal_slowdown",
        "hw_power_brake_slowdown",
    ]
    assert (state["sm_mhz"], state["sm_max_mhz"], state["temperature_c"]) == (210, 1410, 88)


def test_what_a_board_does_not_support_is_none() -> None:
    state = parse_state("[N/A], [Not Supported], 45, [N/A]\n", OLD_QUERY)
    assert state["sm_mhz"] is None
    assert state["reasons"] is None
    assert state["temperature_c"] == 45


def test_an_older_driver_is_asked_by_the_older_name() -> None:
    driver = Driver(old("0x0000000000000004"))
    found = GpuWatch("cuda", ask=driver).read()
    assert found["throttle_reasons"] == ["sw_power_cap"]
    queries = [query for query in driver.asked if query.startswith("--query-gpu")]
    assert len(queries) == 3 + 1, "the query that worked is asked again, the others are not"


def test_a_slowdown_that_came_and_went_is_seen_in_the_counters() -> None:
    idle = "0x0000000000000001"
    found = GpuWatch("cuda", ask=Driver(new(idle), new(idle, thermal_us=91_403))).read()
    assert found["throttle_reasons"] == ["gpu_idle", "sw_thermal_slowdown"]


def test_a_machine_without_the_driver_tells_nothing(tmp_path: Path) -> None:
    found = GpuWatch("gpu", ask=lambda _: None, sys=tmp_path).read()
    assert set(found.values()) == {None}


def test_a_jetsons_gpu_has_its_clock_in_devfreq(tmp_path: Path) -> None:
    node = "class/devfreq/17000000.gpu/"
    write_tree(tmp_path, {f"{node}cur_freq": "624750000\n", f"{node}max_freq": "1300500000\n"})
    found = GpuWatch("cuda", ask=lambda _: None, sys=tmp_path).read()
    assert (found["devfreq_mhz"], found["devfreq_max_mhz"]) == (624.75, 1300.5)


def test_what_a_process_holds_on_the_gpus() -> None:
    """As ``nvidia-smi --query-compute-apps=pid,used_memory`` answers, a line a process and GPU."""
    answer = "4242, 1024\n17, 512\n17, 256\n18, [N/A]\n"
    assert held_bytes(17, lambda _: answer) == 768 << 20
    assert held_bytes(18, lambda _: answer) is None
    assert held_bytes(19, lambda _: answer) is None
    assert held_bytes(17, lambda _: None) is None


def processes(root: Path, **parents: int) -> Path:
    """``/proc`` with the parents of processes: ``p7=1`` is process 7 of parent 1."""
    stats = {
        f"{name[1:]}/stat": f"{name[1:]} (python3 -m x) S {parent} 1 1 0\n"
        for name, parent in parents.items()
    }
    return write_tree(root, stats)


def test_a_process_of_somebody_else_is_foreign(tmp_path: Path) -> None:
    answer = f"{os.getpid()}, /usr/bin/python3\n4242, /opt/trainer/bin/python\n"
    proc = processes(tmp_path, p4242=os.getppid() + 1)
    assert foreign_processes(parse_processes(answer), proc) == ["python"]


def test_the_other_worker_of_a_pair_is_not_foreign(tmp_path: Path) -> None:
    proc = processes(tmp_path, p4243=os.getppid())
    assert foreign_processes({os.getpid(): "python", 4243: "python"}, proc) == []


def test_in_a_container_one_unknown_process_is_ourselves(tmp_path: Path) -> None:
    assert foreign_processes({40170: "/usr/bin/python3"}, tmp_path) == []
    assert len(foreign_processes({40170: "python3", 40171: "python3"}, tmp_path)) == 1


def test_an_empty_list_does_not_even_show_ourselves() -> None:
    assert GpuWatch("cuda", ask=Driver(old(), apps="")).read()["foreign_processes"] is None


def test_who_else_computes_is_told_with_the_state(tmp_path: Path) -> None:
    apps = f"{os.getpid()}, python3\n1, /sbin/trainer\n"
    found = GpuWatch("cuda", ask=Driver(old(), apps=apps)).read()
    assert found["foreign_processes"] == ["trainer"]
