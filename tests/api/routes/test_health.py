"""Probes and metrics."""

from __future__ import annotations

import shutil

from tests.api.place import Place


def test_the_process_says_that_it_is_alive(place: Place) -> None:
    assert place.client.get("/healthz").json == {"status": "ok"}


def test_it_is_not_ready_while_a_part_is_away_and_says_which(place: Place) -> None:
    response = place.client.get("/readyz")
    assert response.status_code == 503
    assert response.json["ready"] is False
    assert response.json["parts"]["database"] == response.json["parts"]["blobs"] == "ok"
    assert "refused" in response.json["parts"]["broker"]


def test_a_database_that_is_away_is_named(place: Place) -> None:
    if place.settings.database_url.startswith("postgresql"):
        place.database.close()
        broken = place.settings.database_url.rpartition("/")[0] + "/none"
    else:
        broken = f"sqlite:///{place.folder / 'sub' / 'burnish.sqlite'}"
    from storage.database import Database

    database = Database(broken)
    if not broken.startswith("postgresql"):
        shutil.rmtree(place.folder / "sub")
    object.__setattr__(place.app.extensions["burnish"], "database", database)
    assert place.client.get("/readyz").json["parts"]["database"].startswith("Unavailable")
    database.close()
