"""The `burnish` command."""

from __future__ import annotations

import click

from burnish.cli.aliases import aliases
from burnish.cli.catalogue import datasets, models, passes, workers
from burnish.cli.completion import completion
from burnish.cli.demo import demo
from burnish.cli.events import events
from burnish.cli.export import export
from burnish.cli.jobs import cancel, fetch, jobs, priority, retry, show, watch
from burnish.cli.optimize import optimize, submit
from burnish.cli.pins import pin, unpin
from burnish.cli.schedules import schedules
from burnish.cli.serve import api, doctor, down, tick, up, worker
from burnish.cli.webhooks import webhooks
from burnish.version import __version__

__all__ = ["COMMANDS", "main"]

COMMANDS = (
    optimize, submit, jobs, show, watch, events, cancel, retry, priority, fetch, export, models, datasets, pin, unpin,
    schedules, aliases, webhooks, workers, passes, up, down, api, worker, tick, doctor, completion, demo,
)  # fmt: skip
"""In the order of the help page."""


class _InOrder(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="burnish")
def main() -> None:
    """Make trained PyTorch models fast to run, with the proof.

    The service is the one at BURNISH_URL (token in BURNISH_TOKEN), or else the embedded one on this machine,
    which is started when needed.
    """


for _command in COMMANDS:
    main.add_command(_command)
