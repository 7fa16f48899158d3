"""Every error becomes a problem document, and nothing of the inside gets out."""

from __future__ import annotations

import logging

import pytest
from flask.testing import FlaskClient

from api.errors import STATUS, problem_of
from burnish.errors import ERRORS, BlobCorrupt, BurnishError, DiskFull, Fault, InvalidSpec, Unauthorized, Unavailable
from burnish.resources import Problem
from tests.api.place import Place


def make(kind: type[BurnishError]) -> BurnishError:
    if kind is InvalidSpec:
        return InvalidSpec([Fault(where="/a", message="Wrong.", cure="Right it.")])
    return kind("It went wrong.", cure="Do this.", where="here")


def test_the_table_holds_every_error_and_no_other() -> None:
    assert set(STATUS) == set(ERRORS)


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_has_a_problem_document_with_its_code_class_and_cure(kind: type[BurnishError]) -> None:
    problem = problem_of(make(kind))
    assert (problem.code, problem.error_class) == (kind.code, kind.error_class)
    assert 400 <= problem.status <= 599
    assert problem.cure
    assert problem.title
    assert (problem.status < 500) == (kind.error_class == "user") or kind.code == "setting.invalid"


def test_an_error_of_a_route_is_answered_by_its_status(place: Place) -> None:
    for kind, status in ((DiskFull, 507), (Unavailable, 503), (BlobCorrupt, 500), (Unauthorized, 401)):
        error = make(kind)

        def fail(error: BurnishError = error) -> str:
            raise error

        place.app.view_functions["passes.list_passes"] = fail
        response = place.client.get("/v1/passes")
        assert response.status_code == status
        assert response.mimetype == "application/problem+json"
        problem = Problem.model_validate_json(response.data)
        assert (problem.detail, problem.cure, problem.where) == ("It went wrong.", "Do this.", "here")
        assert ("Retry-After" in response.headers) == (status == 503)
        assert ("WWW-Authenticate" in response.headers) == (status == 401)


def test_a_fault_of_ours_is_logged_and_not_shown(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> str:
        raise RuntimeError("the password is swordfish")

    place.app.view_functions["passes.list_passes"] = fail
    with caplog.at_level(logging.ERROR):
        response = place.client.get("/v1/passes")
    assert response.status_code == 500
    assert response.json["code"] == "internal"
    assert "swordfish" not in response.text
    assert "swordfish" in caplog.text


def test_an_unknown_address_and_method_are_problem_documents(client: FlaskClient) -> None:
    unknown = client.get("/v1/nothing")
    assert (unknown.status_code, unknown.json["code"], unknown.mimetype) == (
        404,
        "not_found",
        "application/problem+json",
    )
    method = client.delete("/v1/jobs")
    assert (method.status_code, method.json["status"]) == (405, 405)
    assert "POST" in method.headers["Allow"]


def test_a_person_with_a_browser_gets_a_page_instead(client: FlaskClient) -> None:
    response = client.get("/jobs/job_none", headers={"Accept": "text/html,*/*;q=0.8"})
    assert response.status_code == 404
    assert response.mimetype == "text/html"
    assert "There is no job job_none." in response.text
    assert "What to do" in response.text


def test_errors_are_not_kept_by_caches(client: FlaskClient) -> None:
    assert client.get("/v1/models/mdl_none").headers["Cache-Control"] == "no-store"
