"""Pages that show no state, in a real browser: the readable API, signing in, and what went wrong."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.web.browsing import Watched, fits


def test_the_readable_api_keeps_nobody_out(page: Page, axe: Callable[[Page], None]) -> None:
    page.goto("/docs")
    page.get_by_role("navigation", name="Routes").get_by_role("link", name="GET /v1/jobs", exact=True).click()
    expect(page.get_by_role("heading", name="GET /v1/jobs", exact=True)).to_be_in_viewport()
    axe(page)
    page.set_viewport_size({"width": 390, "height": 844})
    assert fits(page)


def test_the_way_in_and_an_error_read_well_everywhere(
    page: Page, each_look: Callable[[Page], None], watch: Watched
) -> None:
    page.goto("/login")
    each_look(page)
    page.goto("/jobs/job_unknown")
    expect(page.get_by_role("alert")).to_contain_text("What to do:")
    each_look(page)
    watch.forgive("404")


def test_the_keyboard_comes_past_the_navigation_at_once(page: Page) -> None:
    page.goto("/docs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
