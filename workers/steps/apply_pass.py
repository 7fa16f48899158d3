"""The step that runs one pass: loads the programs, checks before and after, and accounts for what changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch.export import ExportedProgram

from burnish.errors import InternalError, UnsupportedModel
from workers.calling import StateContract, read_calling, write_calling
from workers.datasets import read_samples
from workers.passes.base import Applied, Pass, PassContext
from workers.profile import Profile
from workers.programs import batch_range, input_names, load_program, save_program, summary
from workers.steps.base import Made, Step, StepContext

__all__ = ["ApplyPass"]


class ApplyPass(Step):
    """Runs `pass:<name>`.

    Inputs: `program` (to treat), `original` (as uploaded), `calibration`, and `profile` and `student` if the settings
    ask for them. Output: `program`.
    Report: `changed`, `layers`, `figures`, and `parameters` and `flops` of the result; `unchanged` says why nothing
    changed.
    """

    name: ClassVar[str] = "pass"
    libraries: ClassVar[tuple[str, ...]] = ("torch",)

    def __init__(self, runner: Pass[Any]) -> None:
        self.runner = runner

    def parts(self) -> tuple[object, ...]:
        return (self.runner,)

    def run(self, context: StepContext) -> Made:
        """Raises:
        UnsupportedModel: the pass can't treat this program at all; each reason says what to do instead.
        """
        settings = self.runner.settings.model_validate(context.settings)
        program = load_program(context.inputs["program"])
        context.progress(0.0, f"{settings.name}: checking")
        if reasons := self.runner.requires(program, settings):
            raise UnsupportedModel(" ".join(reasons), cure=_cure(settings.name, reasons), where=settings.name)
        original = load_program(context.inputs["original"])
        profile, student = context.inputs.get("profile"), context.inputs.get("student")
        given = PassContext(
            original=original,
            calibration=read_samples(context.inputs["calibration"]),
            seed=context.seed,
            max_batch=batch_range(original)[1],
            progress=context.progress,
            profile=None if profile is None else Profile.read(profile),
            student=None if student is None else load_program(student),
            checkpoint=context.checkpoint,
        )
        try:
            applied = self.runner.apply(program, settings, given)
        except UnsupportedModel as error:
            error.where = error.where or settings.name
            raise
        _check_signature(settings.name, program, applied)
        path = context.folder / "program.pt2"
        save_program(applied.program, path)
        if calling := applied.calling or read_calling(context.inputs["program"]):
            write_calling(path, calling)
        return Made(outputs={"program": path}, report=_account(applied))


def _cure(name: str, reasons: Sequence[str]) -> str:
    """What to do, unless the reasons say it themselves."""
    leave_out = f"Leave `{name}` out"
    said = any(leave_out in reason for reason in reasons)
    return "Submit the job again with another recipe." if said else f"{leave_out}."


def _check_signature(name: str, before: ExportedProgram, applied: Applied) -> None:
    """Holds every pass to its promise: same inputs, same number of outputs, same range of the batch.

    What carries state has its state besides, among the inputs and among the outputs.
    """
    after = applied.program
    states = applied.calling.states if isinstance(applied.calling, StateContract) else ()
    outputs = len(before.graph_signature.user_outputs) + len(states)
    for what, one, other in (
        ("inputs", (*input_names(before), *(state.name for state in states)), input_names(after)),
        ("outputs", outputs, len(after.graph_signature.user_outputs)),
        ("batch range", batch_range(before), batch_range(after)),
    ):
        if one != other:
            raise InternalError(
                f"`{name}` changed the program's {what} from {one} to {other}.",
                cure=f"Leave `{name}` out, and report it as a bug of Burnish.",
            )


def _account(applied: Applied) -> dict[str, Any]:
    parameters, flops, _ = summary(applied.program)
    why = applied.why_unchanged
    return {
        "changed": applied.changed,
        "layers": [layer.model_dump(mode="json", exclude_none=True) for layer in applied.layers],
        "figures": dict(applied.figures),
        "parameters": parameters,
        "flops": flops,
        **({} if why is None else {"unchanged": why}),
    }
