"""Headless Chromium, and what must never happen in it: errors, breaches of the page's policy, requests elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request

__all__ = ["Watched", "fits", "launched", "serious_faults", "watched"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_MISSING = (
    "The tests of the web page need Chromium, and none was found on PATH. On Debian or Ubuntu: "
    "`apt-get install -y --no-install-recommends chromium` (`make test` does so where it may); elsewhere "
    "`.venv/bin/playwright install chromium-headless-shell`."
)


@contextmanager
def launched(playwright: Playwright) -> Iterator[Browser]:
    """The system's Chromium, or else the one that playwright installed."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None and not Path(playwright.chromium.executable_path).exists():
        pytest.fail(_MISSING, pytrace=False)
    browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
    try:
        yield browser
    finally:
        browser.close()


@dataclass
class Watched:
    """What a page did that it should not have. A test that provokes an error takes it off the list."""

    origin: str
    faults: list[str] = field(default_factory=list)

    def forgive(self, part: str) -> None:
        """Takes off what the test did on purpose; there must have been such a fault."""
        assert [fault for fault in self.faults if part in fault], f"nothing with {part!r} in {self.faults}"
        self.faults = [fault for fault in self.faults if part not in fault]

    def said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            where = message.location
            self.faults.append(f"console: {message.text} ({where.get('url')}:{where.get('lineNumber')})")

    def threw(self, error: Any) -> None:
        self.faults.append(f"uncaught: {error}")

    def asked(self, request: Request) -> None:
        if not request.url.startswith((self.origin, "blob:", "data:")):
            self.faults.append(f"a request to elsewhere: {request.url}")


def watched(page: Page, origin: str) -> Watched:
    """Notes from now on what goes wrong. Breaches of the Content-Security-Policy are console errors."""
    watch = Watched(origin)
    page.on("console", watch.said)
    page.on("pageerror", watch.threw)
    page.on("request", watch.asked)
    return watch


def serious_faults(page: Page) -> list[str]:
    """What axe finds on the page as it is now that keeps people out, told so that it can be found."""
    found = Axe().run(page).response["violations"]
    return [_told(each) for each in found if each["impact"] in ("serious", "critical")]


def fits(page: Page) -> bool:
    """Whether the page needs no scrolling to the side."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def _told(finding: dict[str, Any]) -> str:
    places = ", ".join(str(node["target"]) for node in finding["nodes"][:5])
    return f"{finding['impact']} {finding['id']}: {finding['help']} at {places}"
