"""Fuzz the readers of files by coverage: ``python -m tests.fuzz.guided --seconds 600 [target …]``.

libFuzzer through atheris keeps what reaches code of ours that nothing reached before, and goes on
from there; half of its mutations are ours (``mutations``), which know the shape of a document.
``tests/fuzz/corpus/`` has what earlier series kept, the least that reaches as much: each series
starts from it and ``--keep`` writes it anew. A finding is anything but an error of our own tree,
what takes too long (``fuzz.bounded``), and 2 GiB of memory; its bytes lie under ``--findings``, and
``--replay FILE`` gives them to the target again.

It prints executions, edges reached and findings a target, and ends with 1 where one was found.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"

LIMITS = ("-rss_limit_mb=2048", "-timeout=0", "-max_len=65536", "-print_final_stats=1")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target")
    parser.add_argument("--seconds", type=int, default=600, help="of each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--keep", action="store_true", help="write the corpus anew")
    parser.add_argument("--replay", type=Path, help="bytes for the one target that is named")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--engine", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def folder_of(name: str) -> str:
    """The name of a target as a folder's."""
    return name.replace(" ", "-")


def child(name: str, findings: Path, engine: list[str]) -> None:
    """Fuzz one target in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["deploymark"]):
        from tests.fuzz.fuzz import Hangs, bounded, place_of
        from tests.fuzz.targets import TARGETS, execute, fresh

    target = TARGETS[name]
    scratch = tempfile.TemporaryDirectory(prefix="fuzz-")
    path = fresh(target, Path(scratch.name) / "case")
    seen: set[str] = set()

    def once(data: bytes) -> None:
        try:
            with bounded():
                execute(target, path, data)
        except (Exception, Hangs) as error:  # noqa: BLE001 - this is what is looked for
            place = place_of(error)
            key = place.rpartition(": ")[0]
            if key not in seen:
                seen.add(key)
                findings.mkdir(parents=True, exist_ok=True)
                (findings / f"{folder_of(name)}-{len(seen)}").write_bytes(data)
                print(f"FINDING {place}", flush=True)
                traceback.print_exc()

    def change(data: bytes, longest: int, seed: int) -> bytes:
        chance = random.Random(seed)  # noqa: S311 - no secret
        if chance.random() < 0.5:
            try:
                return target.change(bytes(data), chance)[:longest]
            except (ValueError, RecursionError):  # no document any more
                pass
        return bytes(atheris.Mutate(data, longest))

    once(path.read_bytes())
    atheris.Setup([sys.argv[0], *engine], once, custom_mutator=change)
    atheris.Fuzz()


def _command(name: str, findings: Path, *engine: str) -> list[str]:
    own = ["--child", name, "--findings", str(findings), "--engine", *engine]
    return [sys.executable, "-m", "tests.fuzz.guided", *own]


def fuzz(name: str, seconds: int, seed: int, findings: Path, keep: bool) -> int:
    """Fuzz one target in a child for so long; the number of findings."""
    from tests.fuzz.targets import TARGETS, fresh

    corpus = CORPUS / folder_of(name)
    with tempfile.TemporaryDirectory(prefix="fuzz-corpus-") as folder:
        found, good, least = (Path(folder) / part for part in ("found", "good", "least"))
        for made in (found, good, least):
            made.mkdir()
        (good / "good").write_bytes(fresh(TARGETS[name], Path(folder) / "case").read_bytes())
        starts = [str(place) for place in (found, good, corpus) if place.is_dir()]
        ended = subprocess.run(
            _command(
                name, findings, f"-max_total_time={seconds}", f"-seed={seed}", *LIMITS, *starts
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=3 * seconds + 300,
            check=False,
        )
        count = _told(name, ended)
        if keep and not ended.returncode:
            merge = _command(name, findings, "-merge=1", *LIMITS, str(least), *starts)
            subprocess.run(merge, capture_output=True, check=True)
            _write_corpus(corpus, least)
    return count


def _told(name: str, ended: subprocess.CompletedProcess[str]) -> int:
    """Print what a series came to; the number of findings."""
    lines = ended.stdout.splitlines()
    findings = [line for line in lines if line.startswith("FINDING")]
    for line in findings:
        print(f"{name}: {line}")
    count = len(findings)
    if ended.returncode:
        count += 1
        print(f"{name}: ended with {ended.returncode}", *lines[-20:], sep="\n  ")
    runs = re.findall(r"stat::number_of_executed_units: (\d+)", ended.stdout)
    edges = re.findall(r"cov: (\d+)", ended.stdout)
    first, last = (edges[0], edges[-1]) if edges else ("?", "?")
    executions = runs[-1] if runs else "?"
    print(f"{name}: {executions} executions, edges {first} -> {last}, {count} findings", flush=True)
    return count


def _write_corpus(corpus: Path, least: Path) -> None:
    corpus.mkdir(parents=True, exist_ok=True)
    for old in corpus.iterdir():
        old.unlink()
    for new in least.iterdir():
        (corpus / new.name[:16]).write_bytes(new.read_bytes())


def main() -> int:
    """Fuzz the targets one after the other, or give one of them the bytes of a file."""
    parser = _parser()
    given = parser.parse_args()
    if given.child:
        child(given.child, given.findings, given.engine)
    from tests.fuzz.targets import TARGETS

    if strange := set(given.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(strange)}; there are {', '.join(TARGETS)}")
    names = given.targets or list(TARGETS)
    if given.replay is not None:
        from tests.fuzz.targets import execute, fresh

        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            path = fresh(TARGETS[names[0]], Path(folder) / "case")
            execute(TARGETS[names[0]], path, given.replay.read_bytes())
        return 0
    counts = [fuzz(name, given.seconds, given.seed, given.findings, given.keep) for name in names]
    return min(1, sum(counts))


if __name__ == "__main__":
    sys.exit(main())
