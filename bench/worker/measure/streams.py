"""The two halves that LoadGen asks for: a library of images, and a system that answers queries.

Sessions answer in the issuing thread (``Direct``) or several of them at the same time, each on a
thread of its own (``Streams``). Python 3.10 and numpy alone: the worker's side.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from deploymark.backends.base import Session

if TYPE_CHECKING:
    from typing import Self

    import numpy as np
    import numpy.typing as npt

PERFORMANCE_SAMPLES = 64
"""Images held in memory as inputs: ``retinanet.*.performance_sample_count_override`` of
mlperf.conf, the detector among MLPerf's models."""

RESIDENT_BYTES = 512 << 20
"""What these images may take; fewer are held where they are large."""

Query = list[tuple[int, int]]
"""Samples of one inference: (id of the response, index of the image)."""

Complete = Callable[[Query], None]

ToInput = Callable[["npt.NDArray[np.uint8]"], "npt.NDArray[Any]"]


class Samples:
    """The query sample library: prepared images, loaded as inputs when LoadGen asks for them.

    ``prepared``: uint8 (images, height, width, 3); ``to_input`` makes of some what a session takes.
    ``count`` is how many are loaded at a time.
    """

    def __init__(self, prepared: npt.NDArray[np.uint8], to_input: ToInput) -> None:
        self._prepared = prepared
        self._to_input = to_input
        self._inputs: dict[int, npt.NDArray[Any]] = {}
        bytes_each = 4 * prepared[0].size
        fitting = max(1, RESIDENT_BYTES // bytes_each)
        self.total = len(prepared)
        self.count = min(self.total, PERFORMANCE_SAMPLES, fitting)

    def load(self, indices: Sequence[int]) -> None:
        """Make inputs of these images; LoadGen names some of them twice."""
        for index in set(indices) - set(self._inputs):
            self._inputs[index] = self._to_input(self._prepared[[index]])

    def unload(self, indices: Sequence[int]) -> None:
        """Let these images go."""
        for index in indices:
            self._inputs.pop(index, None)

    def batch(self, query: Query, size: int) -> npt.NDArray[Any]:
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


class Direct:
    """The system under test of a single stream: it answers in LoadGen's own thread."""

    def __init__(self, session: Session, samples: Samples, complete: Complete) -> None:
        self._session, self._samples, self._complete = session, samples, complete
        self.failure: Exception | None = None

    def issue(self, ids: Sequence[int], indices: Sequence[int]) -> None:
        """Answer a query before returning."""
        query = list(zip(ids, indices, strict=True))
        if self.failure is None:
            try:
                self._session.infer(self._samples.batch(query, 1))
            except Exception as error:  # noqa: BLE001 - raised when LoadGen has ended
                self.failure = error
        self._complete(query)
