"""Leases that lapse while SQL is away: nobody could renew them, so nobody is to lose one.

Workers go on while SQL does not answer (`workers/lease.py`). When it is back they renew their leases, but the tick may
be there first. So it notes in SQL that it looks, and if nobody has looked for `GAP` seconds, everybody gets `GRACE`.
"""

from __future__ import annotations

from sqlalchemy import literal, select, update

from storage.database import Transaction
from storage.tables import chores, computations

__all__ = ["GAP", "GRACE", "spare"]

GAP = 25.0
"""Seconds without a look that mean an outage: more than the tick's longest pause, less than a lease lasts."""
GRACE = 30.0
"""Seconds that workers have from then on: for a dead connection to be noticed, a new one, and a heartbeat."""
_EVERY = 5.0
_IS_LEASED = computations.c.state == literal("leased", literal_execute=True)  # so that its partial index fits
_NAME = "leases.seen"


def spare(tx: Transaction) -> int:
    """Notes the look; after an outage lengthens the leases that lapsed meanwhile or are about to. How many.

    Rows that somebody holds just now are passed over: the lease is being renewed, or ended.
    """
    last = tx.execute(select(chores.c.next_at).where(chores.c.name == _NAME)).scalar_one_or_none()
    if last is not None and tx.now - last < _EVERY:
        return 0
    tx.upsert(chores, {"name": _NAME, "next_at": tx.now})
    if last is None or tx.now - last < GAP:
        return 0
    lapsing = select(computations.c.key).where(_IS_LEASED, computations.c.lease_until < tx.now + GRACE)
    keys = tx.execute(lapsing.with_for_update(key_share=True, skip_locked=True)).scalars().all()
    if keys:
        these = update(computations).where(computations.c.key.in_(keys), _IS_LEASED)
        tx.execute(these.values(lease_until=tx.now + GRACE))
    return len(keys)
