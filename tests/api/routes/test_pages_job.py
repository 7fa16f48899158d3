"""The page of one job: the verdict before all else, plots with their tables, steps, log, and that it is live."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

from storage import events, jobs
from storage.records import Job
from tests.api.place import Place, verdict

HOSTILE = "<img src=x onerror=alert(1)>\"'&{{ 7*7 }}"


def test_a_job_that_is_done_shows_the_verdict_before_all_else(place: Place) -> None:
    digest = "c" * 64
    job = place.job()
    place.plan(job)
    place.succeed(job, verdict(digest))
    page = place.client.get(f"/jobs/{job.id}").text
    order = ["4.0× faster than the original", "Downloads", "Candidates", "Steps", "Log", "Asked for"]
    assert [page.index(part) for part in order] == sorted(page.index(part) for part in order)
    assert f'href="/v1/artifacts/{digest}?name=model.onnx"' in page
    assert "import onnxruntime" in page
    assert "500 µs <small>[495, 505]</small>" in page
    assert "wrong on the second call" in page
    assert "1797 samples" in page
    assert "Drop 0.30 %, limit 0.50 %" in page
    assert f'href="/submit?from={job.id}"' in page


def test_the_first_table_has_the_chosen_beside_the_original_with_intervals(place: Place) -> None:
    page = place.client.get(f"/jobs/{finished(place)}").text
    table = page[page.index('class="scroll proof"') : page.index("</table>")]
    assert re.findall(r'<th scope="col" class="number">(\w+)', table) == ["Chosen", "Eager", "Compiled"]
    assert "4.00× <small>[3.96, 4.04]</small>" in table
    assert "0.30 % <small>[0.10, 0.50]</small>" in table


def test_without_a_gain_the_page_says_to_keep_the_model(place: Place) -> None:
    job = place.job()
    place.plan(job)
    place.succeed(job, verdict(chosen=None))
    page = place.client.get(f"/jobs/{job.id}").text
    assert "no gain" in page
    assert "Keep the model you have" in page


def test_every_plot_carries_its_data_and_has_a_table_beside_it(place: Place) -> None:
    page = place.client.get(f"/jobs/{finished(place)}").text
    plots = {kind: json.loads(unescape(data)) for kind, data in plots_of(page)}
    assert [point["name"] for point in plots["pareto"]["points"]] == [
        "eager", "compiled", "original@onnxruntime", "prune@onnxruntime",
    ]  # fmt: skip
    assert len(plots["spread"]["rows"]) == 4
    for point in plots["pareto"]["points"]:
        assert f'id="{point["href"][1:]}"' in page
    assert "the table has the same figures" in page


def test_a_running_job_shows_its_steps_and_is_polled_often(place: Place) -> None:
    job = place.job()
    place.plan(job)
    claim = place.start(job, "capture")
    assert claim is not None
    place.progress(claim, 0.25, "tracing")
    page = place.client.get(f"/jobs/{job.id}").text
    assert "tracing" in page
    assert 'value="0.250"' in page
    assert f'data-from="/jobs/{job.id}/fragment"' in page
    assert 'data-every="800"' in page
    assert '<noscript><meta http-equiv="refresh"' in page


def test_steps_are_drawn_over_time_with_words_for_who_does_not_see_them(place: Place) -> None:
    job = place.job()
    place.plan(job)
    claim = place.start(job, "capture")
    assert claim is not None
    place.finish(claim)
    page = place.client.get(f"/jobs/{job.id}").text
    assert re.search(r'<svg class="bars"[^>]*aria-label="waited [\d.]+ \w+, ran [\d.]+ \w+"', page)
    assert 'aria-label="not begun"' in page
    assert 'class="ran"' in page
    assert "1.5 s" in page


def test_a_step_from_the_cache_is_marked(place: Place) -> None:
    first, second = place.job(), place.job()
    for job in (first, second):
        place.plan(job)
    claim = place.start(first, "capture", "k" * 64)
    assert claim is not None
    place.finish(claim)
    assert place.start(second, "capture", "k" * 64) is None
    page = place.client.get(f"/jobs/{second.id}").text
    assert "from the cache" in page
    assert '<rect class="hit"' in page


def test_the_fragment_is_only_sent_when_the_job_changed(place: Place) -> None:
    job = place.job()
    page = place.client.get(f"/jobs/{job.id}").text
    etag = re.search(r'data-etag="([^"]+)"', page)
    assert etag is not None
    shown = {"If-None-Match": unescape(etag[1])}
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


def test_the_log_begins_with_what_was_said_and_goes_on_from_there(place: Place) -> None:
    job = place.job()
    with place.database.begin() as tx:
        events.add(tx, "log", {"line": HOSTILE}, job_id=job.id, step="prune")
        events.add(tx, "step.progress", {"progress": 0.5, "doing": "half"}, job_id=job.id, step="prune")
    page = place.client.get(f"/jobs/{job.id}").text
    log = page[page.index('<ol class="log"') : page.index("</ol>", page.index('<ol class="log"'))]
    assert "queued" in log
    assert "onerror=alert(1)&gt;" in log
    assert "half" not in log
    last = max(int(number) for number in re.findall(r'data-id="(\d+)"', log))
    assert place.client.get(f"/jobs/{job.id}/log?after={last}").text.strip() == ""
    with place.database.begin() as tx:
        events.add(tx, "log", {"line": "one more"}, job_id=job.id, step="prune")
    more = place.client.get(f"/jobs/{job.id}/log?after={last}").text
    assert more.count("<li") == 1
    assert "one more" in more
    assert place.client.get("/jobs/job_unknown/log").status_code == 404


def test_the_fragment_leaves_the_log_to_the_script_that_grows_it(place: Place) -> None:
    job = place.job()
    with place.database.begin() as tx:
        events.add(tx, "log", {"line": "said before"}, job_id=job.id, step="prune")
    assert "said before" not in place.client.get(f"/jobs/{job.id}/fragment").text
    assert "said before" in place.client.get(f"/jobs/{job.id}").text


def test_layers_have_plots_and_a_table_of_what_was_done_to_each(place: Place) -> None:
    job = place.job()
    place.plan(job, ["profile", "pass:quantize"])
    layer = {"name": "head", "op": "linear", "parameters": 40, "flops": 80, "seconds": 3e-5, "errors": {"int8": 31.25}}
    report(place, job, "profile", {"layers": [layer]})
    done = {"layer": "head", "treatment": "int8", "reason": "it bears that", "bytes_before": 4000, "bytes_after": 1000}
    report(place, job, "pass:quantize", {"layers": [done]})
    page = place.client.get(f"/jobs/{job.id}").text
    assert [kind for kind, _ in plots_of(page)] == ["bars", "bars"]
    for shown in ("30 µs", "31.2", "it bears that", "4 kB → 1 kB"):
        assert shown in page, shown


def test_a_pass_that_changed_nothing_says_why(place: Place) -> None:
    job = place.job()
    place.plan(job, ["pass:simplify"])
    report(place, job, "pass:simplify", {"unchanged": "The graph has no idle call."})
    assert "Nothing changed: The graph has no idle call." in place.client.get(f"/jobs/{job.id}").text


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


def finished(place: Place) -> str:
    job = place.job()
    place.plan(job)
    place.succeed(job, verdict())
    return job.id


def report(place: Place, job: Job, step: str, document: dict[str, Any]) -> None:
    claim = place.start(job, step)
    assert claim is not None
    place.finish(claim, report=document)


def plots_of(page: str) -> list[tuple[str, str]]:
    return re.findall(r"data-plot=\"(\w+)\".*?data-plot-data='([^']*)'", page)
