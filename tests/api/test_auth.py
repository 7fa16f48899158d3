"""Tokens, the cookie of the pages, and requests from other sites."""

from __future__ import annotations

import pytest

from api.auth import is_loopback
from tests.api.place import Place

BEARER = {"Authorization": "Bearer secret"}


def test_with_tokens_every_route_wants_one(guarded: Place) -> None:
    for address in ("/v1/jobs", "/v1/passes", "/v1/artifacts/x", "/metrics", "/v1/nothing"):
        response = guarded.client.get(address)
        assert (response.status_code, response.json["code"]) == (401, "unauthorized"), address
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert guarded.client.post("/v1/models?name=x", data=b"x").status_code == 401


def test_an_accepted_token_opens_and_any_other_does_not(guarded: Place) -> None:
    assert guarded.client.get("/v1/jobs", headers=BEARER).status_code == 200
    for value in ("Bearer wrong", "Bearer", "Basic secret", "secret", "Bearer sécret"):
        assert guarded.client.get("/v1/jobs", headers={"Authorization": value}).status_code == 401, value


def test_probes_docs_and_the_way_in_are_open(guarded: Place) -> None:
    for address in ("/healthz", "/openapi.json", "/docs", "/login", "/static/any/burnish.css"):
        with guarded.client.get(address) as response:
            assert response.status_code == 200, address
    assert guarded.client.get("/readyz").status_code == 503  # the broker is away, but who asks is not refused


def test_a_page_leads_to_the_login_and_back(guarded: Place) -> None:
    job = guarded.job()
    away = guarded.client.get(f"/jobs/{job.id}")
    assert (away.status_code, away.headers["Location"]) == (303, f"/login?next=/jobs/{job.id}")
    form = guarded.client.get(away.headers["Location"])
    assert f'value="/jobs/{job.id}"' in form.text
    entered = guarded.client.post("/login", data={"token": "secret", "next": f"/jobs/{job.id}"})
    assert (entered.status_code, entered.headers["Location"]) == (303, f"/jobs/{job.id}")
    cookie = entered.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert guarded.client.get(f"/jobs/{job.id}").status_code == 200
    assert guarded.client.get("/v1/jobs").status_code == 200


def test_a_wrong_token_is_told_so_and_sets_no_cookie(guarded: Place) -> None:
    response = guarded.client.post("/login", data={"token": "wrong"})
    assert response.status_code == 401
    assert "not accepted" in response.text
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "/\\evil.example", "evil", ""])
def test_the_login_leads_to_no_other_site(guarded: Place, elsewhere: str) -> None:
    response = guarded.client.post("/login", data={"token": "secret", "next": elsewhere})
    assert response.headers["Location"] == "/"


def test_what_another_site_sends_changes_nothing(place: Place) -> None:
    job = place.job()
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"},
                    {"Origin": "null"}):  # fmt: skip
        for address in (f"/v1/jobs/{job.id}/cancel", f"/jobs/{job.id}/cancel"):
            assert place.client.post(address, headers=headers).status_code == 403, headers
    assert place.client.get(f"/v1/jobs/{job.id}").json["state"] == "queued"
    own = {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}
    assert place.client.post(f"/v1/jobs/{job.id}/cancel", headers=own).status_code == 202


def test_without_tokens_only_loopback_names_are_answered(place: Place) -> None:
    for host in ("localhost", "localhost:8520", "127.0.0.1:8520", "[::1]:8520"):
        assert place.client.get("/healthz", headers={"Host": host}).status_code == 200, host
    response = place.client.get("/v1/jobs", headers={"Host": "rebound.example"})
    assert response.status_code == 403
    assert "BURNISH_TOKENS" in response.json["cure"]


def test_with_tokens_any_name_is_answered(guarded: Place) -> None:
    assert guarded.client.get("/v1/jobs", headers={**BEARER, "Host": "burnish.example"}).status_code == 200


def test_loopback_is_told_from_the_rest() -> None:
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "127.9.9.9", "::1"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "", "localhost.example"))
