from __future__ import annotations

import threading

import numpy as np
import pytest

from deploymark.backends.base import ExecutedPrecision, Session
from deploymark.bench.worker.letterbox import to_input
from deploymark.bench.worker.measure import streams
from deploymark.bench.worker.measure.streams import Direct, Query, Samples, Streams

SIZE = 4


class Answers(Session):
    """Notes the images of each inference, by the value that they are filled with."""

    def __init__(self, batch: int = 1, *, bad: int | None = None) -> None:
        super().__init__((batch, 3, SIZE, SIZE))
        self.bad = bad
        self.seen: list[list[int]] = []
        self.threads: set[int] = set()

    def infer_impl(self, images: np.ndarray) -> np.ndarray:
        values = [round(float(image.flat[0]) * 255) for image in images]
        self.seen.append(values)
        self.threads.add(threading.get_ident())
        if self.bad in values:
            raise RuntimeError(f"image {self.bad} is bad")
        return images

    def executed_precision(self) -> ExecutedPrecision:
        return ExecutedPrecision()


class Completed:
    def __init__(self) -> None:
        self.ids: list[int] = []

    def __call__(self, query: Query) -> None:
        self.ids += [number for number, _ in query]


def samples(count: int = 8) -> Samples:
    """Image n is filled with n."""
    values = np.arange(count, dtype=np.uint8)[:, None, None, None]
    made = Samples(np.broadcast_to(values, (count, SIZE, SIZE, 3)).copy(), to_input)
    made.load([*range(count), 0])  # LoadGen names some twice
    return made


def test_few_large_images_are_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = np.zeros((100, SIZE, SIZE, 3), np.uint8)
    assert (Samples(prepared, to_input).total, Samples(prepared, to_input).count) == (100, 64)
    assert Samples(prepared[:5], to_input).count == 5
    monkeypatch.setattr(streams, "RESIDENT_BYTES", 10 * 4 * 3 * SIZE**2 + 1)
    assert Samples(prepared, to_input).count == 10
    monkeypatch.setattr(streams, "RESIDENT_BYTES", 1)
    assert Samples(prepared, to_input).count == 1


def test_images_are_gone_when_unloaded() -> None:
    made = samples()
    made.unload([3, 3])
    with pytest.raises(KeyError):
        made.batch([(0, 3)], 1)


def test_a_batch_is_filled_with_its_last_image() -> None:
    batch = samples().batch([(10, 5), (11, 2)], 4)
    assert batch.shape == (4, 3, SIZE, SIZE)
    assert [round(float(image.flat[0]) * 255) for image in batch] == [5, 2, 2, 2]


def test_a_single_stream_answers_in_the_issuing_thread() -> None:
    session, completed = Answers(), Completed()
    direct = Direct(session, samples(), completed)
    direct.issue([100], [7])
    assert (session.seen, completed.ids) == ([[7]], [100])
    assert session.threads == {threading.get_ident()}


def test_a_single_stream_that_failed_completes_the_rest_without_inferring() -> None:
    session, completed = Answers(bad=1), Completed()
    direct = Direct(session, samples(), completed)
    for number, index in enumerate((0, 1, 2)):
        direct.issue([number], [index])
    assert (session.seen, completed.ids) == ([[0], [1]], [0, 1, 2])
    assert "image 1 is bad" in str(direct.failure)


@pytest.mark.parametrize("batch", [1, 3])
def test_streams_answer_every_sample_of_a_query(batch: int) -> None:
    sessions, completed = [Answers(batch), Answers(batch)], Completed()
    with Streams(sessions, samples(), merge=False) as made:
        made.start(completed)
        made.issue(range(100, 108), range(8))
        made.stop()
    assert sorted(completed.ids) == list(range(100, 108))
    seen = sessions[0].seen + sessions[1].seen
    assert {index for batch in seen for index in batch} == set(range(8))
    assert len(seen) == -(-8 // batch)
    assert threading.get_ident() not in sessions[0].threads | sessions[1].threads


def test_a_session_stays_on_its_thread() -> None:
    sessions = [Answers(), Answers()]
    with Streams(sessions, samples(), merge=False) as made:
        inputs = samples().batch([(0, 0)], 1)
        for _ in range(2):
            made.together(lambda session: session.infer(inputs))
        made.start(Completed())
        made.issue(range(20), [0] * 20)
        made.stop()
    first, second = (session.threads for session in sessions)
    assert len(first) == len(second) == 1
    assert first != second


def test_queries_that_wait_share_a_batch() -> None:
    session, completed = Answers(4), Completed()
    with Streams([session], samples(), merge=True) as made:
        for number in range(6):
            made.issue([number], [number])
        made.start(completed)
        made.stop()
    assert session.seen == [[0, 1, 2, 3], [4, 5, 5, 5]]
    assert completed.ids == list(range(6))


def test_a_failure_is_raised_when_all_is_completed() -> None:
    sessions, completed = [Answers(bad=2), Answers(bad=2)], Completed()
    with Streams(sessions, samples(), merge=False) as made:
        made.start(completed)
        made.issue(range(8), range(8))
        with pytest.raises(RuntimeError, match="image 2 is bad"):
            made.stop()
    assert sorted(completed.ids) == list(range(8))
