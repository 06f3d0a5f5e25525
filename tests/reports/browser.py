"""A page in a real browser: opened, watched for complaints, looked through by axe-core."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page, Request, sync_playwright

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the path")

Scheme = Literal["light", "dark"]

WIDTHS = {"desktop": 1400, "laptop": 1280, "tablet": 1024, "phone": 390}
HEIGHT = 900


@dataclasses.dataclass
class Opened:
    """An open page, and what went wrong on it or was asked for from elsewhere."""

    page: Page
    complaints: list[str]
    requests: list[str]

    def faults(self) -> list[str]:
        """axe-core's violations, one line an element: rule, what it asks for, where."""
        found: dict[str, Any] = Axe().run(self.page).response
        return [
            f"{rule['id']} ({rule['impact']}): {rule['help']}: {node['html'][:120]}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]


@contextlib.contextmanager
def opened(
    path: Path, *, width: int = WIDTHS["desktop"], scheme: Scheme = "light", fragment: str = ""
) -> Iterator[Opened]:
    """``path`` in headless Chromium, ``width`` CSS pixels wide, once its charts are drawn.

    Complaints are errors and warnings of the console, exceptions and what the page's policy
    forbade; requests are all but that for the page itself.
    """
    assert BROWSER is not None
    with sync_playwright() as driver:
        # Chromium's sandbox does not start as root, as in most containers.
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": width, "height": HEIGHT}, color_scheme=scheme, accept_downloads=True
        )
        found = Opened(page, [], [])

        def console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                found.complaints.append(message.text)

        def request(asked: Request) -> None:
            if not asked.url.startswith((path.as_uri(), "data:", "blob:")):
                found.requests.append(asked.url)

        page.on("console", console)
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        page.on("request", request)
        page.goto(path.as_uri() + fragment)
        drawn = "figure[data-spec] .chart"
        page.wait_for_function(
            f"""[...document.querySelectorAll("{drawn}")]
                .filter((box) => !box.closest("details:not([open])"))
                .every((box) => box.childElementCount || box.textContent)""",
            timeout=60_000,
        )
        try:
            yield found
        finally:
            browser.close()


@contextlib.contextmanager
def bare_page(*scripts: Path) -> Iterator[Page]:
    """An empty page that has run some scripts."""
    assert BROWSER is not None
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page()
        for script in scripts:
            page.add_script_tag(path=script)
        try:
            yield page
        finally:
            browser.close()
