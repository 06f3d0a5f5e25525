from __future__ import annotations

from pathlib import Path

from deploymark.reports.page.page import TEMPLATES
from deploymark.reports.run import render


def test_templates_lie_beside_what_fills_them_and_no_name_twice() -> None:
    names = [path.name for folder in TEMPLATES for path in folder.iterdir()]
    assert len(names) == len(set(names))
    assert {Path(name).suffix for name in names} == {".html", ".css", ".js"}
    assert Path(render.__file__).parent / "templates" in TEMPLATES
