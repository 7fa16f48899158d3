"""A supervisor over small stand-in parts: `python -m tests.burnish.local.stand_in SCENE DATA`.

Every part writes its process id to `<data>/<name>.pid` when it is up, and appends its name to `<data>/stopped` when
SIGTERM ends it.
"""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import replace
from pathlib import Path

from burnish.errors import BurnishError
from burnish.local.lock import hold
from burnish.local.part import Part
from burnish.local.ports import free_port
from burnish.local.probe import get
from burnish.local.service import Service
from burnish.local.supervisor import Supervisor

_UP = """
import os, pathlib, signal, subprocess, sys
name = sys.argv[1]
def up():
    path = pathlib.Path(name + ".new"); path.write_text(str(os.getpid())); path.replace(name + ".pid")
    print(name, "is up", flush=True)
def stop(number, frame):
    with open("stopped", "a") as file: file.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
"""
_WAIT = _UP + "up()\nwhile True: signal.pause()"
_STUBBORN = _UP + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nup()\nwhile True: signal.pause()"
_BROKEN = _UP + "print('the disk is on fire', flush=True)\nsys.exit(3)"
_UNTIL_MENDED = _UP + "if not os.path.exists('mended'): sys.exit(1)\nup()\nwhile True: signal.pause()"
_ONCE = _UP + "up()"
_NEST = (
    _UP
    + "child = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
    + "pathlib.Path('nested.pid').write_text(str(child.pid))\nup()\nwhile True: signal.pause()"
)
_SERVE = (
    _UP
    + """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b"{}")
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Handler)
up()
server.serve_forever()
"""
)


def part(name: str, program: str, *arguments: str) -> Part:
    """A part that runs a program, ready once it says so."""
    return Part(
        name=name,
        command=(sys.executable, "-I", "-c", program, name, *arguments),
        environment=dict(os.environ),
        ready=lambda: Path(f"{name}.pid").exists(),
        stop_seconds=0.3 if program == _STUBBORN else 20,
    )


def scene(name: str) -> Service:
    """The parts of a scene."""
    first, second = part("first", _WAIT), part("second", _WAIT)
    if name == "served":
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        api = replace(part("api", _SERVE, str(port)), ready=lambda: get(f"{url}/readyz")[0] == 200)
        return Service(url=url, parts=(first, api))
    return Service(
        url="http://127.0.0.1:9",
        parts={
            "plain": (first, replace(part("setup", _ONCE), once=True), second),
            "broken": (first, part("broken", _BROKEN)),
            "once-broken": (first, replace(part("setup", _BROKEN), once=True), second),
            "never-ready": (first, replace(second, ready=lambda: False)),
            "stubborn": (first, part("stubborn", _STUBBORN)),
            "endless": (first, replace(part("stubborn", _STUBBORN), stop_seconds=1000)),
            "nest": (first, part("nest", _NEST)),
            "mended": (first, replace(part("mended", _UNTIL_MENDED), mend=Path("mended").touch)),
            "no-command": (first, replace(second, command=("/does/not/exist",))),
        }[name],
    )


def main() -> int:
    """Runs the scene until a signal."""
    data = Path(sys.argv[2]).absolute()
    data.mkdir(parents=True, exist_ok=True)
    os.chdir(data)
    try:
        with hold(data):
            Supervisor(data, scene(sys.argv[1]), functools.partial(print, flush=True)).run()
    except BurnishError as error:
        print(error, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
