"""The gate beside its peers: what they say of the very samples that the gate's trials left.

1. **pytest-benchmark**: the samples are replayed through its own fixture (``gate_replay.py``), the
   baseline's saved, the candidate's compared with ``--benchmark-compare-fail=median:3%``; what it
   lists as regressed counts. Once for the first pair of a trial alone, which is what comparing one
   run with one run means, and once for all pairs of a trial pooled.
2. **benchmatrix**, where it is installed: each side of a pair is one run file, an export of
   pytest-benchmark with benchmatrix's metadata, and the pairs are the matched blocks of its paired
   comparison, at its defaults (threshold 5 %, bias-corrected bootstrap of the ratio of medians of
   the runs' means, 95 %, five pairs at least). Its interval does not depend on the threshold, so
   the verdict at 1 % is read from the same interval by the same rule. Its design wants a number of
   pairs fixed beforehand, and that one command of a block runs before the other: here the gate's
   rule chose the number, and both were alive at once, so no order is told.

The samples are those of ``gate_trials.py``; a file that is still growing will do. What was judged
is kept, a line a trial, in the ``--record``: the table is of all trials that it holds, also where
their samples are gone. It needs pytest-benchmark and this package, no runtime::

    python tests/benchmarks/gate_peers.py FOLDER/samples.jsonl --record peers.jsonl
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

VERDICTS = ("regressed", "unchanged", "improved", "inconclusive")
KINDS = {
    "aa": "the same artifact twice",
    "slower-3": "3 % slower",
    "slower-2": "2 % slower",
}
FAIL = "median:3%"
THRESHOLDS_PERCENT = (5.0, 1.0)
AT_ONCE = 40
"""Trials whose samples go through one pytest run."""

Sample = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Judged:
    """One trial and what each tool says of it. ``peers`` is keyed by the tool's column."""

    trial: int
    kind: str
    loaded: bool
    verdict: str
    seconds: float
    peers: dict[str, str]


def read_trials(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file; a last line that is still being written is left out.

    Of a trial that was made again the last one counts. Trials that failed before a pair was there
    have nothing to compare, and are told of.
    """
    found, empty = {}, 0
    for line in path.read_text("utf-8").splitlines():
        try:
            trial = json.loads(line)
        except json.JSONDecodeError:
            continue
        if trial["baseline_ns"] and trial["candidate_ns"]:
            found[trial["trial"]] = trial
        else:
            empty += 1
    if empty:
        print(f"{empty} trials without a sample are left out")
    return list(found.values())


def run_pytest(samples: Iterable[Sample], folder: Path, *options: str) -> str:
    """Replay samples in one pytest run of its own; what it prints."""
    given = folder / "samples.jsonl"
    with given.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(sample) + "\n" for sample in samples)
    settings = folder / "pytest.ini"
    settings.write_text("[pytest]\n", "utf-8")
    module = Path(__file__).with_name("gate_replay.py")
    command = [sys.executable, "-m", "pytest", str(module), "-q", "-c", str(settings)]
    command += ["-p", "no:cacheprovider", f"--benchmark-storage={folder / 'saved'}", *options]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GATE_SAMPLES": str(given)},
    )
    ended_well = done.returncode == 0 or "Performance has regressed" in done.stdout + done.stderr
    if not ended_well:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout + done.stderr


def pytest_benchmark(trials: Sequence[dict[str, Any]]) -> dict[tuple[int, str], str]:
    """``regressed`` or ``passed``, by trial and by what was compared: ``first`` or ``pooled``."""

    def samples(side: str) -> Iterator[Sample]:
        for trial in trials:
            pairs = trial[side]
            for what, values in (("first", pairs[0]), ("pooled", list(itertools.chain(*pairs)))):
                name = f"{trial['trial']}-{what}"
                yield {"name": name, "samples_ns": values, "extra_info": {}}

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_pytest(samples("baseline_ns"), folder, "--benchmark-save=baseline")
        said = run_pytest(
            samples("candidate_ns"),
            folder,
            "--benchmark-compare=0001",
            f"--benchmark-compare-fail={FAIL}",
        )
    failed = {
        (int(number), what)
        for number, what in re.findall(r"test_replayed\[(\d+)-(\w+)\] .*- Field 'median'", said)
    }
    return {
        (trial["trial"], what): "regressed" if (trial["trial"], what) in failed else "passed"
        for trial in trials
        for what in ("first", "pooled")
    }


def benchmatrix_runs(trials: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write one run file a side of a pair: ``<trial>-<pair>-<side>.json``."""

    def samples() -> Iterator[Sample]:
        for trial in trials:
            about = {
                "benchmatrix_producer": "benchmatrix",
                "benchmatrix_schema_version": 1,
                "metric_name": "single_call_latency",
                "implementation_name": "detector",
                "case_name": trial["cell"],
                "case_fresh_inputs": False,
            }
            for side in ("baseline", "candidate"):
                for pair, values in enumerate(trial[f"{side}_ns"]):
                    name = f"{trial['trial']}-{pair}-{side}"
                    yield {"name": name, "samples_ns": values, "extra_info": about}

    export = folder / "export.json"
    run_pytest(samples(), folder, f"--benchmark-json={export}")
    whole = json.loads(export.read_text("utf-8"))
    for benchmark in whole["benchmarks"]:
        path = folder / f"{benchmark['param']}.json"
        path.write_text(json.dumps({**whole, "benchmarks": [benchmark]}), "utf-8")


def verdict_of(low: float, high: float, threshold: float) -> str:
    """The rule of benchmatrix's documentation, for improvements in per cent (less is slower)."""
    if high < -threshold:
        return "regressed"
    if low > threshold:
        return "improved"
    return "unchanged" if low >= -threshold and high <= threshold else "inconclusive"


def benchmatrix(trials: Sequence[dict[str, Any]]) -> dict[tuple[int, float], str]:
    """Its verdict, by trial and threshold in per cent."""
    from benchmatrix import compare_paired_benchmark_run_groups, load_benchmark_run

    found: dict[tuple[int, float], str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        benchmatrix_runs(trials, folder)
        for trial in trials:
            baselines, candidates = (
                [
                    load_benchmark_run(folder / f"{trial['trial']}-{pair}-{side}.json")
                    for pair in range(len(trial["baseline_ns"]))
                ]
                for side in ("baseline", "candidate")
            )
            (cell,) = compare_paired_benchmark_run_groups(baselines, candidates).comparisons
            for threshold in THRESHOLDS_PERCENT:
                found[trial["trial"], threshold] = _said(cell, threshold)
    return found


def _said(cell: Any, threshold: float) -> str:
    """What a comparison says at a threshold; checked against its own word at its own threshold."""
    inference = cell.inference
    if inference is None or not inference.adequate:
        return str(cell.regression)
    said = verdict_of(
        inference.confidence_low_percent, inference.confidence_high_percent, threshold
    )
    if threshold == cell.threshold_percent and said != cell.regression:
        raise SystemExit(f"benchmatrix says {cell.regression}, its interval {said}")
    return said


def judge(trials: Sequence[dict[str, Any]], *, with_benchmatrix: bool) -> list[Judged]:
    """The trials under every tool."""
    plain = pytest_benchmark(trials)
    paired = benchmatrix(trials) if with_benchmatrix else {}
    judged = []
    for trial in trials:
        number = trial["trial"]
        peers = {f"pytest-benchmark, {what}": plain[number, what] for what in ("first", "pooled")}
        for threshold in THRESHOLDS_PERCENT if with_benchmatrix else ():
            peers[f"benchmatrix, {threshold:g} %"] = paired[number, threshold]
        about = (trial[name] for name in ("trial", "kind", "loaded", "verdict", "seconds"))
        judged.append(Judged(*about, peers))
    return judged


def read_record(path: Path) -> list[Judged]:
    """What was judged before."""
    if not path.exists():
        return []
    return [Judged(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]


def share(verdicts: Sequence[str], wanted: str) -> str:
    """How many of them are the wanted one, in per cent."""
    return f"{100 * verdicts.count(wanted) / len(verdicts):.1f} %"


def table(judged: Sequence[Judged]) -> str:
    """A Markdown table: a row for each tool and kind of trial."""
    lines = [
        "| trials | tool | regressed | unchanged | improved | inconclusive |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    kinds = sorted({(trial.kind, trial.loaded) for trial in judged}, key=_order)
    for kind, loaded in kinds:
        group = [trial for trial in judged if (trial.kind, trial.loaded) == (kind, loaded)]
        what = KINDS.get(kind, kind) + (", beside a load" if loaded else "")
        said = {"Deploymark": [trial.verdict for trial in group]}
        for tool in group[0].peers:
            said[tool] = [trial.peers[tool] for trial in group]
        for tool, verdicts in said.items():
            passes = "passed" in verdicts or tool.startswith("pytest-benchmark")
            cells = [share(verdicts, "regressed")]
            if passes:  # it knows no other word
                cells += [f"{share(verdicts, 'passed')} passed", "", ""]
            else:
                cells += [share(verdicts, verdict) for verdict in VERDICTS[1:]]
            lines.append(f"| {what} ({len(group)}) | {tool} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _order(kind: tuple[str, bool]) -> tuple[int, str, bool]:
    known = list(KINDS)
    return (known.index(kind[0]) if kind[0] in known else len(known), *kind)


def others(judged: Sequence[Judged]) -> str:
    """Trials that a tool gave none of the four verdicts, in words; empty where there are none."""
    known = {*VERDICTS, "passed"}
    odd = Counter(
        (tool, said)
        for trial in judged
        for tool, said in (("Deploymark", trial.verdict), *trial.peers.items())
        if said not in known
    )
    return "\n".join(f"{tool}: {count} trials {said}" for (tool, said), count in odd.items())


def main() -> None:
    """Judge the trials of a file and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("samples", type=Path, help="an object a line, of gate_trials.py")
    parser.add_argument("--record", type=Path, help="keep the verdicts here, and go on from there")
    options = parser.parse_args()
    record: Path = options.record or options.samples.with_name("peers.jsonl")
    judged = read_record(record)
    known = {trial.trial for trial in judged}
    trials = [trial for trial in read_trials(options.samples) if trial["trial"] not in known]
    if not trials and not judged:
        raise SystemExit(f"{options.samples}: no trial in it yet")
    tools = [f"pytest-benchmark {metadata.version('pytest-benchmark')}, {FAIL}"]
    with_benchmatrix = True
    try:
        tools.append(f"benchmatrix {metadata.version('benchmatrix')}")
    except metadata.PackageNotFoundError:
        with_benchmatrix = False
        print("benchmatrix is not installed here (pip install benchmatrix): left out")
    for start in range(0, len(trials), AT_ONCE):
        new = judge(trials[start : start + AT_ONCE], with_benchmatrix=with_benchmatrix)
        with record.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(dataclasses.asdict(trial)) + "\n" for trial in new)
        judged += new
        print(f"{len(judged)} of {len(known) + len(trials)} trials", file=sys.stderr, flush=True)
    print(f"{'; '.join(tools)}; {len(judged)} trials\n\n{table(judged)}\n{others(judged)}")


if __name__ == "__main__":
    main()
