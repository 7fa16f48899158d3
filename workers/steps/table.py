"""The table of steps: op → what runs it. Importing it imports torch: only the zygote does."""

from __future__ import annotations

from workers.backends import BACKENDS_BY_NAME as BACKENDS
from workers.passes import RUNNERS
from workers.steps.apply_pass import ApplyPass
from workers.steps.base import Step
from workers.steps.capture import Capture
from workers.steps.lower import Lower
from workers.steps.measure import Measure
from workers.steps.preflight import Preflight
from workers.steps.profile import ProfileStep
from workers.steps.split import Split
from workers.steps.verify import Verify

__all__ = ["BACKENDS", "STEPS"]

STEPS: dict[str, Step] = {
    "capture": Capture(),
    "split": Split(),
    "profile": ProfileStep(),
    "preflight": Preflight(),
    **{f"pass:{name}": ApplyPass(runner) for name, runner in RUNNERS.items()},
    "lower": Lower(),
    "verify": Verify(),
    "measure": Measure(),
}
"""Every step there is."""
