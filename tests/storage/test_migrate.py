"""Migrations make exactly the tables of `storage/tables.py`, once, whoever starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, create_engine, inspect, text
from sqlalchemy.engine import make_url

from storage import blob_uses, computations, counters, eviction, jobs, models, products, steps
from storage.database import Database
from storage.migrate import upgrade
from storage.tables import metadata
from tests.postgres import fresh_database

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'new.sqlite'}"
        return
    with fresh_database(request.getfixturevalue("postgres_url")) as url:
        yield url


def tables(url: str) -> set[str]:
    engine = create_engine(make_url(url).set(drivername=_driver(url)))
    found = set(inspect(engine).get_table_names())
    engine.dispose()
    return found


def _driver(url: str) -> str:
    return "sqlite" if url.startswith("sqlite") else "postgresql+psycopg"


EXPECTED = {*metadata.tables, "alembic_version"}


def test_an_empty_database_gets_all_tables(empty_url: str) -> None:
    database = Database(empty_url)
    database.migrate()
    database.close()
    assert tables(empty_url) == EXPECTED


def test_migrating_again_changes_nothing(empty_url: str) -> None:
    database = Database(empty_url)
    database.migrate()
    database.migrate()
    database.close()
    assert tables(empty_url) == EXPECTED


def test_two_processes_may_start_at_once(empty_url: str) -> None:
    command = [sys.executable, "-m", "storage.migrate"]
    environment = {**os.environ, "BURNISH_DATABASE_URL": empty_url}
    started = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], errors
    assert tables(empty_url) == EXPECTED


def test_threads_of_one_process_may_start_at_once(empty_url: str) -> None:
    databases = [Database(empty_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Database.migrate, databases))
    for database in databases:
        database.close()
    assert tables(empty_url) == EXPECTED


def test_the_migrations_make_what_the_tables_say(database_url: str) -> None:
    engine = create_engine(make_url(database_url).set(drivername=_driver(database_url)))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        inspector = inspect(connection)
        for table in metadata.tables.values():
            checks = {check["name"] for check in inspector.get_check_constraints(table.name)}
            expected = {str(c.name) for c in table.constraints if isinstance(c, CheckConstraint)}
            assert checks == expected
    engine.dispose()


_FIRST_ROWS = (
    """INSERT INTO models (id, name, version, digest, size, signature, created_at)
       VALUES ('mdl_1', 'net', 1, 'aa', 10, '{}', 1.0)""",
    """INSERT INTO datasets (id, name, digest, size, format, schema, samples, labelled, created_at)
       VALUES ('dst_1', 'digits', 'bb', 10, 'npz', '{}', 9, true, 1.0)""",
    """INSERT INTO jobs (id, state, spec, model_id, model, model_digest, dataset_id, dataset, dataset_digest, priority,
                         revision, verdict, created_at, started_at, finished_at)
       VALUES ('job_1', 'succeeded', '{}', 'mdl_1', 'net:1', 'aa', 'dst_1', 'digits', 'bb', 5, 3, '{}', 1, 2, 3)""",
    """INSERT INTO computations (key, op, spec, inputs, key_parts, queue, alone, priority, state, attempt, failures,
                                 max_attempts, run_after, cancel, progress, outputs, reasons, seconds, created_at)
       VALUES ('k1', 'capture', '{}', '{"model": "aa"}', '{}', 'cpu', false, 5, 'done', 1, 0, 3, 1.0, false, 1.0,
               '{"program": "cc", "copy": "cc", "log": "dd"}', '[]', 2.5, 1.0),
              ('k2', 'verify', '{}', '{"program": "cc"}', '{}', 'cpu', false, 5, 'done', 1, 0, 3, 1.0, false, 1.0,
               '{}', '[]', 0.5, 1.0),
              ('k3', 'prune', '{}', '{"program": "cc"}', '{}', 'cpu', false, 5, 'ready', 0, 0, 3, 1.0, false, 0.0,
               NULL, '[]', NULL, 1.0)""",
    """INSERT INTO steps (job_id, name, op, spec, queue, optional, position, state, key, hit)
       VALUES ('job_1', 'capture', 'capture', '{}', 'cpu', false, 0, 'done', 'k1', false)""",
    """INSERT INTO events (job_id, id, at, kind, data) VALUES ('job_1', 1, 1.0, 'job.queued', '{}')""",
    """INSERT INTO blobs (digest, size, created_at, seen_at) VALUES ('cc', 5, 1.0, 2.0), ('dd', 6, 1.0, 2.0)""",
)
"""What a service of the first schema left behind."""


def test_an_older_schema_is_upgraded_with_all_that_is_in_it(empty_url: str) -> None:
    """From the first schema to the present one: nothing is lost, and what later code reads is filled in."""
    database = Database(empty_url)
    upgrade(database._engine, "0001")
    with database.begin() as tx:
        for row in _FIRST_ROWS:
            tx.execute(text(row.replace(":", "\\:")))
    assert "products" not in tables(empty_url)
    database.migrate()
    assert tables(empty_url) == EXPECTED
    with database.read() as tx:
        assert jobs.get(tx, "job_1").state == "succeeded"
        assert models.get(tx, "mdl_1").pinned_at is None
        assert steps.of_job(tx, "job_1")[0].outputs == {"program": "cc", "copy": "cc", "log": "dd"}
        assert products.of(tx, "k1") == ["cc", "dd"]
        assert (products.makers(tx, "cc"), products.of(tx, "k2"), products.of(tx, "k3")) == (["k1"], [], [])
        assert blob_uses.refers(tx, "aa")
        assert eviction.cheapest(tx, 10) == ["k1"]
        assert counters.totals(tx)["computations"] == {("done", "cpu"): 2.0}
    with database.begin() as tx:
        claim = computations.claim(tx, "k3", worker="w", ttl=30.0)
    assert claim is not None
    database.close()


def test_migrating_from_every_revision_comes_to_the_same_schema(tmp_path: Path) -> None:
    folder = ROOT / "storage/migrations/versions"
    for revision in sorted(path.name[:4] for path in folder.glob("[0-9]*.py")):
        url = f"sqlite:///{tmp_path / revision}.sqlite"
        database = Database(url)
        upgrade(database._engine, revision)
        database.migrate()
        database.close()
        assert tables(url) == EXPECTED
