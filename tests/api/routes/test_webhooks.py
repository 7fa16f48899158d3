"""Webhooks over REST."""

from __future__ import annotations

from typing import Any

import pytest

from storage import deliveries, outbox
from storage.deliveries import Answer
from tests.api.place import Place

HOOK = {"url": "https://example.com/hook", "types": ["job.succeeded"], "description": "chat"}


def create(place: Place, **changes: Any) -> dict[str, Any]:
    response = place.client.post("/v1/webhooks", json={**HOOK, **changes})
    assert response.status_code == 201, response.text
    document: dict[str, Any] = response.json
    return document


def wheres(response: Any) -> set[str]:
    assert response.status_code == 422, response.text
    return {fault["where"] for fault in response.json["faults"]}


def tell(place: Place, hook: dict[str, Any], status: int | None = None) -> str:
    """An event for the webhook, answered with that status; the delivery's id."""
    with place.database.begin() as tx:
        outbox.publish(tx, "job.succeeded", {"job": "job_1"})
        if status is not None:
            sending = deliveries.claim(tx, hook["id"])
            assert sending is not None
            deliveries.finish(tx, sending, Answer(status=status, error=None, seconds=0.25, body="thanks"))
    return str(place.client.get(hook["links"]["deliveries"]).json["items"][0]["id"])


def test_the_secret_is_told_once(place: Place) -> None:
    made = create(place)
    assert made["secret"].startswith("whsec_")
    assert (made["state"], made["types"], made["description"]) == ("enabled", ["job.succeeded"], "chat")
    shown = place.client.get(made["links"]["self"]).json
    assert shown == {**made, "secret": None}
    assert place.client.get("/v1/webhooks").json["items"] == [shown]


def test_a_rotation_tells_the_new_secret_once_and_how_long_the_old_one_holds(place: Place) -> None:
    made = create(place)
    rotated = place.client.post(made["links"]["rotate"]).json
    assert rotated["secret"] not in (None, made["secret"])
    assert rotated["old_secret_until"] is not None
    assert place.client.get(made["links"]["self"]).json["secret"] is None


@pytest.mark.parametrize(
    "url",
    ["http://example.com/", "https://localhost/", "https://127.0.0.1:8520/", "https://10.0.0.1/", "https://[::1]/",
     "https://169.254.169.254/latest", "https://user:pass@example.com/", "ftp://example.com/", "https://",
     "example.com", "https://exa mple.com/", "https://metadata.google.internal/", "https://[::ffff:10.0.0.1]/"],
)  # fmt: skip
def test_addresses_that_must_not_be_told_are_refused(place: Place, url: str) -> None:
    assert wheres(place.client.post("/v1/webhooks", json={**HOOK, "url": url})) == {"/url"}
    made = create(place)
    assert wheres(place.client.patch(made["links"]["self"], json={"url": url})) == {"/url"}


def test_every_fault_is_named(place: Place) -> None:
    bad = {"url": "http://10.0.0.1/", "types": ["job.exploded"], "color": 1}
    assert wheres(place.client.post("/v1/webhooks", json=bad)) == {"/url", "/types/0", "/color"}
    assert wheres(place.client.post("/v1/webhooks", json={})) == {"/url"}


def test_members_are_changed_and_it_is_switched(place: Place) -> None:
    address = create(place)["links"]["self"]
    changed = place.client.patch(address, json={"types": [], "url": "https://example.org/"}).json
    assert (changed["types"], changed["url"], changed["description"]) == ([], "https://example.org/", "chat")
    off = place.client.patch(address, json={"enabled": False}).json
    assert (off["state"], off["reason"]) == ("disabled", "It was switched off by hand.")
    assert place.client.patch(address, json={"enabled": True}).json["state"] == "enabled"


def test_deliveries_are_logged_with_each_answer(place: Place) -> None:
    made = create(place)
    tell(place, made, status=200)
    tell(place, made)
    pending, delivered = place.client.get(made["links"]["deliveries"]).json["items"]
    assert (pending["state"], pending["attempts"], pending["next_at"] is None) == ("pending", [], False)
    assert (delivered["state"], delivered["next_at"]) == ("delivered", None)
    assert delivered["payload"]["data"] == {"job": "job_1"}
    (attempt,) = delivered["attempts"]
    assert (attempt["status"], attempt["seconds"], attempt["body"]) == (200, 0.25, "thanks")
    only = place.client.get(f"{made['links']['deliveries']}?state=pending").json["items"]
    assert [item["id"] for item in only] == [pending["id"]]
    assert place.client.get(delivered["links"]["self"]).json == delivered


def test_an_event_is_sent_once_more_on_request(place: Place) -> None:
    made = create(place)
    delivery = tell(place, made, status=200)
    address = f"{made['links']['deliveries']}/{delivery}/redeliver"
    again = place.client.post(address)
    assert again.status_code == 202
    assert (again.json["redelivery"], again.json["state"]) == (True, "pending")
    assert again.json["event"] == place.client.get(f"{made['links']['deliveries']}/{delivery}").json["event"]
    assert place.client.post(again.json["links"]["redeliver"]).status_code == 409
    place.client.patch(made["links"]["self"], json={"enabled": False})
    assert place.client.post(address).status_code == 409


def test_deleted_it_is_gone_with_its_deliveries(place: Place) -> None:
    made = create(place)
    delivery = tell(place, made)
    assert place.client.delete(made["links"]["self"]).status_code == 204
    for path in ("", "/deliveries", f"/deliveries/{delivery}"):
        assert place.client.get(made["links"]["self"] + path).status_code == 404
    assert place.client.delete(made["links"]["self"]).status_code == 404
    assert place.client.post(made["links"]["rotate"]).status_code == 404
