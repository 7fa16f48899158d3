"""The page of one job in a real browser: plots, live steps, the log, downloads."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from storage import events
from storage.records import Job
from tests.api.place import Place, verdict
from tests.web.site import Site, site_in
from tests.web.stage import LAYERS, finished, report, stage


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Without workers, which would move what the tests look at."""
    with site_in(tmp_path_factory.mktemp("job-page")) as made:
        yield made


@pytest.fixture(scope="module")
def place(site: Site) -> Place:
    return stage(site)


@pytest.fixture(scope="module")
def done(place: Place) -> Job:
    """A job with a verdict."""
    return finished(place, "digits")


def opened(page: Page, job: Job, plots: int = 4) -> None:
    page.goto(f"/jobs/{job.id}")
    expect(page.locator("svg.plot-svg")).to_have_count(plots)


def test_the_result_reads_well_everywhere_plots_and_all(
    page: Page, done: Job, each_look: Callable[[Page], None]
) -> None:
    opened(page, done)
    each_look(page)


def test_a_dot_tells_what_it_is_and_leads_to_its_row_by_mouse(page: Page, done: Job) -> None:
    opened(page, done)
    dot = page.locator('a[aria-label^="prune@onnxruntime"]').first
    dot.hover()
    expect(page.locator(".plot-tip:visible")).to_contain_text("prune@onnxruntime")
    expect(page.locator(".plot-tip:visible")).to_contain_text("500 µs [495 µs, 505 µs]")
    dot.click()
    expect(page.locator("#candidate-4")).to_be_focused()


def test_a_dot_tells_and_leads_by_keyboard(page: Page, done: Job) -> None:
    opened(page, done)
    page.locator("svg.plot-svg a").first.focus()
    expect(page.locator(".plot-tip:visible")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator(".plot-tip:visible")).to_have_count(0)
    page.keyboard.press("Enter")
    expect(page.locator("#candidates tr:focus, tr[id^=candidate]:focus")).to_have_count(1)


def test_the_keyboard_stays_on_its_dot_when_the_plot_is_drawn_again(page: Page, done: Job) -> None:
    opened(page, done)
    plot = page.locator("svg.plot-svg").first
    before = plot.element_handle()
    plot.locator("a").last.focus()
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("plot => !plot.isConnected", arg=before)
    expect(plot.locator("a").last).to_be_focused()
    expect(page.locator(".plot-tip:visible")).to_have_count(1)


def test_every_plot_can_be_saved_as_picture_drawing_and_table(page: Page, done: Job, tmp_path: Path) -> None:
    opened(page, done)
    saved = {kind: saved_as(page, kind, tmp_path) for kind in ("SVG", "PNG", "CSV")}
    drawing = ElementTree.fromstring(saved["SVG"])
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert b"var(" not in saved["SVG"]
    assert b"style=" not in saved["SVG"]
    assert saved["PNG"][:8] == b"\x89PNG\r\n\x1a\n"
    assert len(saved["PNG"]) > 5000
    rows = list(csv.reader(io.StringIO(saved["CSV"].decode())))
    assert rows[0][:2] == ["candidate", "seconds"]
    assert {row[0]: float(row[1]) for row in rows[1:]}["prune@onnxruntime"] == 0.0005


def saved_as(page: Page, kind: str, folder: Path) -> bytes:
    with page.expect_download() as told:
        page.get_by_role("button", name=f"Save “Time against accuracy” as {kind}").click()
    assert told.value.suggested_filename == f"candidates.{kind.lower()}"
    told.value.save_as(folder / kind)
    return (folder / kind).read_bytes()


def test_layers_are_found_by_name_and_by_treatment(page: Page, done: Job) -> None:
    opened(page, done)
    rows = page.locator("#layer-rows tr:visible")
    expect(rows).to_have_count(6)
    page.get_by_label("Find a layer").fill("BLOCKS.3")
    expect(rows).to_have_count(1)
    expect(page.locator("#layer-filter [role=status]")).to_have_text("1 of 6")
    page.get_by_label("Find a layer").fill("")
    page.locator("#layer-filter select").select_option("left")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("left alone")


def test_the_lines_to_run_it_are_copied_whole(page: Page, done: Job) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(page, done)
    page.locator("#usage-1 .copy button").click()
    expect(page.locator("#usage-1 .copy button")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "import onnxruntime"


def test_a_job_is_followed_from_the_queue_to_its_verdict_without_a_reload(
    page: Page, place: Place, each_look: Callable[[Page], None]
) -> None:
    job = place.job(name="followed")
    page.goto(f"/jobs/{job.id}")
    page.evaluate("window.same = true")
    expect(page.get_by_text("Waiting for a worker.")).to_be_visible()
    place.plan(job, ["capture", "profile"])
    claim = place.start(job, "capture")
    assert claim is not None
    place.progress(claim, 0.25, "tracing the model")
    expect(page.get_by_text("tracing the model")).to_be_visible()
    expect(page.get_by_label("Progress of capture")).to_have_attribute("value", "0.250")
    each_look(page)
    place.finish(claim)
    report(place, job, "profile", LAYERS)
    expect(page.locator("svg.plot-svg")).to_have_count(2)
    place.succeed(job, verdict())
    expect(page.locator(".verdict .sentence")).to_contain_text("4.0× faster than the original")
    expect(page.locator("svg.plot-svg")).to_have_count(4)
    expect(page).to_have_title("followed:1 · succeeded · Burnish")
    assert page.evaluate("window.same")


def test_the_log_grows_stops_while_it_is_paused_and_catches_up(page: Page, place: Place) -> None:
    job = place.job(name="talks")
    page.goto(f"/jobs/{job.id}")
    say(place, job, "first line")
    expect(page.locator(".log")).to_contain_text("first line")
    page.get_by_role("button", name="Pause").click()
    say(place, job, "second line")
    place.plan(job)
    expect(page.locator("#state")).to_have_text("running")
    expect(page.locator(".log")).not_to_contain_text("second line")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".log")).to_contain_text("second line")
    expect(page.locator(".log li", has_text="first line")).to_have_count(1)


def say(place: Place, job: Job, line: str) -> None:
    with place.database.begin() as tx:
        events.add(tx, "log", {"line": line}, job_id=job.id, step="capture")


def test_what_a_person_opened_stays_open_when_the_page_changes(page: Page, place: Place) -> None:
    job = finished(place, "opened")
    opened(page, job)
    page.locator("#others > summary").click()
    drawn = page.locator("svg.plot-svg").first.element_handle()
    say(place, job, "one more change")
    expect(page.locator(".log")).to_contain_text("one more change", timeout=15_000)
    expect(page.locator("#others")).to_have_attribute("open", "")
    assert drawn is not None
    assert drawn.evaluate("(svg) => svg.isConnected"), "a plot whose data is the same is not drawn again"


def test_a_job_is_canceled_and_tried_again_from_its_page(page: Page, place: Place) -> None:
    job = place.job(name="acted-on")
    page.goto(f"/jobs/{job.id}")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Canceled before it came to a verdict.")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("Waiting for a worker.")).to_be_visible()
