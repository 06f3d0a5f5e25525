"""The pictures of the README, made from a run: ``python docs/pictures/make_pictures.py RUN``.

``report.png`` is the top of the run's report in a browser, ``terminal.svg`` what
``deploymark choose`` prints of it, recorded. The run is copied and rendered anew; of the paths of
its files the names alone are kept, as the folders of one machine are nobody else's. It takes what
the tests take: Playwright and a Chromium on the path.
"""

from __future__ import annotations

import dataclasses
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from PIL import Image  # noqa: E402 - the root of the repository is on the path only now
from rich._export_format import CONSOLE_SVG_FORMAT  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.terminal_theme import SVG_EXPORT_THEME  # noqa: E402
from rich.text import Text  # noqa: E402

from deploymark.bench.records.run import read_run_info, write_run_info  # noqa: E402
from tests.reports.browser import opened  # noqa: E402

HERE = Path(__file__).parent
REPORT, TERMINAL = HERE / "report.png", HERE / "terminal.svg"

WIDTH_PX, HEIGHT_PX = 1280, 1000
COLUMNS, LINES = 112, 12
MOST_BYTES = 200_000

_FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def copied(run: Path, folder: Path) -> Path:
    """The newest of ``results`` in a folder: the run, without paths of the machine that made it."""
    copy = folder / "results" / run.name
    shutil.copytree(run, copy, symlinks=False)
    (folder / "results" / "latest").symlink_to(run.name)
    info = read_run_info(copy)
    models = [{**one, "path": Path(str(one.get("path"))).name} for one in info.models]
    named = dataclasses.replace(info, matrix_file=Path(info.matrix_file).name, models=models)
    write_run_info(copy, named)
    (copy / "answer.json").unlink(missing_ok=True)
    return copy


def deploymark(folder: Path, *arguments: str) -> str:
    """What a command prints in a terminal of ``COLUMNS`` columns, with its colours."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "FORCE_COLOR": "1",
        "COLUMNS": str(COLUMNS),
        "TERM": "xterm-256color",
    }
    done = subprocess.run(
        [sys.executable, "-m", "deploymark", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in {0, 1, 3}:  # an answer, none that will do, undecided
        raise SystemExit(done.stderr)
    return done.stdout


def terminal_picture(folder: Path) -> None:
    """Record ``deploymark choose`` as an SVG that asks for no font from anywhere."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ deploymark choose | head -n {LINES}", style="bold"))
    for line in deploymark(folder, "choose").splitlines()[:LINES]:
        console.print(Text.from_ansi(line), overflow="fold")
    style = re.sub(
        r"@font-face \{\{.*?\}\}\n|<!--.*?-->\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL
    )
    style = style.replace("Fira Code, monospace", _FONTS)
    svg = console.export_svg(
        title="deploymark", theme=SVG_EXPORT_THEME, code_format=style, unique_id="t"
    )
    TERMINAL.write_text(svg, encoding="utf-8")


def report_picture(folder: Path, run: Path) -> None:
    """The top of the report, in as many colours as it takes to stay small."""
    deploymark(folder, "report")
    with opened(run / "report.html", width=WIDTH_PX) as found:
        found.page.set_viewport_size({"width": WIDTH_PX, "height": HEIGHT_PX})
        taken = found.page.screenshot()
    picture = Image.open(io.BytesIO(taken)).convert("RGB")
    picture.quantize(128, dither=Image.Dither.NONE).save(REPORT, optimize=True)


def main() -> None:
    """Make both from the run that is named."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the script and the run
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory(prefix="deploymark-") as name:
        folder = Path(name)
        run = copied(Path(sys.argv[1]).resolve(), folder)
        terminal_picture(folder)
        report_picture(folder, run)
    for path in (REPORT, TERMINAL):
        size = path.stat().st_size
        sys.stdout.write(f"{path.relative_to(ROOT)}: {size / 1000:.0f} kB\n")
        if size > MOST_BYTES:
            raise SystemExit(f"{path.name} has more than {MOST_BYTES} bytes")


if __name__ == "__main__":
    main()
