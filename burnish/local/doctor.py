"""`burnish doctor`: what is missing or misconfigured on this machine, and how to mend it."""

from __future__ import annotations

from burnish.local import machine, reach, tpu
from burnish.local.check import Check
from burnish.settings import Settings

__all__ = ["Check", "checks"]


def checks(settings: Settings) -> list[Check]:
    """Looks at everything that the service stands on; takes some seconds, as it imports every library once."""
    return [
        machine.python_version(),
        *machine.libraries(),
        machine.compiler(),
        machine.processor(),
        machine.threads(),
        *([tpu.check()] if "tpu" in settings.queues else []),
        machine.sandbox(),
        machine.folder(settings.data),
        machine.disk(settings.data),
        reach.database(settings),
        reach.broker(settings),
        reach.blobs(settings),
        reach.service(settings),
    ]
