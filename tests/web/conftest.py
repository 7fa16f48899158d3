"""One service and one Chromium for all tests of the web page; each test has a browser context of its own."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page, sync_playwright

from tests.api.place import dataset_bytes
from tests.models import program
from tests.web.browsing import Watched, fits, launched, serious_faults, watched
from tests.web.site import Site, site_in

__all__ = ["axe", "browser", "each_look", "large", "page", "site", "watch", "working"]

NARROW = {"width": 390, "height": 844}
WIDE = {"width": 1280, "height": 900}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """API, broker and store, shared by the session: tests keep apart by the names of what they make."""
    with site_in(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture(scope="session")
def working(site: Site) -> Site:
    """The same with a real worker and a tick."""
    site.start_real_worker()
    site.start_tick()
    return site


@pytest.fixture(scope="session")
def model_bytes() -> bytes:
    """A real program: 20 features to 4 classes, batches of 1 to 256."""
    file = io.BytesIO()
    torch.export.save(program("mlp"), file)
    return file.getvalue()


@pytest.fixture(scope="session")
def data_bytes() -> bytes:
    """Labelled samples for it."""
    return dataset_bytes(64)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two parts."""
    path: Path = tmp_path_factory.mktemp("large") / "large.safetensors"
    path.write_bytes(dataset_bytes(200_000))
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright, launched(playwright) as chromium:
        yield chromium


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A fresh page of 1280 × 900 in light colours; relative addresses are those of the service."""
    context = browser.new_context(base_url=site.url, viewport={"width": 1280, "height": 900}, color_scheme="light")
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


@pytest.fixture(autouse=True)
def watch(request: pytest.FixtureRequest) -> Iterator[Watched | None]:
    """Fails a test whose page had an error in the console, broke its policy, or asked another server."""
    if "page" not in request.fixturenames:
        yield None
        return
    site: Site = request.getfixturevalue("site")
    noted = watched(request.getfixturevalue("page"), site.url)
    yield noted
    assert noted.faults == []


@pytest.fixture
def axe() -> Callable[[Page], None]:
    """Fails on what axe calls serious or critical."""

    def check(page: Page) -> None:
        assert serious_faults(page) == []

    return check


@pytest.fixture
def each_look(axe: Callable[[Page], None]) -> Callable[[Page], None]:
    """Looks at the page as it is now: light and dark, wide and narrow. No serious finding, no scrolling to the side."""

    def check(page: Page) -> None:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            for size in (WIDE, NARROW):
                page.set_viewport_size(size)  # type: ignore[arg-type]
                axe(page)
                assert fits(page), f"{page.url} scrolls to the side at {size['width']} px"
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(WIDE)  # type: ignore[arg-type]

    return check
