from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from deploymark.backends.base import Probe, Service
from deploymark.bench.doctor import activity as doctor_activity
from deploymark.bench.doctor import settings as doctor_settings
from deploymark.bench.doctor.examine import backend_findings
from deploymark.bench.doctor.findings import Finding
from deploymark.bench.machine.probing import Found
from deploymark.bench.matrix.validity import Validity
from tests.trees import write_tree

HERE = Service(served=True)
EMULATED = Service(served=True, native=False, reason="in float32")
ELSEWHERE = Service(served=False, reason="predicting needs macOS", remedy="Take a Mac.")
NEVER = Service(served=False, exists=False, reason="no such thing")


def finding(**probe: object) -> Finding:
    defaults: dict[str, object] = {"installed": True, "version": "1.2", "can_export": True}
    (found,) = backend_findings([("x", Found(Probe("x", **{**defaults, **probe})))])  # type: ignore[arg-type]
    return found


def test_what_is_served_is_told_by_device() -> None:
    services = {("cpu", "fp32"): HERE, ("cpu", "fp16"): EMULATED, ("cpu", "int8"): NEVER}
    found = finding(services={**services, ("gpu", "fp16"): HERE})
    assert found == Finding("ok", "x", "1.2 cpu: fp32, fp16 (emulated); gpu: fp16")


def test_a_device_that_is_missing_is_told_with_its_reason() -> None:
    found = finding(services={("cpu", "fp32"): HERE, ("all", "fp32"): ELSEWHERE})
    assert found == Finding("ok", "x", "1.2 cpu: fp32; predicting needs macOS (all)")


def test_a_backend_that_measures_nothing_here_is_noted_with_what_mends_it() -> None:
    services = {("all", "fp32"): ELSEWHERE, ("cpu", "fp32"): ELSEWHERE, ("all", "bf16"): NEVER}
    found = finding(services=services)
    assert found.state == "note"
    assert found.text == "1.2 measures nothing here; predicting needs macOS"
    assert found.remedy == "Take a Mac."


def test_a_missing_backend_is_noted_with_the_command_that_installs_it() -> None:
    found = finding(installed=False, version=None, reason="not installed", remedy="pip install x")
    assert found == Finding("note", "x", "not installed", "pip install x")


def test_a_backend_that_cannot_export_is_noted() -> None:
    found = finding(services={("cpu", "fp32"): HERE}, can_export=False, reason="without torch")
    assert found.state == "note"
    assert "cannot export: without torch" in found.text


def only(findings: Iterable[Finding]) -> Finding:
    (one,) = findings
    return one


def test_a_governor_that_follows_the_load_is_a_problem(tmp_path: Path) -> None:
    for cpu, name in enumerate(("performance", "schedutil")):
        path = f"devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"
        write_tree(tmp_path, {path: f"{name}\n"})
    found = doctor_settings.governor({0, 1}, tmp_path)
    assert (found.state, "schedutil" in found.text) == ("problem", True)
    assert "cpupower frequency-set -g performance" in found.remedy
    assert doctor_settings.governor({0}, tmp_path).state == "ok"
    assert doctor_settings.governor({7}, tmp_path).state == "note"


@pytest.mark.parametrize(
    ("file", "on", "off"), [("intel_pstate/no_turbo", "0", "1"), ("cpufreq/boost", "1", "0")]
)
def test_turbo_is_noted_with_the_switch_that_turns_it_off(
    tmp_path: Path, file: str, on: str, off: str
) -> None:
    assert doctor_settings.turbo(tmp_path).state == "note"
    write_tree(tmp_path, {f"devices/system/cpu/{file}": f"{on}\n"})
    found = doctor_settings.turbo(tmp_path)
    assert f"echo {off} | sudo tee /sys/devices/system/cpu/{file}" in found.remedy
    write_tree(tmp_path, {f"devices/system/cpu/{file}": f"{off}\n"})
    assert doctor_settings.turbo(tmp_path).state == "ok"


def test_siblings_are_noted_with_one_processor_of_each_core(tmp_path: Path) -> None:
    for cpu, pair in ((0, "0,2"), (1, "1,3"), (2, "0,2"), (3, "1,3")):
        path = f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        write_tree(tmp_path, {path: f"{pair}\n"})
    found = only(doctor_settings.siblings({0, 1, 2, 3}, tmp_path))
    assert "taskset -c 0,1 " in found.remedy
    assert not list(doctor_settings.siblings({4}, tmp_path))


def test_pinning_is_proposed_where_there_are_processors_to_spare(tmp_path: Path) -> None:
    write_tree(tmp_path, {"devices/system/cpu/online": "0-3\n"})
    free = doctor_settings.pinning({0, 1, 2, 3}, 2, tmp_path)
    assert (free.state, "taskset -c 2,3 " in free.remedy) == ("note", True)
    assert doctor_settings.pinning({0, 1, 2, 3}, 4, tmp_path).remedy == ""
    pinned = doctor_settings.pinning({2, 3}, 2, tmp_path)
    assert (pinned.state, "others may" in pinned.text) == ("ok", False)
    write_tree(tmp_path, {"devices/system/cpu/isolated": "2-3\n"})
    assert "nothing else may use" in doctor_settings.pinning({2, 3}, 2, tmp_path).text


@pytest.mark.parametrize(
    "files",
    [
        {"fs/cgroup/box/cpu.stat": "", "fs/cgroup/box/cpu.max": "150000 100000\n"},
        {
            "fs/cgroup/cpu/box/cpu.stat": "",
            "fs/cgroup/cpu/box/cpu.cfs_quota_us": "150000\n",
            "fs/cgroup/cpu/box/cpu.cfs_period_us": "100000\n",
        },
    ],
)
def test_a_quota_below_the_threads_is_a_problem(tmp_path: Path, files: dict[str, str]) -> None:
    proc = write_tree(tmp_path / "proc", {"self/cgroup": "1:cpu:/box\n0::/box\n"})
    sys = write_tree(tmp_path / "sys", files)
    found = only(doctor_settings.quota(4, sys, proc))
    assert found.state == "problem"
    assert "docker run --cpus 4" in found.remedy
    assert "1.5 processors" in found.text
    assert only(doctor_settings.quota(1, sys, proc)).state == "ok"


@pytest.mark.parametrize(
    "limit", [{"cpu.max": "max 100000\n"}, {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "1\n"}]
)
def test_no_quota_is_no_finding(tmp_path: Path, limit: dict[str, str]) -> None:
    proc = write_tree(tmp_path / "proc", {"self/cgroup": "0::/\n"})
    sys = write_tree(tmp_path / "sys/fs/cgroup", {"cpu.stat": "", **limit}).parents[1]
    assert not list(doctor_settings.quota(64, sys, proc))


@pytest.mark.parametrize(("now", "state"), [("62000", "ok"), ("95500", "problem")])
def test_heat_near_a_trip_point_is_a_problem(tmp_path: Path, now: str, state: str) -> None:
    zone = "class/thermal/thermal_zone0/"
    files = {
        "type": "cpu-thermal",
        "temp": now,
        "trip_point_0_type": "active",
        "trip_point_0_temp": "40000",
        "trip_point_1_type": "passive",
        "trip_point_1_temp": "99000",
        "trip_point_2_type": "critical",
        "trip_point_2_temp": "105000",
    }
    write_tree(tmp_path, {f"{zone}{name}": f"{text}\n" for name, text in files.items()})
    found = doctor_settings.heat(tmp_path)
    assert (found.state, "99 °C" in found.text) == (state, True)


def test_what_a_machine_does_not_tell_is_no_problem(tmp_path: Path) -> None:
    found = doctor_settings.setting_findings(2, sys=tmp_path, proc=tmp_path, cpus={0, 1})
    assert {finding.state for finding in found} == {"note"}


TRACE = {"wall_s": 1.0, "watched_cpus": 2, "tick_error_s": 0.017}


def test_foreign_load_is_a_problem_and_names_who() -> None:
    trace = {**TRACE, "foreign_load_cores": 0.93}
    found = doctor_activity.load(trace, Validity(), ["stress (pid 7, 93 %)"])
    assert found.state == "problem"
    assert "stress (pid 7, 93 %)" in found.text
    quiet = {**TRACE, "foreign_load_cores": 0.04}
    assert doctor_activity.load(quiet, Validity(), []).state == "ok"
    unread = {**TRACE, "foreign_load_cores": None}
    assert doctor_activity.load(unread, Validity(), []).state == "note"


def test_steal_is_a_problem_beyond_its_rounding() -> None:
    states = [
        doctor_activity.steal({**TRACE, "steal_share": share}, Validity()).state
        for share in (0.0, 0.03, 0.08, None)
    ]
    assert states == ["ok", "ok", "problem", "note"]


def test_what_would_disturb_launches_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = {**TRACE, "foreign_load_cores": 0.52, "steal_share": 0.08}
    monkeypatch.setattr(doctor_activity, "_working", lambda: trace)
    found = doctor_activity.restless(Validity())
    assert found.startswith("other processes use 0.52 of 2 processors")
    assert found.endswith("; a hypervisor withholds 8 % of the processor time that is wanted")
    assert doctor_activity.restless(Validity(enabled=False)) == ""
    trace |= {"foreign_load_cores": 0.1, "steal_share": None}
    assert doctor_activity.restless(Validity()) == ""


def test_paging_is_a_problem_and_swap_in_use_a_note() -> None:
    assert doctor_activity.swap(0, 0).state == "ok"
    assert doctor_activity.swap(1 << 28, 0) == Finding(
        "note", "swap", "256 MiB of swap are in use", "before long runs: sudo swapoff -a"
    )
    assert doctor_activity.swap(1 << 28, 1 << 20).state == "problem"


def nvidia_smi(first: str, *, reasons: str = "0x0", apps: str = "") -> Callable[..., str | None]:
    def answer(arguments: Sequence[str]) -> str | None:
        query = arguments[-1]
        if query.startswith("--query-compute-apps"):
            return apps
        if "persistence_mode" in query:
            return first
        return f"1980, 1980, 84, {reasons}\n" if "counters" not in query else None

    return answer


def test_a_gpu_is_told_with_what_unsettles_it() -> None:
    ask = nvidia_smi(
        "NVIDIA A10, Disabled, [N/A], 1695\n",
        reasons="0x0000000000000020",
        apps="4194305, /opt/trainer\n1, /sbin/server\n",
    )
    found = doctor_activity.gpu_findings(ask)
    assert [finding.state for finding in found] == ["note", "note", "problem", "problem"]
    assert found[0].remedy == "sudo nvidia-smi -i 0 -pm 1"
    assert "nvidia-smi -i 0 -lgc" in found[1].remedy
    assert "sw_thermal_slowdown" in found[2].text
    assert "server, trainer" in found[3].text


def test_a_gpu_that_is_set_and_free_is_fine() -> None:
    found = doctor_activity.gpu_findings(nvidia_smi("NVIDIA A10, Enabled, 1410, 1695\n"))
    assert [finding.state for finding in found] == ["ok"]
    assert "1410 MHz" in found[0].text


def test_without_a_driver_there_is_no_gpu_to_tell_of() -> None:
    assert doctor_activity.gpu_findings(lambda _: None) == []
