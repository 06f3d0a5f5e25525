"""A run as pandas DataFrames of its cells, launches and samples, units in the names of columns.

pandas is not among Deploymark's dependencies: the extra ``pandas`` installs it.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from deploymark.bench.errors import BadInputError
from deploymark.bench.records.files import check_sum
from deploymark.bench.records.launches import read_launches
from deploymark.bench.records.run import SAMPLES_FILE, CellResult, Run, cell_row

if TYPE_CHECKING:
    import pandas as pd

_SCALARS = (bool, int, float, str, type(None))


def cells_frame(run: Run) -> pd.DataFrame:
    """One row a cell: the columns of ``cells.json``, in its order.

    Raises BadInputError where pandas is not installed.
    """
    columns = list(cell_row(CellResult("", "ok")))
    return _pandas().DataFrame([cell_row(cell) for cell in run.cells], columns=columns)


def launches_frame(run: Run) -> pd.DataFrame:
    """One row a launch, every attempt of it, in order of time.

    ``latency_p50_ms`` and ``e2e_p50_ms`` are medians of the launch, ``iterations`` its timed
    inferences, ``disturbed`` whether other load disturbed it. The rest are the launch's own columns
    that are no lists; what is nested keeps its names, joined by a dot (``conditions.wall_s``).
    Raises BadInputError where pandas is not installed or ``launches.jsonl`` cannot be read.
    """
    return _pandas().DataFrame([_launch_row(record) for record in read_launches(run.folder)])


def samples_frame(run: Run) -> pd.DataFrame:
    """One row an inference: cell, launch, iteration and ``latency_ns``.

    The launches that make the figures, as ``samples.parquet`` has them. Raises BadInputError where
    pandas is not installed or the run has no samples.
    """
    pandas = _pandas()
    import pyarrow.parquet as pq

    path = run.folder / SAMPLES_FILE
    try:
        check_sum(path, run.info.checksums.get(SAMPLES_FILE))
        table = pq.read_table(path)
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error}") from error
    columns = {
        "latency_ns" if name == "nanoseconds" else name: table.column(name).to_numpy()
        for name in table.column_names
    }
    frame: pd.DataFrame = pandas.DataFrame(columns)
    return frame


def _launch_row(record: dict[str, Any]) -> dict[str, Any]:
    row = {key: value for key, value in record.items() if isinstance(value, _SCALARS)}
    for key, value in record.items():
        if isinstance(value, dict):
            row |= {f"{key}.{k}": v for k, v in value.items() if isinstance(v, _SCALARS)}
    row["disturbed"] = bool(record.get("disturbed"))
    times, ends = record.get("latency_ns") or [], record.get("e2e_ns") or []
    row["iterations"] = len(times)
    row["latency_p50_ms"] = statistics.median(times) / 1e6 if times else None
    row["e2e_p50_ms"] = statistics.median(ends) / 1e6 if ends else None
    return row


def _pandas() -> Any:
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise BadInputError(
            "DataFrames take pandas, which is not installed",
            remedy='Install it: pip install "deploymark[pandas]"',
        ) from error
    return pd
