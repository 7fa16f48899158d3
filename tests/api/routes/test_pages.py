"""What holds for every page: names can't do harm in them, and they run and load only what is ours."""

from __future__ import annotations

import re

from tests.api.place import Place, verdict

HOSTILE = "<img src=x onerror=alert(1)>\"'&{{ 7*7 }}"


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
    place.finish(claim, report={"layers": [layer], "refused": HOSTILE, "unchanged": HOSTILE})
    place.succeed(job, type(verdict()).model_validate(result))
    for address in ("/", f"/jobs/{job.id}", f"/compare?job={job.id}&job={place.job().id}"):
        page = place.client.get(address).text
        assert "<img src=x" not in page, address
        assert "{{ 7*7 }}" in page
        assert "onerror=alert(1)&gt;" in page


def test_pages_run_only_their_own_script_and_load_nothing_from_elsewhere(place: Place) -> None:
    job = place.job()
    for address in ("/", f"/jobs/{job.id}", f"/compare?job={job.id}&job={place.job().id}", "/docs", "/login"):
        response = place.client.get(address)
        policy = response.headers["Content-Security-Policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", response.text)
        assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", response.text), address
