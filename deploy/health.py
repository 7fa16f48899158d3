"""Whether this container's part is well: `health.py api | worker | tick`; exit status 0 or 1, with the reason.

It answers one question, "would a restart help?", since that is what happens to a container that is not well. So a
database that is away is no fault of a worker: restarting all workers would stop their steps and mend nothing.
"""

from __future__ import annotations

import os
import platform
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.database import Transaction

STALE_SECONDS = 60.0
"""A worker writes a sign of life every ten seconds; the tick takes lapsed leases back every second."""


def api() -> str | None:
    """None if the API answers on this machine, else why not."""
    host, _, port = os.environ.get("BURNISH_LISTEN", "127.0.0.1:8520").rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=4):
            return None
    except (urllib.error.URLError, OSError) as error:
        return f"the API does not answer: {error}"


def worker() -> str | None:
    """None if a worker of this host has given a sign of life lately, or none can be seen now."""
    from sqlalchemy import select

    from storage.tables import workers

    def ask(tx: Transaction) -> str | None:
        mine = select(workers.c.seen_at).where(workers.c.name.startswith(f"{platform.node()}:", autoescape=True))
        seen = max((row.seen_at for row in tx.execute(mine)), default=None)
        if seen is not None and tx.now - seen < STALE_SECONDS:
            return None
        return "no worker of this host is announced" if seen is None else f"last sign of life {tx.now - seen:.0f} s ago"

    return _asked(ask)


def tick() -> str | None:
    """None unless leases lapsed a while ago and nobody took them back."""
    from sqlalchemy import func, select

    from storage.tables import computations

    def ask(tx: Transaction) -> str | None:
        lapsed = (computations.c.state == "leased") & (computations.c.lease_until < tx.now - STALE_SECONDS)
        count = tx.execute(select(func.count()).select_from(computations).where(lapsed)).scalar_one()
        return f"{count} leases lapsed over {STALE_SECONDS:.0f} s ago and were not taken back" if count else None

    return _asked(ask)


def _asked(ask: Callable[[Transaction], str | None]) -> str | None:
    from burnish.errors import Unavailable
    from burnish.settings import Settings
    from storage.database import Database

    database = Database(Settings.from_environment(os.environ).database_url)
    try:
        with database.read() as tx:
            return ask(tx)
    except Unavailable as error:
        print(f"can't be told while the database is away: {error}", file=sys.stderr)
        return None
    finally:
        database.close()


PARTS = {"api": api, "worker": worker, "tick": tick}


def main(arguments: list[str]) -> int:
    """Looks at the part that is named."""
    if len(arguments) != 1 or arguments[0] not in PARTS:
        print(f"usage: health.py {' | '.join(PARTS)}", file=sys.stderr)
        return 2
    reason = PARTS[arguments[0]]()
    if reason is not None:
        print(f"{arguments[0]}: {reason}", file=sys.stderr)
    return 0 if reason is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
