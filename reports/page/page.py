"""What the pages have in common: where templates lie, and how texts get into them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from deploymark.reports.page import figures
from deploymark.reports.page.chart_style import Row
from deploymark.reports.page.chart_tables import chart_table
from deploymark.reports.page.embedded import embedded, embedded_script
from deploymark.reports.page.plain_text import isolated, seen, shortened

TEMPLATES = tuple(sorted(Path(__file__).resolve().parents[1].glob("*/templates")))
"""Folders of templates, one beside the modules that fill them; no name stands in two of them."""


@dataclasses.dataclass(frozen=True)
class PageChart:
    """A chart of a page: ``spec`` is Vega-Lite, and stands in the page under the name ``key``."""

    key: str
    title: str
    spec: Row


def _harmless(value: Any) -> Any:
    """What a template writes, as it may be read: HTML of ours as it is, and so is ``text|e``."""
    return isolated(value) if type(value) is str else value


def cell_address(cell: str) -> Markup:
    """The fragment that opens the page of a cell, named as the page's data have it (``embedded``).

    As JavaScript's encodeURIComponent makes it.
    """
    return Markup("#cell=" + quote(seen(cell), safe="!'()*"))  # noqa: S704 - letters, marks and %


def page_environment() -> Environment:
    """Jinja set up for our pages: every text is escaped, a missing value is an error."""
    loader = FileSystemLoader(TEMPLATES)
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Of the |tojson filter, which also escapes <, > and &: no text ends a script element.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters["cell_address"] = cell_address
    environment.globals["embedded"] = embedded
    environment.globals["embedded_script"] = embedded_script
    environment.filters["plural"] = figures.plural
    environment.filters["chart_table"] = chart_table
    environment.filters["shortened"] = shortened
    environment.globals["asset"] = lambda name: Markup(  # noqa: S704 - our own files
        loader.get_source(environment, name)[0]
    )
    return environment
