"""The scenarios of MLPerf Inference: the real LoadGen puts a loaded artifact under traffic.

LoadGen (mlcommons/inference, ``loadgen/``) decides when a query is issued, times it from there to
its completion, and judges the run; ``bench.worker.measure.streams`` answers. Python 3.10, numpy and
``mlperf_loadgen`` alone: the worker's side.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends.base import Session, UnavailableError
from deploymark.bench.worker.measure import conditions, latency
from deploymark.bench.worker.measure.streams import Complete, Direct, Samples, Streams

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

RATE_S = 1.0
"""Seconds of inferences on all streams at once that tell LoadGen how fast the system is."""

SERVER_SHARE = 0.5
"""Of that rate: the queries a second of a server scenario that names none. A single server with
Poisson arrivals then waits as long as half an inference on average (M/D/1 queue)."""

OFFLINE_MARGIN = 1.25
"""LoadGen makes 1.1 times the images that the expected rate needs (``kSlack``,
test_settings_internal.cc), and finds a run too short that was 10 % faster: this much more."""


def _module() -> Any:
    """LoadGen's bindings. Raises UnavailableError where they are not installed."""
    try:
        import mlperf_loadgen
    except ImportError as error:
        raise UnavailableError(
            f"MLPerf's LoadGen is not installed in the worker's interpreter ({error})",
            remedy="pip install 'mlcommons-loadgen>=5'",
        ) from error
    return mlperf_loadgen


def check_installed() -> None:
    """Raises UnavailableError where LoadGen is not installed."""
    _module()


def _settings(loadgen: Any, scenario: Mapping[str, Any], seed: int, rate_ips: float) -> Any:
    """LoadGen's settings. ``rate_ips`` is the images a second that the system makes.

    The expected latencies and rates are hints of how many queries to prepare: too few would end the
    test early, so that they tell LoadGen of a system twice as fast.
    """
    settings = loadgen.TestSettings()
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = round(scenario["duration_s"] * 1e3)
    settings.min_query_count = scenario["queries"]
    for name in ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed"):
        setattr(settings, name, seed % (1 << 64))
    kind = scenario["kind"]
    percentile = (scenario["percentile"] or 0.0) / 100
    if kind == "single-stream":
        settings.scenario = loadgen.TestScenario.SingleStream
        settings.single_stream_expected_latency_ns = round(0.5e9 / rate_ips)
        settings.single_stream_target_latency_percentile = percentile
    elif kind == "multi-stream":
        images = scenario["samples_per_query"]
        settings.scenario = loadgen.TestScenario.MultiStream
        settings.multi_stream_samples_per_query = images
        settings.multi_stream_expected_latency_ns = round(0.5e9 * images / rate_ips)
        settings.multi_stream_target_latency_percentile = percentile
    elif kind == "server":
        settings.scenario = loadgen.TestScenario.Server
        settings.server_target_qps = scenario["target_qps"] or SERVER_SHARE * rate_ips
        settings.server_target_latency_ns = round(scenario["target_latency_ms"] * 1e6)
        settings.server_target_latency_percentile = percentile
    else:
        settings.scenario = loadgen.TestScenario.Offline
        settings.offline_expected_qps = OFFLINE_MARGIN * rate_ips
    return settings


def _log_settings(loadgen: Any, folder: Path) -> Any:
    output = loadgen.LogOutputSettings()
    output.outdir = str(folder)
    logs = loadgen.LogSettings()
    logs.log_output = output
    logs.enable_trace = False
    return logs


def _inferences(session: Session, inputs: Sequence[Any], seconds: float) -> int:
    """Inferences in so many seconds."""
    done, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        session.infer(inputs[done % len(inputs)])
        done += 1
    return done


def run_single_stream(
    session: Session,
    samples: Samples,
    scenario: Mapping[str, Any],
    *,
    seed: int,
    expected_ms: float,
    folder: Path,
    watch: conditions.Watch | None = None,
) -> None:
    """One run of LoadGen on a session that is warm. ``expected_ms`` is its latency, as a hint."""
    loadgen = _module()
    direct = Direct(session, samples, _completer(loadgen))
    settings = _settings(loadgen, scenario, seed, 1e3 / expected_ms)
    _start_test(loadgen, direct.issue, samples, settings, folder, watch)
    if direct.failure is not None:
        raise direct.failure


def run(
    sessions: Sequence[Session],
    samples: Samples,
    inputs: Sequence[npt.NDArray[np.float32]],
    scenario: Mapping[str, Any],
    *,
    seed: int,
    warmup_max_s: float,
    folder: Path,
    watch: conditions.Watch | None = None,
) -> dict[str, Any]:
    """One run of LoadGen, its logs in ``folder``: what it was told of the system's speed.

    ``scenario`` has the keys of the matrix's entry; ``sessions`` are equal. ``folder`` exists.
    ``watch`` is started and paused with LoadGen's traffic. Raises UnavailableError where LoadGen is
    not installed.
    """
    loadgen = _module()
    if scenario["kind"] == "single-stream":
        warmed = latency.warm_up(sessions[0].infer, inputs, max_s=warmup_max_s)
        times = latency.timed(
            sessions[0].infer, inputs, seconds=RATE_S, min_iterations=5, max_iterations=200
        )
        expected_ms = statistics.median(times) / 1e6
        run_single_stream(
            sessions[0],
            samples,
            scenario,
            seed=seed,
            expected_ms=expected_ms,
            folder=folder,
            watch=watch,
        )
        return {"steady": warmed.steady, "rate_ips": 1e3 / expected_ms, "target_qps": None}
    with Streams(sessions, samples, merge=scenario["kind"] == "server") as streams:
        warm = streams.together(lambda s: latency.warm_up(s.infer, inputs, max_s=warmup_max_s))
        counts = streams.together(lambda s: _inferences(s, inputs, RATE_S))
        rate_ips = sum(counts) * sessions[0].input_shape[0] / RATE_S
        settings = _settings(loadgen, scenario, seed, rate_ips)
        streams.start(_completer(loadgen))
        try:
            _start_test(loadgen, streams.issue, samples, settings, folder, watch)
        finally:
            streams.stop()
    return {
        "steady": all(item.steady for item in warm),
        "rate_ips": rate_ips,
        "target_qps": settings.server_target_qps if scenario["kind"] == "server" else None,
    }


def _completer(loadgen: Any) -> Complete:
    """Tells LoadGen that samples are answered; without data, as it keeps none here."""
    response, complete = loadgen.QuerySampleResponse, loadgen.QuerySamplesComplete
    return lambda query: complete([response(number, 0, 0) for number, _ in query])


def _start_test(
    loadgen: Any,
    issue: Callable[[Sequence[int], Sequence[int]], None],
    samples: Samples,
    settings: Any,
    folder: Path,
    watch: conditions.Watch | None,
) -> None:
    system = loadgen.ConstructFastSUT(issue, lambda: None)
    library = loadgen.ConstructQSL(samples.total, samples.count, samples.load, samples.unload)
    try:
        with latency.no_collection():
            # By default it obeys an audit.config of the working directory.
            audit = str(folder / "no-audit.config")
            logs = _log_settings(loadgen, folder)
            if watch is not None:
                watch.start()
            loadgen.StartTestWithLogSettings(system, library, settings, logs, audit)
            if watch is not None:
                watch.pause()
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroyFastSUT(system)
