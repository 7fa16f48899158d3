"""Uploads from a browser over a line that breaks: each part is sent once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.web.browsing import Watched
from tests.web.site import Site

PARTS = re.compile(r"/parts/(\d+)$")
BOX = ".source[data-kind=dataset]"


@pytest.fixture
def answered(page: Page) -> list[int]:
    """Numbers of the parts that the server took."""
    found: list[int] = []

    def note(request: Request) -> None:
        match = PARTS.search(request.url)
        if match:
            found.append(int(match[1]))

    page.on("requestfinished", note)
    return found


def begin(page: Page, file: Path, name: str) -> None:
    page.goto("/submit")
    expect(page.locator("#submit[data-ready]")).to_be_visible()
    page.locator("#dataset-file").set_input_files(file)
    page.locator("#dataset-name").fill(name)
    page.locator(f"{BOX} .start").click()


def test_an_api_that_is_killed_in_mid_upload_costs_no_part_that_has_arrived(
    page: Page, site: Site, large: Path, answered: list[int], watch: Watched
) -> None:
    def kill(route: Route) -> None:
        site.api.kill()
        site.api.wait()
        route.continue_()

    page.route("**/parts/2", kill, times=1)
    begin(page, large, "through a kill")
    try:
        expect(page.locator(f"{BOX} .upload-state")).to_contain_text("Trying again", timeout=30_000)
    finally:
        site.start_api()
    expect(page.locator("#dataset option:checked")).to_contain_text("200,000 samples", timeout=60_000)
    assert answered == [1, 2]
    watch.faults = [fault for fault in watch.faults if "ERR_CONNECTION" not in fault and "ERR_EMPTY" not in fault]


def test_paused_closed_and_chosen_again_it_goes_on_where_it_was(
    page: Page, site: Site, large: Path, answered: list[int]
) -> None:
    held: list[Route] = []  # never answered: the line stands still
    page.route("**/parts/2", lambda route: held.append(route), times=1)
    with page.expect_request("**/parts/2"):
        begin(page, large, "in two sittings")
    page.locator(f"{BOX} .pause").click()
    expect(page.locator(f"{BOX} .upload-state")).to_contain_text("Paused")
    assert held
    begin(page, large, "in two sittings")
    expect(page.locator("#dataset option:checked")).to_contain_text("in two sittings", timeout=60_000)
    assert answered == [1, 2]


def test_cancelled_it_leaves_nothing(page: Page, site: Site, large: Path) -> None:
    page.route("**/parts/2", lambda route: None, times=1)
    with page.expect_request("**/parts/2"):
        begin(page, large, "given up")
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as dropped:
        page.locator(f"{BOX} .cancel").click()
    assert dropped.value.status == 204
    expect(page.locator(f"{BOX} .upload")).to_be_hidden()
    assert page.request.get(dropped.value.url).status == 404
