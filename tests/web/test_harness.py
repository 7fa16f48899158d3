"""That the harness sees what it is there for: each of its checks can fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.web.browsing import Watched, fits
from tests.web.site import Site


def test_a_page_opens_without_a_fault(page: Page, each_look: Callable[[Page], None]) -> None:
    page.goto("/login")
    each_look(page)


def test_an_error_in_the_page_is_seen(page: Page, watch: Watched) -> None:
    page.goto("/login")
    page.evaluate("setTimeout(() => { throw new Error('boom') })")
    page.wait_for_event("pageerror")
    watch.forgive("boom")


def test_a_breach_of_the_policy_is_seen(page: Page, watch: Watched) -> None:
    page.goto("/login")
    with page.expect_console_message():
        page.evaluate("document.body.setAttribute('style', 'color: red')")
    watch.forgive("Content Security Policy")


def test_a_request_to_another_server_is_seen(page: Page, watch: Watched) -> None:
    page.goto("/login")
    page.evaluate("fetch('http://192.0.2.1/').catch(() => {})")
    watch.forgive("192.0.2.1/")
    watch.faults.clear()  # the policy, which refused it, told of it too


def test_a_serious_finding_of_axe_is_seen(page: Page, axe: Callable[[Page], None]) -> None:
    page.goto("/login")
    page.evaluate("document.body.append(Object.assign(document.createElement('input'), { id: 'bare' }))")
    with pytest.raises(AssertionError, match="critical label"):
        axe(page)


def test_a_page_that_scrolls_to_the_side_is_seen(page: Page) -> None:
    page.goto("/login")
    page.evaluate("document.body.append(Object.assign(document.createElement('canvas'), { width: 3000 }))")
    assert not fits(page)


def test_the_service_has_a_worker_that_does_real_steps(working: Site) -> None:
    assert [worker.device for worker in working.client.workers().items] == ["cpu"]
