"""Two or more results side by side."""

from __future__ import annotations

import re

from tests.api.place import Place, verdict


def judged(place: Place, recipe: dict[str, object]) -> str:
    job = place.job(recipe=recipe)
    place.plan(job)
    place.succeed(job, verdict())
    return job.id


def test_verdicts_stand_side_by_side_and_differing_settings_are_marked(place: Place) -> None:
    one, other = judged(place, {"seed": 1}), judged(place, {"seed": 2})
    page = place.client.get(f"/compare?job={one}&job={other}").text
    assert page.count('class="outcome improved"') == 2
    assert page.count("4.00× <small>[3.96, 4.04]</small>") == 2
    marked = re.findall(r'<tr class="differs"><th scope="row"><code>([^<]+)</code>.*?</th>(.*?)</tr>', page)
    assert marked == [("model", "<td>net:1</td><td>net:2</td>"), ("seed", "<td>1</td><td>2</td>")]
    assert f'href="/jobs/{one}"' in page
    assert 'data-plot="pareto"' in page


def test_a_job_without_a_verdict_can_stand_beside_one(place: Place) -> None:
    page = place.client.get(f"/compare?job={judged(place, {})}&job={place.job().id}").text
    assert "No verdict yet." in page


def test_one_job_or_none_is_told_how_to_go_on(place: Place) -> None:
    assert "Nothing to compare yet" in place.client.get("/compare").text
    id = place.job().id
    assert "One more is needed" in place.client.get(f"/compare?job={id}&job={id}").text


def test_unknown_jobs_and_too_many_are_refused(place: Place) -> None:
    assert place.client.get("/compare?job=job_unknown").status_code == 404
    many = "&".join(f"job=job_{n}" for n in range(9))
    assert place.client.get(f"/compare?{many}").status_code == 400
