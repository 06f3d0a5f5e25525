from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploymark.bench.worker.measure import conditions
from deploymark.bench.worker.measure.conditions import (
    Watch,
    cpu_list,
    last_cpu,
    pressure_us,
    stat_counters,
    summary,
    thread_times,
    throttling_counters,
    throttling_files,
    with_siblings,
)
from tests.trees import write_tree

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

STAT = """\
cpu  2739727 190688 322663 1335711 23270 0 3330 4018 7 0
cpu0 1188251 104849 134633 872236 5365 0 306 2022 7 0
cpu1 1551476 85839 188029 463474 17905 0 3024 1995 0 0
intr 18969242 0 0 0 26 1 12
ctxt 39812345
btime 1763970540
processes 22636
softirq 6042817 0 1230455 12 687268
"""
PRESSURE = """\
some avg10=16.99 avg60=10.42 avg300=14.06 total=7448403126
full avg10=0.00 avg60=0.00 avg300=0.00 total=0
"""
CPU_STAT = """\
usage_usec 3795197
user_usec 3100020
system_usec 695177
nice_usec 0
nr_periods 120
nr_throttled 7
throttled_usec 350000
nr_bursts 0
burst_usec 0
"""
ROOT_CPU_STAT = "usage_usec 98765432\nuser_usec 9000\nsystem_usec 1000\n"
CPU_STAT_V1 = "nr_periods 40\nnr_throttled 2\nthrottled_time 80000000\nnr_bursts 0\nburst_time 0\n"
TASK_STAT = (
    "3401 (ort worker (1)) R 3269 3269 19237 0 -1 4194304 1958 0 0 0 3 0 0 0 20 0 1 0 "
    "2458772 17006592 3326 18446744073709551615 1 1 1 0 0 0 0 16781312 2 0 0 0 17 1 0 0 "
    "0 0 0 1 1 1 1 1 1 1 0"
)


def recorded(root: Path) -> tuple[Path, Path]:
    """Procfs and sysfs of a small machine with a quota."""
    proc = write_tree(
        root / "proc",
        {
            "stat": STAT,
            "pressure/cpu": PRESSURE,
            "self/cgroup": "0::/app.slice/run.scope\n",
            "self/task/3401/schedstat": "1000000000 5000000 120\n",
            "self/task/3401/stat": TASK_STAT,
            "self/task/3402/schedstat": "2000000000 1000000 80\n",
            "self/task/3402/stat": TASK_STAT.replace("17 1 0", "17 0 0"),
        },
    )
    sys_root = write_tree(
        root / "sys",
        {
            "fs/cgroup/cpu.stat": ROOT_CPU_STAT,
            "fs/cgroup/app.slice/cpu.stat": CPU_STAT,
            "fs/cgroup/app.slice/run.scope/cpu.stat": CPU_STAT,
            "devices/system/cpu/cpu0/topology/thread_siblings_list": "0-1\n",
            "devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1200000\n",
            "devices/system/cpu/cpu1/cpufreq/base_frequency": "2000000\n",
            "devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "3\n",
            "class/thermal/thermal_zone0/temp": "61000\n",
            "class/thermal/thermal_zone0/type": "x86_pkg_temp\n",
        },
    )
    return proc, sys_root


def test_processor_lists_are_those_of_the_kernel() -> None:
    assert cpu_list("0-2,4\n") == {0, 1, 2, 4}
    assert cpu_list("") == set()


def test_siblings_of_usable_processors_are_watched_too(tmp_path: Path) -> None:
    _, sys_root = recorded(tmp_path)
    assert with_siblings({0}, sys_root) == {0, 1}
    assert with_siblings({5}, sys_root) == {5}


def test_ticks_are_those_of_the_processors_asked_for() -> None:
    found = stat_counters(STAT, {1})
    assert found == {
        "busy_ticks": 1551476 + 85839 + 188029 + 3024,
        "idle_ticks": 463474 + 17905,
        "steal_ticks": 1995,
    }


def test_time_of_guests_is_counted_once() -> None:
    assert stat_counters(STAT, {0})["busy_ticks"] == 1188251 + 104849 + 134633 + 306


def test_no_ticks_where_the_processors_are_not_listed() -> None:
    assert stat_counters(STAT, {64}) == {}
    assert stat_counters("", {0}) == {}


def test_pressure_is_the_total_of_some() -> None:
    assert pressure_us(PRESSURE) == {"cpu_pressure_us": 7448403126}
    assert pressure_us("") == {}


def test_quotas_of_all_groups_above_count(tmp_path: Path) -> None:
    proc, sys_root = recorded(tmp_path)
    files = throttling_files(proc, sys_root)
    assert [file.parent.name for file in files] == ["run.scope", "app.slice", "cgroup"]
    assert throttling_counters(files) == {"throttled_periods": 14, "throttled_us": 700_000}


def test_quotas_of_version_1_are_in_nanoseconds(tmp_path: Path) -> None:
    proc = write_tree(tmp_path / "proc", {"self/cgroup": "3:cpuset:/\n1:cpu,cpuacct:/box\n0::/\n"})
    sys_root = write_tree(tmp_path / "sys", {"fs/cgroup/cpu,cpuacct/box/cpu.stat": CPU_STAT_V1})
    files = throttling_files(proc, sys_root)
    assert throttling_counters(files) == {"throttled_periods": 2, "throttled_us": 80_000}


def test_a_group_that_cannot_be_limited_has_no_figure(tmp_path: Path) -> None:
    write_tree(tmp_path, {"cpu.stat": ROOT_CPU_STAT})
    assert throttling_counters([tmp_path / "cpu.stat"]) == {}


def test_threads_tell_how_long_they_ran_and_waited(tmp_path: Path) -> None:
    proc, _ = recorded(tmp_path)
    assert thread_times(proc) == {
        "3401": (1_000_000_000, 5_000_000),
        "3402": (2_000_000_000, 1_000_000),
    }


def test_the_last_processor_is_found_behind_any_name(tmp_path: Path) -> None:
    proc, _ = recorded(tmp_path)
    assert last_cpu("3401", proc) == 1
    assert last_cpu("9999", proc) is None


def test_foreign_load_is_what_is_busy_beyond_our_own() -> None:
    totals = {
        "wall_ns": 2_000_000_000,
        "own_cpu_ns": 1_500_000_000,
        "busy_ticks": 350,
        "idle_ticks": 40,
        "steal_ticks": 10,
    }
    found = summary(totals, cpus=2, intervals=1, hz=100)
    assert found["foreign_load_cores"] == pytest.approx(1.0)
    assert found["steal_share"] == pytest.approx(10 / 360)
    assert found["major_faults"] is None
    assert found["tick_error_s"] == pytest.approx(3 * (2 / 6) ** 0.5 / 100)


def test_own_time_beyond_the_ticks_is_no_negative_load() -> None:
    totals = {"wall_ns": 10**9, "own_cpu_ns": 10**9, "busy_ticks": 98, "idle_ticks": 101}
    assert summary(totals, cpus=2, intervals=1, hz=100)["foreign_load_cores"] == 0.0


def test_counters_that_stand_still_tell_nothing() -> None:
    totals = {
        "wall_ns": 10**9,
        "own_cpu_ns": 10**9,
        "busy_ticks": 0,
        "idle_ticks": 0,
        "steal_ticks": 0,
    }
    found = summary(totals, cpus=2, intervals=1, hz=100)
    assert found["foreign_load_cores"] is None
    assert found["steal_share"] is None


def test_a_watch_adds_its_intervals_and_leaves_out_the_pauses(tmp_path: Path) -> None:
    proc, sys_root = recorded(tmp_path)
    count = "devices/system/cpu/cpu1/thermal_throttle/core_throttle_count"

    def passes(busy: int, throttled: int) -> None:
        write_tree(proc, {"stat": STAT.replace("cpu1 1551476", f"cpu1 {1551476 + busy}")})
        write_tree(sys_root, {count: f"{throttled}\n"})

    watch = Watch(proc=proc, sys=sys_root, cpus={0})
    passes(10, 4)
    watch.pause()
    passes(5_000, 50)
    watch.start()
    passes(5_007, 52)
    write_tree(proc, {"self/task/3401/schedstat": "1800000000 9000000 150\n"})
    found = watch.read()
    assert found["busy_s"] == pytest.approx(0.17)
    assert found["throttle_events"] == 1 + 2
    assert found["intervals"] == 2
    assert found["run_queue_wait_s"] == pytest.approx(0.004)
    assert found["busy_threads"] == 1
    assert (found["usable_cpus"], found["watched_cpus"]) == (1, 2)
    assert (found["cpu_mhz_min"], found["frequency_share"]) == (1200.0, pytest.approx(0.6))
    assert (found["temperature_c"], found["temperature_zone"]) == (61.0, "x86_pkg_temp")
    assert found["gpu"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_starting_anew_forgets_what_was_open(tmp_path: Path) -> None:
    proc, sys_root = recorded(tmp_path)
    watch = Watch(proc=proc, sys=sys_root, cpus={0, 1})
    write_tree(proc, {"stat": STAT.replace("cpu1 1551476", "cpu1 1559999")})
    watch.start()
    write_tree(proc, {"stat": STAT.replace("cpu1 1551476", "cpu1 1560000")})
    assert watch.read()["busy_s"] == pytest.approx(0.01)


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    found = Watch(proc=tmp_path, sys=tmp_path, cpus={0}).read()
    unread = {key for key, value in found.items() if value is None}
    assert {
        "foreign_load_cores",
        "steal_share",
        "run_queue_wait_s",
        "throttled_s",
        "throttle_events",
        "frequency_share",
        "temperature_c",
        "firmware_throttling",
    } <= unread
    assert found["wall_s"] > 0


def test_a_counter_that_fails_once_is_unknown(tmp_path: Path) -> None:
    proc, sys_root = recorded(tmp_path)
    watch = Watch(proc=proc, sys=sys_root, cpus={0, 1})
    watch.pause()
    (proc / "stat").unlink()
    watch.start()
    assert watch.read()["foreign_load_cores"] is None


@linux
def test_a_process_that_loads_a_core_is_seen() -> None:
    spin = "import time\nend = time.monotonic() + 5\nwhile time.monotonic() < end: pass"
    loader = subprocess.Popen([sys.executable, "-c", spin])
    try:
        time.sleep(0.2)  # it starts
        watch = Watch()
        time.sleep(0.5)
        foreign = watch.read()
    finally:
        loader.kill()
        loader.wait()
    assert foreign["foreign_load_cores"] > 0.3


@linux
def test_our_own_readings_are_plausible() -> None:
    cpus = conditions.usable_cpus()
    assert os.sched_getaffinity(0) <= cpus
    found = Watch().read()
    assert found["usable_cpus"] == len(cpus)
    assert found["minor_faults"] >= 0
