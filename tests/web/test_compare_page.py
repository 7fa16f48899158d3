"""Results side by side in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.web.site import Site, site_in
from tests.web.stage import finished, stage


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Without workers, which would move what the tests look at."""
    with site_in(tmp_path_factory.mktemp("compare-page")) as made:
        yield made


def test_results_stand_side_by_side_and_a_dot_leads_to_its_job(
    page: Page, site: Site, each_look: Callable[[Page], None]
) -> None:
    place = stage(site)
    one = finished(place, "digits", recipe={"seed": 1})
    other = finished(place, "digits", recipe={"seed": 2})
    page.goto(f"/compare?job={one.id}&job={other.id}")
    expect(page.locator("svg.plot-svg a")).to_have_count(8)
    expect(page.locator("tr.differs", has_text="seed")).to_contain_text("differs")
    each_look(page)
    page.locator("svg.plot-svg a").last.focus()
    expect(page.locator(".plot-tip:visible")).to_contain_text("digits:")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.url}/jobs/{other.id}#candidate-4")


def test_without_jobs_it_says_how_to_go_on(page: Page, each_look: Callable[[Page], None]) -> None:
    page.goto("/compare")
    expect(page.get_by_text("Nothing to compare yet")).to_be_visible()
    each_look(page)
