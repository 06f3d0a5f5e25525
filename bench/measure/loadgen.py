"""The scenarios of MLPerf Inference: the real LoadGen puts a loaded artifact under traffic.

LoadGen (mlcommons/inference, ``loadgen/``) decides when a query is issued, times it from there to
its completion, and judges the run; here are the two halves that it asks for: the query sample
library (``Samples``) and the system under test, which answers in the issuing thread
(``answer_directly``) or with several sessions, each on a thread of its own (``Streams``). Python
3.10, numpy and ``mlperf_loadgen`` alone: the worker's side.
"""

from __future__ import annotations

import queue
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.base import Session, UnavailableError
from bench.measure import latency

if TYPE_CHECKING:
    from typing import Self

    import numpy as np
    import numpy.typing as npt

PERFORMANCE_SAMPLES = 64
"""Images held in memory as inputs: ``retinanet.*.performance_sample_count_override`` of
mlperf.conf, the detector among MLPerf's models."""

RESIDENT_BYTES = 512 << 20
"""What these images may take; fewer are held where they are large."""

RATE_S = 1.0
"""Seconds of inferences on all streams at once that tell LoadGen how fast the system is."""

SERVER_SHARE = 0.5
"""Of that rate: the queries a second of a server scenario that names none. A single server with
Poisson arrivals then waits as long as half an inference on average (M/D/1 queue)."""

OFFLINE_MARGIN = 1.25
"""LoadGen makes 1.1 times the images that the expected rate needs (``kSlack``,
test_settings_internal.cc), and finds a run too short that was 10 % faster: this much more."""

Query = list[tuple[int, int]]
"""Samples of one inference: (id of the response, index of the image)."""

Complete = Callable[[Query], None]


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


class Samples:
    """The query sample library: prepared images, loaded as inputs when LoadGen asks for them.

    ``prepared``: uint8 (images, imgsz, imgsz, 3). ``count`` is how many are loaded at a time.
    """

    def __init__(self, prepared: npt.NDArray[np.uint8]) -> None:
        self._prepared = prepared
        self._inputs: dict[int, npt.NDArray[np.float32]] = {}
        bytes_each = 4 * prepared[0].size
        fitting = max(1, RESIDENT_BYTES // bytes_each)
        self.total = len(prepared)
        self.count = min(self.total, PERFORMANCE_SAMPLES, fitting)

    def load(self, indices: Sequence[int]) -> None:
        """Make inputs of these images; LoadGen names some of them twice."""
        from bench.letterbox import to_input

        for index in set(indices) - set(self._inputs):
            self._inputs[index] = to_input(self._prepared[[index]])

    def unload(self, indices: Sequence[int]) -> None:
        """Let these images go."""
        for index in indices:
            self._inputs.pop(index, None)

    def batch(self, query: Query, size: int) -> npt.NDArray[np.float32]:
        """The images of a query as a batch of ``size``, its last one repeated to fill it."""
        if size == 1:
            return self._inputs[query[0][1]]
        import numpy as np

        indices = [index for _, index in query]
        indices += indices[-1:] * (size - len(indices))
        return np.concatenate([self._inputs[index] for index in indices])


class Streams:
    """Sessions that answer queries at the same time, each on a thread of its own."""

    def __init__(self, sessions: Sequence[Session], samples: Samples, *, merge: bool) -> None:
        """``merge`` joins queries that wait into one batch, where the artifact has room for it."""
        self._sessions = sessions
        self._batch = sessions[0].input_shape[0]
        self._samples = samples
        self._merge = merge
        self._waiting: queue.SimpleQueue[Query | None] = queue.SimpleQueue()
        # One thread a session from the first inference on: runtimes keep pools a thread.
        self._threads = [ThreadPoolExecutor(1, f"stream-{n}") for n in range(len(sessions))]
        self._serving: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.shutdown()

    def together(self, work: Callable[[Session], Any]) -> list[Any]:
        """The results of ``work`` on all sessions at once, each in its thread."""
        pairs = zip(self._threads, self._sessions, strict=True)
        return [future.result() for future in [t.submit(work, s) for t, s in pairs]]

    def start(self, complete: Complete) -> None:
        """Begin to answer."""
        pairs = zip(self._threads, self._sessions, strict=True)
        self._serving = [thread.submit(self._serve, session, complete) for thread, session in pairs]

    def issue(self, ids: Sequence[int], indices: Sequence[int]) -> None:
        """Take a query; returns at once."""
        query = list(zip(ids, indices, strict=True))
        for start in range(0, len(query), self._batch):
            self._waiting.put(query[start : start + self._batch])

    def stop(self) -> None:
        """End when all is answered. Raises what an inference raised."""
        for _ in self._threads:
            self._waiting.put(None)
        for future in self._serving:
            future.result()

    def _serve(self, session: Session, complete: Complete) -> None:
        failure: Exception | None = None
        while (query := self._waiting.get()) is not None:
            if self._merge:
                self._add_waiting(query)
            if failure is None:
                try:
                    session.infer(self._samples.batch(query, self._batch))
                except Exception as error:  # noqa: BLE001 - raised when LoadGen has ended
                    failure = error
            # Of a query that failed, too: LoadGen waits for every one.
            complete(query)
        if failure is not None:
            raise failure

    def _add_waiting(self, query: Query) -> None:
        """Fill up a batch with single queries that wait already."""
        while len(query) < self._batch:
            try:
                more = self._waiting.get_nowait()
            except queue.Empty:
                return
            if more is None:
                self._waiting.put(None)
                return
            query += more


class _Direct:
    """The system under test of a single stream: it answers in LoadGen's own thread."""

    def __init__(self, session: Session, samples: Samples, complete: Complete) -> None:
        self._session, self._samples, self._complete = session, samples, complete
        self.failure: Exception | None = None

    def issue(self, ids: Sequence[int], indices: Sequence[int]) -> None:
        query = list(zip(ids, indices, strict=True))
        if self.failure is None:
            try:
                self._session.infer(self._samples.batch(query, 1))
            except Exception as error:  # noqa: BLE001 - raised when LoadGen has ended
                self.failure = error
        self._complete(query)


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
        setattr(settings, name, seed)
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
) -> None:
    """One run of LoadGen on a session that is warm. ``expected_ms`` is its latency, as a hint."""
    loadgen = _module()
    direct = _Direct(session, samples, _completer(loadgen))
    settings = _settings(loadgen, scenario, seed, 1e3 / expected_ms)
    _start_test(loadgen, direct.issue, samples, settings, folder)
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
) -> dict[str, Any]:
    """One run of LoadGen, its logs in ``folder``: what it was told of the system's speed.

    ``scenario`` has the keys of the matrix's entry; ``sessions`` are equal. ``folder`` exists.
    Raises UnavailableError where LoadGen is not installed.
    """
    loadgen = _module()
    if scenario["kind"] == "single-stream":
        warmed = latency.warm_up(sessions[0].infer, inputs, max_s=warmup_max_s)
        times = latency.timed(
            sessions[0].infer, inputs, seconds=RATE_S, min_iterations=5, max_iterations=200
        )
        expected_ms = statistics.median(times) / 1e6
        run_single_stream(
            sessions[0], samples, scenario, seed=seed, expected_ms=expected_ms, folder=folder
        )
        return {"steady": warmed.steady, "rate_ips": 1e3 / expected_ms, "target_qps": None}
    with Streams(sessions, samples, merge=scenario["kind"] == "server") as streams:
        warm = streams.together(lambda s: latency.warm_up(s.infer, inputs, max_s=warmup_max_s))
        counts = streams.together(lambda s: _inferences(s, inputs, RATE_S))
        rate_ips = sum(counts) * sessions[0].input_shape[0] / RATE_S
        settings = _settings(loadgen, scenario, seed, rate_ips)
        streams.start(_completer(loadgen))
        try:
            _start_test(loadgen, streams.issue, samples, settings, folder)
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
) -> None:
    system = loadgen.ConstructFastSUT(issue, lambda: None)
    library = loadgen.ConstructQSL(samples.total, samples.count, samples.load, samples.unload)
    try:
        with latency.no_collection():
            # By default it obeys an audit.config of the working directory.
            audit = str(folder / "no-audit.config")
            logs = _log_settings(loadgen, folder)
            loadgen.StartTestWithLogSettings(system, library, settings, logs, audit)
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroyFastSUT(system)
