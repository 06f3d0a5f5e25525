from __future__ import annotations

import re
from collections.abc import Callable

from deploymark.bench.records.files import dump_json
from deploymark.bench.records.run import FIDELITY_FILE, VARIANTS_FILE, CellResult, Run
from deploymark.reports.run.summary import render_summary
from deploymark.reports.run.summary_variants import variant_lines

MakeCell = Callable[..., CellResult]
MakeRun = Callable[..., Run]


def test_variants_recipes_and_worst_images(make_run: MakeRun, make_cell: MakeCell) -> None:
    run = make_run(
        make_cell("m-dense", nonzero_fraction=1.0),
        make_cell(
            "m-l1",
            variant="l1_50",
            nonzero_fraction=0.5,
            map50_95=0.3841,
            agreement=0.91,
            agreement_reference="m-dense",
        ),
    )
    run.folder.mkdir()
    step = {"step": {"kind": "l1"}, "status": "ok", "seconds": 2.0, "reused": True}
    step["record"] = {"map50_95_before": 0.7, "map50_95_after": 0.6}
    recipes = [
        {"model": "m", "variant": "l1_50", "status": "ok", "steps": [step]},
        {
            "model": "m",
            "variant": "x",
            "status": "export_failed",
            "reason": "diverged: nan",
            "remedy": "Lower lr0.",
            "steps": [{"step": {"kind": "finetune"}, "status": None}],
        },
    ]
    (run.folder / VARIANTS_FILE).write_text(dump_json(recipes))
    worst = {"m-l1": {"worst_images": [{"image": "street.jpg"}, {"image": "car.jpg"}]}}
    (run.folder / FIDELITY_FILE).write_text(dump_json(worst))
    text = render_summary(run)
    assert "- l1_50: half of the weights are zero; onnxruntime is no faster for it;" in text
    assert (
        "| `m-l1` | 50 % sparse, 0 % faster | 1.00× \\[0.960, 1.04\\] | 200 0 % | 0.384 −1.0 pt |"  # noqa: RUF001 - the minus sign
    ) in text
    assert "- **ok** `l1_50`: l1 (from the cache, 2.0 s, mAP50-95 0.700 → 0.600)" in text
    assert "- **export_failed** `x`: finetune (not reached)" in text
    assert "  diverged: nan  \n  Remedy: Lower lr0." in text
    assert "- `m-l1`, agreement 0.910: `street.jpg`, `car.jpg`" in text


def test_an_older_run_has_no_such_lines(make_run: MakeRun, make_cell: MakeCell) -> None:
    assert variant_lines(make_run(make_cell())) == []


def test_hostile_names_break_no_table(make_run: MakeRun, make_cell: MakeCell, hostile: str) -> None:
    run = make_run(make_cell("d"), make_cell(hostile, variant=hostile, precision=hostile))
    run.folder.mkdir()
    recipe = {"model": hostile, "variant": hostile, "status": hostile, "reason": hostile}
    recipe["steps"] = [{"step": {"kind": hostile}, "status": "ok"}]
    (run.folder / VARIANTS_FILE).write_text(dump_json([recipe]))
    lines = variant_lines(run)
    rows = [line for line in lines if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    outside = [re.sub(r"`[^`]*`", "", line.replace("\\`", "")) for line in lines]
    assert not any("<script" in line for line in outside)
