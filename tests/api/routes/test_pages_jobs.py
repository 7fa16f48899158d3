"""The list of jobs: what it shows, how it is filtered, what can be done to several, and that it is live."""

from __future__ import annotations

import re
from html import unescape

import pytest

from storage import jobs
from tests.api.place import Place, verdict


def test_without_jobs_the_first_page_says_how_to_begin(place: Place) -> None:
    page = place.client.get("/").text
    assert "No jobs yet" in page
    assert "burnish optimize" in page


def test_the_list_shows_state_goal_verdict_and_figures_of_each_job(place: Place) -> None:
    done, waiting = place.job(name="done", recipe={"goal": {"max_drop": "0.5%"}}), place.job(name="waiting")
    place.plan(done)
    place.succeed(done, verdict())
    page = place.client.get("/").text
    assert page.index("waiting:1") < page.index("done:1")
    assert f'href="/jobs/{waiting.id}"' in page
    for shown in ("improved", "4.00×", "0.30 %", "queued", "succeeded", "least latency, drop ≤ 0.50 %"):
        assert shown in page, shown


def test_older_jobs_are_a_page_further_and_the_newest_one_back(place: Place) -> None:
    first = place.job(name="first")
    for _ in range(50):
        place.job()
    page = place.client.get("/?state=queued").text
    assert first.id not in page
    older = re.search(r'href="(/\?[^"]*cursor=[^"]+)" rel="next"', page)
    assert older is not None
    second = place.client.get(unescape(older[1])).text
    assert first.id in second
    assert 'href="/?state=queued">Newest jobs' in second


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("state=succeeded", {"alpha"}),
        ("outcome=improved", {"alpha"}),
        ("outcome=no_gain", set()),
        ("model=beta", {"beta"}),
        ("search=ALPH", {"alpha"}),
        ("search=samples", {"alpha", "beta"}),
        ("search=%25", set()),
        ("state=queued&search=alpha", set()),
        ("state=&outcome=&model=&search=", {"alpha", "beta"}),
        ("state=nonsense", {"alpha", "beta"}),
        ("search=al%00pha", {"alpha"}),
        ("model=%00&cursor=%00", {"alpha", "beta"}),
        ("search=%ff", set()),
    ],
)
def test_filters_and_search_work_by_the_address_alone(place: Place, query: str, shown: set[str]) -> None:
    done = place.job(name="alpha")
    place.job(name="beta")
    place.plan(done)
    place.succeed(done, verdict())
    page = place.client.get(f"/?{query}").text
    assert {name for name in ("alpha", "beta") if f">{name}:1</a>" in page} == shown
    assert ("No job is like that" in page) == (not shown)


def test_a_filter_stays_set_in_its_form_and_can_be_taken_off(place: Place) -> None:
    place.job(name="alpha")
    page = place.client.get("/?state=queued&search=al&model=alpha").text
    assert "<option selected>queued</option>" in page
    assert 'name="search" value="al"' in page
    assert '<option value="alpha"></option>' in page
    assert '<a href="/">Show all</a>' in page


def test_the_fragment_of_the_list_is_only_sent_when_it_changed(place: Place) -> None:
    page = place.client.get("/").text
    etag = re.search(r'data-etag="([^"]+)"', page)
    assert etag is not None
    shown = {"If-None-Match": unescape(etag[1])}
    assert place.client.get("/fragment", headers=shown).status_code == 304
    job = place.job()
    changed = place.client.get("/fragment", headers=shown)
    assert changed.status_code == 200
    assert job.id in changed.text
    assert changed.headers["Retry-After"] == "1"
    assert "<html" not in changed.text
    assert place.client.get("/fragment", headers={"If-None-Match": changed.headers["ETag"]}).status_code == 304


def test_without_javascript_nothing_undoes_what_is_ticked(place: Place) -> None:
    place.job()
    assert "http-equiv" not in place.client.get("/").text


def test_the_fragment_is_of_the_filters_of_its_page(place: Place) -> None:
    place.job(name="alpha")
    place.job(name="beta")
    page = place.client.get("/?search=alpha").text
    address = re.search(r'data-from="([^"]+)"', page)
    assert address is not None
    fragment = place.client.get(unescape(address[1]), headers={"Accept-Encoding": "gzip"})
    assert fragment.headers["Content-Encoding"] == "gzip"
    shown = place.client.get(unescape(address[1])).text
    assert "alpha:1" in shown
    assert "beta:1" not in shown


def test_several_jobs_are_canceled_at_once_and_what_has_ended_is_left(place: Place) -> None:
    ended, first, second = place.job(), place.job(), place.job()
    place.plan(ended)
    place.succeed(ended, verdict())
    sent = {"action": "cancel", "job": [ended.id, first.id, second.id, "job_unknown"]}
    answer = place.client.post("/jobs/act?state=queued", data=sent)
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/?state=queued&canceled=2&left=2"
    assert states(place, ended.id, first.id, second.id) == ["succeeded", "canceled", "canceled"]
    page = place.client.get(answer.headers["Location"]).text
    assert "2 jobs canceled." in page
    assert "2 left as they were" in page


def test_several_jobs_are_retried_at_once_and_a_worker_hears_of_each(place: Place) -> None:
    first, second = place.job(), place.job()
    place.client.post("/jobs/act", data={"action": "cancel", "job": [first.id, second.id]})
    answer = place.client.post("/jobs/act", data={"action": "retry", "job": [first.id, second.id]})
    assert answer.headers["Location"] == "/?retried=2&left=0"
    assert states(place, first.id, second.id) == ["queued", "queued"]
    assert [rung[0] for rung in place.bell.rung] == [first.id, second.id]
    assert "2 jobs queued again." in place.client.get("/?retried=2&left=0").text


def test_what_is_no_action_or_too_much_is_refused(place: Place) -> None:
    assert place.client.post("/jobs/act", data={"action": "delete", "job": "job_1"}).status_code == 400
    many = {"action": "cancel", "job": [f"job_{n}" for n in range(201)]}
    assert place.client.post("/jobs/act", data=many).status_code == 400


def test_a_page_of_another_site_can_do_nothing_to_jobs(place: Place) -> None:
    job = place.job()
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert place.client.post("/jobs/act", data={"action": "cancel", "job": job.id}, headers=foreign).status_code == 403
    assert states(place, job.id) == ["queued"]


def states(place: Place, *ids: str) -> list[str]:
    with place.database.read() as tx:
        return [jobs.get(tx, id).state for id in ids]
