"""A POST that is sent again gets the answer of the first time."""

from __future__ import annotations

import pytest

from burnish.errors import Conflict
from storage import idempotency
from storage.database import Database
from tests.storage.scene import Clock


def answer(database: Database, body: str = "body", *, key: str = "key", scope: str = "jobs") -> dict[str, object]:
    """What a route does: replays, or works and remembers."""
    with database.begin() as tx:
        stored = idempotency.claim(tx, scope, key, body)
        if stored is not None:
            return stored
        response = {"status": 201, "body": f"made of {body}"}
        idempotency.remember(tx, scope, key, response)
    return {**response, "first": True}


def test_the_first_request_does_the_work_and_later_ones_replay(database: Database) -> None:
    assert answer(database) == {"status": 201, "body": "made of body", "first": True}
    assert answer(database) == {"status": 201, "body": "made of body"}


def test_another_body_under_the_same_key_conflicts(database: Database) -> None:
    answer(database)
    with pytest.raises(Conflict, match="with another body"):
        answer(database, "other body")


def test_scopes_and_keys_stand_apart(database: Database) -> None:
    answer(database)
    assert "first" in answer(database, "other body", key="other")
    assert "first" in answer(database, "other body", scope="models")


def test_a_failed_request_leaves_nothing_behind(database: Database) -> None:
    def fail() -> None:
        with database.begin() as tx:
            idempotency.claim(tx, "jobs", "key", "body")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "first" in answer(database, "other body")


def test_a_claim_without_an_answer_yet_conflicts(database: Database) -> None:
    with database.begin() as tx:
        assert idempotency.claim(tx, "jobs", "key", "body") is None
    with pytest.raises(Conflict, match="still at work"):
        answer(database)


def test_a_key_is_forgotten_after_a_day(database: Database, clock: Clock) -> None:
    answer(database)
    clock.pass_(24 * 3600)
    assert "first" not in answer(database)
    clock.pass_(1)
    assert "first" in answer(database, "other body")
