"""The list of jobs in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.api.place import Place
from tests.web.browsing import Watched
from tests.web.site import Site, site_in
from tests.web.stage import finished, stage


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Without workers, which would move what the tests look at."""
    with site_in(tmp_path_factory.mktemp("jobs-page")) as made:
        yield made


@pytest.fixture(scope="module")
def place(site: Site) -> Place:
    return stage(site)


def row(page: Page, id: str) -> str:
    return f'tr[data-key="{id}"]'


def test_before_the_first_job_the_page_says_how_to_begin(page: Page, each_look: Callable[[Page], None]) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="No jobs yet")).to_be_visible()
    each_look(page)


def test_a_new_job_and_each_change_of_it_come_to_the_open_page(page: Page, place: Place) -> None:
    page.goto("/")
    job = place.job(name="coming")
    expect(page.locator(f"{row(page, job.id)} .state.queued")).to_be_visible()
    place.plan(job)
    expect(page.locator(f"{row(page, job.id)} .state.running")).to_be_visible()


def test_the_list_reads_well_everywhere(page: Page, place: Place, each_look: Callable[[Page], None]) -> None:
    job = finished(place, "looked-at")
    page.goto("/")
    expect(page.locator(row(page, job.id))).to_contain_text("improved")
    each_look(page)
    page.get_by_label("Select all jobs of this page").check()
    each_look(page)


def test_several_jobs_are_canceled_and_retried_by_the_keyboard_alone(page: Page, place: Place) -> None:
    first, second = place.job(name="bulk"), place.job(name="bulk")
    page.goto("/?model=bulk")
    page.get_by_label("Select all jobs of this page").focus()
    page.keyboard.press("Space")
    expect(page.get_by_text("2 selected:")).to_be_visible()
    expect(page.get_by_role("button", name="Retry")).to_be_disabled()
    page.get_by_role("button", name="Cancel").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="2 jobs canceled.")).to_be_visible()
    expect(page.locator(".state.canceled")).to_have_count(2)
    assert "model=bulk" in page.url
    for job in (first, second):
        page.locator(f"{row(page, job.id)} input").check()
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("2 jobs queued again.")).to_be_visible()
    expect(page.locator(".state.queued")).to_have_count(2)


def test_what_is_ticked_and_focused_stays_so_when_the_list_changes(page: Page, place: Place) -> None:
    kept, moved = place.job(name="stays"), place.job(name="stays")
    page.goto("/?model=stays")
    page.locator(f"{row(page, kept.id)} input").check()
    page.get_by_label("Search").fill("half a wo")
    place.plan(moved)
    expect(page.locator(f"{row(page, moved.id)} .state.running")).to_be_visible()
    expect(page.locator(f"{row(page, kept.id)} input")).to_be_checked()
    expect(page.get_by_label("Search")).to_be_focused()
    expect(page.get_by_label("Search")).to_have_value("half a wo")
    expect(page.get_by_text("1 selected:")).to_be_visible()


def test_a_range_is_selected_with_the_shift_key(page: Page, place: Place) -> None:
    jobs = [place.job(name="range") for _ in range(4)]
    page.goto("/?model=range")
    page.locator(f"{row(page, jobs[3].id)} input").click()
    page.locator(f"{row(page, jobs[1].id)} input").click(modifiers=["Shift"])
    expect(page.get_by_text("3 selected:")).to_be_visible()


def test_jobs_with_a_verdict_can_be_compared_from_the_list(page: Page, place: Place) -> None:
    for _ in range(2):
        finished(place, "comparable")
    page.goto("/?model=comparable")
    expect(page.get_by_role("button", name="Compare")).to_be_hidden()
    page.get_by_label("Select all jobs of this page").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="2 results side by side")).to_be_visible()


def test_a_search_goes_by_its_address(page: Page, place: Place) -> None:
    job = place.job(name="needle")
    page.goto("/")
    page.get_by_label("Search").fill("NEEDL")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator(row(page, job.id))).to_be_visible()
    assert "search=NEEDL" in page.url
    page.get_by_role("link", name="Show all").click()
    expect(page.locator("tbody tr")).not_to_have_count(1)


def test_filters_and_bulk_work_without_javascript(browser: Browser, site: Site, place: Place) -> None:
    job = place.job(name="plain")
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Model").fill("plain")
    page.get_by_role("button", name="Show").click()
    page.locator(f"{row(page, job.id)} input").check()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("1 job canceled.")).to_be_visible()
    expect(page.locator(f"{row(page, job.id)} .state.canceled")).to_be_visible()
    context.close()


def test_the_page_says_when_the_server_is_away_and_goes_on_when_it_is_back(
    page: Page, site: Site, place: Place, watch: Watched
) -> None:
    page.goto("/")
    site.api.kill()
    site.api.wait()
    expect(page.get_by_text("The server has not answered since")).to_be_visible()
    job = place.job(name="meanwhile")
    site.start_api()
    expect(page.locator(row(page, job.id))).to_be_visible()
    expect(page.get_by_text("The server has not answered since")).to_be_hidden()
    watch.forgive("ERR_CONNECTION")
