"""The pages: what they show, that they are live, and that names can't do harm in them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import api
from storage import jobs
from tests.api.place import Place, verdict

HOSTILE = "<img src=x onerror=alert(1)>\"'&{{ 7*7 }}"


def test_without_jobs_the_first_page_says_how_to_begin(place: Place) -> None:
    page = place.client.get("/").text
    assert "No jobs yet" in page
    assert "burnish optimize" in page


def test_the_list_shows_state_verdict_and_figures_of_each_job(place: Place) -> None:
    done, waiting = place.job(name="done"), place.job(name="waiting")
    place.plan(done)
    place.succeed(done, verdict())
    page = place.client.get("/").text
    assert page.index("waiting:1") < page.index("done:1")
    assert f'href="/jobs/{waiting.id}"' in page
    for shown in ("improved", "4.00×", "0.30 %", "queued", "succeeded"):
        assert shown in page, shown


def test_older_jobs_are_a_page_further(place: Place) -> None:
    first = place.job(name="first")
    for _ in range(50):
        place.job()
    page = place.client.get("/").text
    assert first.id not in page
    older = re.search(r'href="(/\?cursor=[^"]+)"', page)
    assert older is not None
    assert first.id in place.client.get(older[1]).text


def test_a_job_that_is_done_shows_the_verdict_before_all_else(place: Place) -> None:
    digest = "c" * 64
    job = place.job()
    place.plan(job)
    place.succeed(job, verdict(digest))
    page = place.client.get(f"/jobs/{job.id}").text
    order = ["4.0× faster than the original", "Downloads", "Candidates", "Steps", "Asked for"]
    assert [page.index(part) for part in order] == sorted(page.index(part) for part in order)
    assert f'href="/v1/artifacts/{digest}?name=model.onnx"' in page
    assert "import onnxruntime" in page
    assert "500 µs <small>[495, 505]</small>" in page
    assert "wrong on the second call" in page
    assert "1797 samples" in page
    assert "Drop 0.30 %, limit 0.50 %" in page


def test_without_a_gain_the_page_says_to_keep_the_model(place: Place) -> None:
    job = place.job()
    place.plan(job)
    place.succeed(job, verdict(chosen=None))
    page = place.client.get(f"/jobs/{job.id}").text
    assert "no gain" in page
    assert "Keep the model you have" in page


def test_the_chart_is_a_picture_with_a_title_and_a_description(place: Place) -> None:
    job = place.job()
    place.plan(job)
    place.succeed(job, verdict())
    picture = re.search(r"<svg.*</svg>", place.client.get(f"/jobs/{job.id}").text, re.DOTALL)
    assert picture is not None
    root = ElementTree.fromstring(picture[0])
    assert (root.get("role"), root.get("aria-labelledby")) == ("img", "chart-title chart-desc")
    named = {element.get("id"): element.text for element in root if element.get("id")}
    assert "accuracy" in (named["chart-title"] or "")
    assert "prune@onnxruntime" in (named["chart-desc"] or "")
    assert len(root.findall("g/circle")) == 4


def test_a_running_job_shows_its_steps_and_is_polled_every_second(place: Place) -> None:
    job = place.job()
    place.plan(job)
    claim = place.start(job, "capture")
    assert claim is not None
    place.progress(claim, 0.25, "tracing")
    page = place.client.get(f"/jobs/{job.id}").text
    assert "tracing" in page
    assert 'value="0.250"' in page
    assert f'data-from="/jobs/{job.id}/fragment"' in page
    assert 'data-every="1000"' in page
    assert '<noscript><meta http-equiv="refresh"' in page


def test_the_fragment_is_only_sent_when_the_job_changed(place: Place) -> None:
    job = place.job()
    page = place.client.get(f"/jobs/{job.id}").text
    etag = re.search(r'data-etag="([^"]+)"', page)
    assert etag is not None
    shown = {"If-None-Match": etag[1].replace("&#34;", '"')}
    address = f"/jobs/{job.id}/fragment"
    assert place.client.get(address, headers=shown).status_code == 304
    place.plan(job)
    changed = place.client.get(address, headers=shown)
    assert changed.status_code == 200
    assert "capture" in changed.text
    assert "<html" not in changed.text
    assert changed.headers["Retry-After"] == "1"
    assert place.client.get(address, headers={"If-None-Match": changed.headers["ETag"]}).status_code == 304


def test_a_finished_job_is_not_refreshed(place: Place) -> None:
    job = place.job()
    place.plan(job)
    place.succeed(job, verdict())
    assert "http-equiv" not in place.client.get(f"/jobs/{job.id}").text
    assert "Retry-After" not in place.client.get(f"/jobs/{job.id}/fragment").headers


def test_the_fragment_of_the_list_is_only_sent_when_it_changed(place: Place) -> None:
    place.client.get("/")
    etag = place.client.get("/fragment").headers["ETag"]
    assert place.client.get("/fragment", headers={"If-None-Match": etag}).status_code == 304
    place.job()
    assert place.client.get("/fragment", headers={"If-None-Match": etag}).status_code == 200


def test_a_failed_job_shows_cause_and_cure_and_offers_another_try(place: Place) -> None:
    job = place.job()
    error = {"code": "resource.memory", "class": "resource", "message": "Step prune was killed.", "cure": "Use less.",
             "log": HOSTILE}  # fmt: skip
    with place.database.begin() as tx:
        jobs.fail(tx, job.id, error)
    page = place.client.get(f"/jobs/{job.id}").text
    assert page.index("Step prune was killed.") < page.index("Use less.") < page.index("resource.memory")
    assert f'action="/jobs/{job.id}/retry"' in page
    assert place.client.post(f"/jobs/{job.id}/retry").headers["Location"] == f"/jobs/{job.id}"
    assert place.bell.rung == [(job.id, "cpu", 5)]
    assert "Waiting for a worker" in place.client.get(f"/jobs/{job.id}").text


def test_a_job_can_be_canceled_from_its_page(place: Place) -> None:
    job = place.job()
    assert f'action="/jobs/{job.id}/cancel"' in place.client.get(f"/jobs/{job.id}").text
    assert place.client.post(f"/jobs/{job.id}/cancel").status_code == 303
    assert "Canceled before it came to a verdict" in place.client.get(f"/jobs/{job.id}").text


def test_hostile_names_and_texts_are_shown_as_text(place: Place) -> None:
    result = verdict().model_dump()
    result["sentence"] = HOSTILE
    for part in result["candidates"]:
        part["name"] = part["name"] + HOSTILE
        if part["artifact"]:
            part["artifact"].update(name=HOSTILE, usage=HOSTILE)
    result["chosen"] += HOSTILE
    job = place.job(name=HOSTILE)
    place.plan(job, ["capture", HOSTILE])
    claim = place.start(job, HOSTILE)
    assert claim is not None
    layer = {"layer": HOSTILE, "treatment": HOSTILE, "reason": HOSTILE}
    place.finish(claim, report={"layers": [layer], "refused": HOSTILE})
    place.succeed(job, type(verdict()).model_validate(result))
    for address in ("/", f"/jobs/{job.id}"):
        page = place.client.get(address).text
        assert "<img" not in page, address
        assert "{{ 7*7 }}" in page
        assert "onerror=alert(1)&gt;" in page


def test_pages_run_only_their_own_script_and_load_nothing_from_elsewhere(place: Place) -> None:
    job = place.job()
    for address in ("/", f"/jobs/{job.id}", "/docs", "/login"):
        response = place.client.get(address)
        policy = response.headers["Content-Security-Policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", response.text)
        assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", response.text), address


def test_the_style_covers_light_dark_and_phones_and_files_are_small() -> None:
    folder = Path(api.__file__).parent / "static"
    style = (folder / "burnish.css").read_text()
    assert "prefers-color-scheme: dark" in style
    assert "max-width: 640px" in style
    assert "http" not in style
    assert (folder / "live.js").stat().st_size < 4000
