"""Uploads from a browser straight to a real S3 server: the page's policy and the bucket's CORS let them through."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.seaweed import Seaweed
from tests.web.site import Site

BOX = ".source[data-kind=dataset]"


class DirectSite(Site):
    """A service that offers links to its S3 server."""

    def __init__(self, folder: Path, store: str) -> None:
        self._store = store
        super().__init__(folder)

    def start_api(self) -> subprocess.Popen[bytes]:
        self.settings = replace(self.settings, blobs_url=self._store, direct_uploads="on")
        return super().start_api()


@pytest.fixture(scope="module")
def direct_site(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in seaweed.environment.items():
            patch.setenv(name, value)
        folder = tmp_path_factory.mktemp("direct")
        made = DirectSite(folder, seaweed.url(prefix=folder.name))
        yield made
        made.close()


@pytest.fixture
def tab(browser: Browser, direct_site: Site) -> Iterator[Page]:
    context = browser.new_context(base_url=direct_site.url)
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


def upload(tab: Page, file: Path, name: str) -> list[str]:
    """Uploads it; gives where each part went, `store` or `service`."""
    went: list[str] = []

    def note(request: Request) -> None:
        if request.method == "PUT":
            went.append("store" if "partNumber" in request.url else "service")

    tab.on("requestfinished", note)
    tab.goto("/submit")
    expect(tab.locator("#submit[data-ready]")).to_be_visible()
    tab.locator("#dataset-file").set_input_files(file)
    tab.locator("#dataset-name").fill(name)
    tab.locator(f"{BOX} .start").click()
    expect(tab.locator("#dataset option:checked")).to_contain_text(f"{name} · 200,000 samples", timeout=60_000)
    return went


def test_parts_go_straight_to_the_store(tab: Page, large: Path) -> None:
    assert upload(tab, large, "straight") == ["store", "store"]


def test_where_the_store_does_not_let_pages_in_they_go_through_the_service(tab: Page, large: Path) -> None:
    tab.route(re.compile("partNumber"), lambda route: route.abort())
    assert upload(tab, large, "detour") == ["service", "service"]
