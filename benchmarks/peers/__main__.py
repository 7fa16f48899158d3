"""Peers' own routes next to this service's: works or fails, quality, size, speed, and one verdict a model.

    python -m benchmarks.peers [--models a,b] [--routes x,y] [--zoo FOLDER] [--folder FOLDER] [--again]
                               [--measure no|missing|all] [--threads 1] [--seconds 15] [--rounds 40]
                               [--table docs/peers.md]

Models are those of `python -m benchmarks.matrix`, read from its zoo and made there if they are missing. Artifacts and
what is known of them are kept in `--folder` (by default `peers` in the zoo), so a run goes on where the last stopped;
`--again` makes finished ones anew. `--measure all` only times what was kept: 2 to 3 minutes a model, on an idle host.
NNCF comes with `pip install 'burnish[peers]'`; without it its routes are told as missing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.matrix.available import available
from benchmarks.matrix.child import Crashed, in_child
from benchmarks.matrix.models import MODELS_BY_NAME
from benchmarks.matrix.records import Records
from benchmarks.matrix.zoo import Zoo, default_folder
from benchmarks.options import named, publish
from benchmarks.peers.given import KINDS, Given, digest
from benchmarks.peers.making import make_route
from benchmarks.peers.racing import race
from benchmarks.peers.routes import ROUTES, Route
from benchmarks.peers.table import document, sentence
from benchmarks.peers.verdict import verdict_of

__all__ = ["main"]

_LIMIT = 900.0
"""Seconds for making a model or an artifact, and for one race."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes what is missing, measures, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=named({name: name for name in KINDS}), default=list(KINDS))
    parser.add_argument("--routes", type=named({route.name: route for route in ROUTES}), default=list(ROUTES))
    parser.add_argument("--zoo", type=Path, default=default_folder())
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--measure", choices=("no", "missing", "all"), default="missing")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=15.0, help="of measuring, per model")
    parser.add_argument("--rounds", type=int, default=40, help="least number of rounds")
    parser.add_argument("--table", type=Path, default=None, help="where the page goes; by default it is printed")
    options = parser.parse_args(arguments)
    records = Records(options.folder or options.zoo / "peers")
    for model in options.models:
        given = Given(model, options.zoo / "matrix" / model)
        if _is_there(given, options.zoo):
            _make(given, options, records)
            _race(given, options, records)
            print(sentence(model, verdict_of(_known(model, records))), flush=True)
    known = {model: _known(model, records) for model in KINDS}
    publish(document({model: found for model, found in known.items() if found}), options.table)


def _is_there(given: Given, zoo: Path) -> bool:
    models = Records(zoo / "matrix")
    if available(MODELS_BY_NAME[given.model], Zoo(zoo), models):
        return True
    print(f"{given.model}: {models.unavailable(given.model)}", flush=True)
    return False


def _make(given: Given, options: argparse.Namespace, records: Records) -> None:
    routes: Sequence[Route] = options.routes
    of = digest(given.folder)
    for route in routes:
        known = records.read(given.model, route.name)
        if given.kind in route.kinds and (options.again or known is None or known.get("of") != of):
            began, log = time.monotonic(), records.folder / given.model / f"log-{route.name}"
            log.parent.mkdir(parents=True, exist_ok=True)
            try:
                in_child(make_route, route, given, records, limit=_LIMIT, log=log)
            except Crashed as crash:
                reason = " ".join(str(crash).split())[-300:]
                records.write(given.model, route.name, {"state": "fails", "reason": reason, "of": of})
            found = records.read(given.model, route.name) or {}
            told = f"{found.get('state')} {found.get('reason', '')}"
            print(f"{given.model} {route.name}: {told} {time.monotonic() - began:.0f} s", flush=True)


def _race(given: Given, options: argparse.Namespace, records: Records) -> None:
    works = [record for record in _known(given.model, records).values() if record["state"] == "works"]
    if options.measure == "no" or (options.measure == "missing" and all("speed" in record for record in works)):
        return
    log = records.folder / given.model / "log-race"
    plan = (options.threads, options.seconds, options.rounds)
    try:
        in_child(race, given, records, *plan, limit=_LIMIT, log=log)
    except Crashed as crash:
        print(f"{given.model}: measuring: {crash}", flush=True)


def _known(model: str, records: Records) -> dict[str, dict[str, Any]]:
    found = {route.name: records.read(model, route.name) for route in ROUTES}
    return {name: record for name, record in found.items() if record is not None}


if __name__ == "__main__":
    main()
