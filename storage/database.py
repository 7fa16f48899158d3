"""The SQL database: transactions with one clock, and the driver's errors translated once."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, CursorResult, Engine, Result, Table, create_engine, event, text
from sqlalchemy import exc as driver
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Dialect, make_url
from sqlalchemy.sql import Executable

from burnish.errors import BadSetting, BurnishError, DiskFull, InternalError, Unavailable
from storage import counters, notes
from storage.notes import Note

__all__ = ["Database", "Transaction"]

_BUSY_SECONDS = 10
"""Longest wait for another writer, or for a connection."""
_CONNECTIONS = 20
"""Most connections of one process."""
_TRUSTED = 1.0
"""Seconds for which a connection that was in use just now is taken to be alive. One that is not makes one transaction
fail as `Unavailable`, and has all connections older than that opened anew."""
_POSTGRES = {
    "connect_timeout": 3,
    "application_name": "burnish",
    # A process that is frozen inside a transaction must not hold its locks for ever; nor may a dead network.
    "options": f"-c idle_in_transaction_session_timeout=15s -c lock_timeout={_BUSY_SECONDS}s",
    "keepalives_idle": 10,
    "tcp_user_timeout": 15_000,
}
_LOCK_TIMEOUT = "55P03"
_DEADLOCK = ("40P01", "40001")
"""PostgreSQL's codes, https://www.postgresql.org/docs/current/errcodes-appendix.html."""
_NOW = {
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())::float8",
}


class Transaction:
    """An open transaction: a thin wrap of SQLAlchemy's connection. All rows written in it share one `now`."""

    def __init__(self, connection: Connection, clock: Callable[[], float] | None) -> None:
        self._connection = connection
        self._clock = clock
        self._counts: counters.Counts = {}
        self._notes: list[Note] = []
        self._marks = 0

    @cached_property
    def now(self) -> float:
        """Seconds since 1970 by the database's clock, read once."""
        if self._clock is not None:
            return self._clock()
        return float(self.execute(text(_NOW[self._connection.dialect.name])).scalar_one())

    @property
    def single_writer(self) -> bool:
        """True if no other transaction can write meanwhile (SQLite), so that row locks are of no use."""
        return self._connection.dialect.name == "sqlite"

    def execute(self, statement: Executable, values: Mapping[str, Any] | None = None) -> CursorResult[Any]:
        """Runs one statement, with these values for its `bindparam`s.

        Raises as `Database.begin`, or `InternalError` if the statement or a value is refused.
        """
        result = self._execute(statement, values)
        assert isinstance(result, CursorResult)  # what a Core statement gives; the declared type is wider
        return result

    def execute_many(self, statement: Executable, rows: Sequence[Mapping[str, Any]]) -> None:
        """Runs one statement for each of the rows, of which there is at least one. Raises as `execute`."""
        # The rows as parameters: a part of the statement, they would have it compiled each time, for a millisecond.
        self._execute(statement, [dict(row) for row in rows])

    def insert_new(self, table: Table, values: Mapping[str, Any]) -> bool:
        """Inserts a row unless a unique column or the primary key forbids it; whether it was inserted.

        Waits for a transaction that is inserting the same row, and then sees what that one did.
        """
        return self.execute(_inserting(self._connection.dialect.name, table), values).rowcount == 1

    def upsert(self, table: Table, values: Mapping[str, Any], *, keep: frozenset[str] = frozenset()) -> None:
        """Inserts a row, or overwrites the one with its primary key, except the columns in `keep`."""
        key = [column.name for column in table.primary_key]
        changed = {name: value for name, value in values.items() if name not in key and name not in keep}
        insert = _insert(self._connection.dialect.name, table)
        self.execute(insert.values(**values).on_conflict_do_update(index_elements=key, set_=changed))

    def add_to(self, table: Table, rows: Sequence[Mapping[str, Any]], *, column: str) -> None:
        """Inserts rows; where one with its primary key exists, adds the new value of that column to it."""
        self.execute_many(_adding(self._connection.dialect.name, table, column), rows)

    def count(self, name: counters.Name, *labels: str, by: float = 1.0) -> None:
        """Adds to a running sum (`storage/counters.py`) when the transaction is committed."""
        self._counts[name, labels] = self._counts.get((name, labels), 0.0) + by

    def note(self, note: Note) -> None:
        """Makes an event of it at the end of the transaction, or when `write_notes` is called (`storage/notes.py`)."""
        self._notes.append(note)

    def write_notes(self) -> None:
        """Makes events of what was noted so far: who reads events or revisions of jobs calls it before."""
        made, self._notes = self._notes, []
        notes.write(self, made)

    def write_counts(self) -> None:
        """Writes what was counted: the last thing before the commit."""
        counts, self._counts = self._counts, {}
        counters.write(self, counts)

    @contextmanager
    def savepoint(self) -> Iterator[Callable[[], None]]:
        """A part that can be taken back alone, its row locks included: gives the function that does so.

        An exception that leaves the block takes it back too. After `undo`, the rest of the block belongs to the
        transaction around it.
        """
        nested, forget = self._connection.begin_nested(), self._memory()

        def undo() -> None:
            nested.rollback()
            forget()

        try:
            yield undo
        except BaseException:
            if nested.is_active:
                undo()
            raise
        if nested.is_active:
            nested.commit()

    def mark(self) -> Callable[[], None]:
        """Gives a function that takes back all that comes from here on, row locks included; it may be called again.

        Cheaper than `savepoint` where nothing is to happen at the end of a block.
        """
        self._marks += 1
        name, forget = f"mark_{self._marks}", self._memory()
        self._driver(f"SAVEPOINT {name}")

        def undo() -> None:
            self._driver(f"ROLLBACK TO SAVEPOINT {name}")
            forget()

        return undo

    def _memory(self) -> Callable[[], None]:
        """Gives a function that forgets what is counted and noted from here on."""
        counted, noted = dict(self._counts), list(self._notes)

        def forget() -> None:
            self._counts, self._notes = dict(counted), list(noted)

        return forget

    def _driver(self, statement: str) -> None:
        with _translated():
            self._connection.exec_driver_sql(statement)

    def _execute(self, statement: Executable, values: Any) -> Result[Any]:
        with _translated():
            try:
                return self._connection.execute(statement, values)
            except (TypeError, ValueError) as error:  # psycopg's own, when it encodes JSON; SQLAlchemy wraps SQLite's
                raise InternalError(f"A value can't be stored: {error}.", cure="Report this as a bug.") from error


class Database:
    """A SQLite file (`sqlite:///…`) or a PostgreSQL database (`postgresql+psycopg://…`). Safe to share by threads."""

    def __init__(self, url: str, clock: Callable[[], float] | None = None) -> None:
        self.url = _checked(url)
        self._clock = clock
        self._engine = _engine(self.url)

    def begin(self) -> AbstractContextManager[Transaction]:
        """A transaction that writes; committed at the end of the block, rolled back if it raises.

        SQLite: `BEGIN IMMEDIATE`, so that it can't fail half-way for another writer. PostgreSQL: read committed.

        Raises:
            Unavailable: the database can't be reached, is locked for too long, or broke a deadlock.
            DiskFull: SQLite has no room left.
        """
        return self._transaction(writes=True)

    def read(self) -> AbstractContextManager[Transaction]:
        """A transaction that only reads, on one snapshot: all its queries see the same moment. Raises as `begin`."""
        return self._transaction(writes=False)

    def migrate(self) -> None:
        """Creates the tables or brings them to this version. May run in several processes at once."""
        from storage.migrate import upgrade  # alembic costs 0.2 s of import, and only this call needs it

        with _translated():
            upgrade(self._engine)

    def observe(self, told: Callable[[float], None]) -> None:
        """From now on `told` gets the seconds of every statement, the way to the server included."""
        event.listen(self._engine, "before_cursor_execute", _note_begin)

        def note_end(connection: Connection, *_: object) -> None:
            told(time.perf_counter() - connection.info["burnish_began"])

        event.listen(self._engine, "after_cursor_execute", note_end)

    def close(self) -> None:
        """Closes the idle connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Transaction]:
        with _translated(), self._engine.connect() as connection:
            _prepare(connection, writes)
            with connection.begin():
                tx = Transaction(connection, self._clock)
                yield tx
                if writes:
                    tx.write_notes()
                    tx.write_counts()


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except driver.ArgumentError as error:
        raise BadSetting("The database's URL can't be read.", cure="Use sqlite:///FILE or postgresql://….") from error
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed
    raise BadSetting(
        f"{parsed.render_as_string()} can't be the database.",
        cure="Use sqlite:///FILE (several connections share it, so no :memory:) or postgresql://….",
    )


def _engine(url: URL) -> Engine:
    # A report with NaN in it would be accepted by SQLite and refused by PostgreSQL: refuse it in both.
    settings: dict[str, Any] = {"json_serializer": partial(json.dumps, allow_nan=False, separators=(",", ":"))}
    pool: dict[str, Any] = {"pool_size": 4, "max_overflow": _CONNECTIONS - 4, "pool_timeout": _BUSY_SECONDS}
    if url.get_backend_name() == "postgresql":
        engine = create_engine(url, connect_args=_POSTGRES, **pool, **settings)
        event.listen(engine, "checkin", _used)
        event.listen(engine, "checkout", partial(_look_alive, engine.dialect))
        return engine
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS}, **pool, **settings)
    event.listen(engine, "connect", _connected)
    event.listen(engine, "begin", _began)
    return engine


def _used(connection: Any, record: Any) -> None:
    record.info["burnish_used"] = time.monotonic()


def _look_alive(dialect: Dialect, connection: Any, record: Any, proxy: object) -> None:
    """Asks a connection that was idle whether it still is one; if not, the pool opens another in its place."""
    if time.monotonic() - record.info.get("burnish_used", math.inf) < _TRUSTED:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise driver.InvalidatePoolError from error


def _connected(connection: Any, record: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself: `_began` does
    for pragma in (f"busy_timeout={_BUSY_SECONDS * 1000}", "synchronous=full", "foreign_keys=on"):
        connection.execute(f"PRAGMA {pragma}").close()
    _use_wal(connection)


def _use_wal(connection: Any) -> None:
    """Sets the mode that a file keeps from then on. Two who set it on a new file at once would wait for each other, so
    SQLite has one fail without waiting (https://www.sqlite.org/c3ref/busy_handler.html): that one tries again."""
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=wal").close()
            return
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > until:
                raise
        time.sleep(0.01)


def _began(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", True)
    connection.exec_driver_sql(f"PRAGMA query_only={'off' if writes else 'on'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@cache
def _inserting(dialect: str, table: Table) -> Executable:
    return _insert(dialect, table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


@cache
def _adding(dialect: str, table: Table, column: str) -> Executable:
    statement = _insert(dialect, table)
    summed = {column: table.c[column] + statement.excluded[column]}
    key = [each.name for each in table.primary_key]
    return statement.on_conflict_do_update(index_elements=key, set_=summed)


def _insert(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def _note_begin(connection: Connection, *_: object) -> None:
    connection.info["burnish_began"] = time.perf_counter()


def _prepare(connection: Connection, writes: bool) -> None:
    if connection.dialect.name == "sqlite":
        connection.execution_options(writes=writes)
    elif not writes:
        connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


@contextmanager
def _translated() -> Iterator[None]:
    """The only place that knows the driver's errors."""
    try:
        yield
    except (driver.OperationalError, driver.InterfaceError, driver.TimeoutError) as error:
        raise _trouble(error) from error
    except driver.SQLAlchemyError as error:
        if isinstance(error, driver.DBAPIError) and error.connection_invalidated:
            raise Unavailable("The database closed the connection.", cure="Try again.") from error
        raise _refused(error) from error


def _trouble(error: driver.SQLAlchemyError) -> BurnishError:
    """What is meant by an error that drivers call operational."""
    cause = _cause(error)
    if getattr(cause, "sqlite_errorname", None) == "SQLITE_ERROR":  # a wrong statement, or no tables yet
        return _refused(error)
    if any(sign in str(cause) for sign in ("disk is full", "No space left on device")):
        return DiskFull("The database has no room left.", cure="Free space on its disk, then try again.")
    if isinstance(error, driver.TimeoutError):
        return Unavailable(
            f"All {_CONNECTIONS} connections of this process to the database were in use for {_BUSY_SECONDS} s.",
            cure="Try again; if it stays so, do less at once, or start another process.",
        )
    code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None) or ""
    if code in _DEADLOCK:
        return Unavailable("Two transactions waited for each other; the database ended this one.", cure="Try again.")
    if code == _LOCK_TIMEOUT or code.startswith("SQLITE_BUSY"):
        return Unavailable(
            f"Another transaction kept what this one needs locked for {_BUSY_SECONDS} s.",
            cure="Try again; if it stays so, look for one that does not end: a back-up, or somebody's SQL shell.",
        )
    return Unavailable(
        f"The database did not answer: {cause}.",
        cure="Check that BURNISH_DATABASE_URL is right and the database is running, then try again.",
    )


def _cause(error: driver.SQLAlchemyError) -> BaseException | None:
    """The driver's own error, where there is one."""
    return error.orig if isinstance(error, driver.DBAPIError) else error


def _refused(error: driver.SQLAlchemyError) -> BurnishError:
    cause = _cause(error)
    match getattr(cause, "sqlite_errorname", None):
        case "SQLITE_NOTADB":
            return BadSetting(
                "The file is no SQLite database.",
                cure="Name another file, or move that one away: a new one is made then.",
                where="BURNISH_DATABASE_URL",
            )
        case "SQLITE_CORRUPT":
            return InternalError(
                "The database's file is damaged.", cure="Restore it from a back-up (docs/operating.md)."
            )
    return InternalError(
        f"The database refused a statement: {error}",
        cure="Run `python -m storage.migrate` if its tables are missing or old; else report this as a bug.",
    )
