"""The pages of models in a real browser: versions, promotion and the way back, charts, lineage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.web.browsing import Watched
from tests.web.results import Kept
from tests.web.site import Site


@pytest.fixture(scope="module")
def digits(site: Site, model_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Three versions, each with a result."""
    return Kept(site, "digits", model_bytes, tmp_path_factory.mktemp("digits"), versions=3)


def promote(page: Page, version: int) -> None:
    result = page.locator(".result").filter(has_text=f"Version {version},")
    chosen = result.locator(".made > .chosen")
    chosen.locator(".act summary").click()
    chosen.get_by_label("Why").fill(f"version {version} is good")
    with page.expect_navigation():
        chosen.get_by_role("button", name="Promote to production").click()


def test_models_and_datasets_are_listed_and_lead_on(
    page: Page, digits: Kept, each_look: Callable[[Page], None]
) -> None:
    page.goto("/models")
    each_look(page)
    row = page.locator("tr").filter(has=page.get_by_role("link", name="digits", exact=True))
    expect(row).to_contain_text("5,764")
    page.get_by_role("link", name="Use digits for a job").click()
    expect(page.locator("#dataset")).to_have_value(digits.dataset.id)
    page.goto("/models")
    page.get_by_role("link", name="digits", exact=True).click()
    expect(page.locator("h1")).to_have_text("digits")
    expect(page.locator("tbody").first.locator("tr")).to_have_count(3)


def test_a_result_is_promoted_another_after_it_and_rolled_back(page: Page, site: Site, digits: Kept) -> None:
    page.goto("/models/digits")
    expect(page.locator("#main")).to_contain_text("Nothing is in production")
    promote(page, 2)
    expect(page.locator(".standing")).to_contain_text("digits:2")
    expect(page.locator(".standing")).to_contain_text("version 2 is good")
    promote(page, 3)
    expect(page.locator(".standing")).to_contain_text("digits:3")
    fetched = page.request.get("/v1/models/digits/aliases/production/artifact")
    assert fetched.text() == "digits 3 artifact"
    page.get_by_text("Roll back production").click()
    with page.expect_navigation():
        page.get_by_role("button", name="Roll back", exact=True).click()
    expect(page.locator(".standing")).to_contain_text("digits:2")
    page.get_by_text("History of production").click()
    expect(page.locator(".history li")).to_have_count(3)


def test_what_can_not_be_promoted_is_told_where_it_was_asked(
    page: Page, site: Site, model_bytes: bytes, tmp_path: Path, watch: Watched
) -> None:
    lost = Kept(site, "lost", model_bytes, tmp_path, versions=1)
    page.goto("/models/lost")
    other = page.locator(".made > li:not(.chosen)")  # its bytes were never in the store
    other.locator(".act summary").click()
    other.get_by_role("button", name="Promote to production").click()
    expect(other.get_by_role("alert")).to_contain_text("not in the store any more")
    watch.forgive("409")
    assert lost.jobs


def test_speed_and_quality_are_drawn_over_the_versions(page: Page, digits: Kept) -> None:
    page.goto("/models/digits")
    for title in ("Speed over versions", "Quality over versions"):
        figure = page.locator(f"figure[aria-label='{title}']")
        expect(figure.locator("svg.plot-svg")).to_be_visible()
        expect(figure.locator(".plot-legend")).to_contain_text("handed back")
        expect(figure.locator("svg a")).to_have_count(6)


def test_everyone_can_use_it(page: Page, digits: Kept, each_look: Callable[[Page], None]) -> None:
    page.goto("/models/digits")
    expect(page.locator("svg.plot-svg")).to_have_count(2)
    page.locator(".act summary").last.click()
    each_look(page)
