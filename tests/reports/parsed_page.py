"""A page as a browser's parser sees it, for the tests of all pages."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any


class Page(HTMLParser):
    """Elements of a page, the texts of its scripts, and the text of everything else."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._in_script = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self._in_script = True
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def specs(self) -> dict[str, Any]:
        """The specifications of the charts by their names."""
        return {
            str(attributes["id"]).removeprefix("spec-"): json.loads(text)
            for attributes, text in zip(self.all("script"), self.scripts, strict=True)
            if str(attributes.get("id")).startswith("spec-")
        }


def loads_nothing(page: Page) -> None:
    """Fails where an element would make a browser ask for something."""
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "img"}
        for name in ("src", "srcset", "href", "data", "action", "poster"):
            value = attributes.get(name)
            assert value is None or (name == "href" and value.startswith("#")), (tag, value)
