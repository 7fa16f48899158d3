"""Aliases: which artifact of a model is `production`, what was before, and a stable address of its bytes."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response, request
from pydantic import TypeAdapter, ValidationError

from api.bodies import json_of
from api.downloads import DOWNLOAD_RESPONSES, DownloadQuery, send
from api.idempotency import body_hash, remember, replayed
from api.paging import PageQuery, page
from api.replies import reply
from api.services import services
from api.standing import alias_entry, alias_resource
from burnish.errors import Fault, InvalidSpec
from burnish.recipe import AliasName, faults_of
from burnish.resources import AliasChange, AliasEntryResource, AliasResource, Page
from burnish.results import Candidate, Verdict
from storage import aliases, jobs, models, outbox
from storage.aliases import Entry
from storage.database import Transaction
from storage.records import Job

__all__ = ["blueprint"]

blueprint = APIBlueprint("aliases", __name__, url_prefix="/v1")

_NAME: TypeAdapter[str] = TypeAdapter(AliasName)
_BY_HAND = "It was set by hand."
_ROLLED_BACK = "It was rolled back by hand."


@blueprint.get("/models/<name>/aliases")
@blueprint.output(Page[AliasResource])
@blueprint.doc(responses={404: "No such model."})
def list_aliases(name: str) -> Response:
    """List the aliases of a model, by name

    An alias belongs to the model's name, for all its versions. An id, or `name:version`, will do here too.
    """
    with services().database.read() as tx:
        found = aliases.list_(tx, _model(tx, name))
        return reply(Page(items=tuple(alias_resource(tx, entry) for entry in found)))


@blueprint.get("/models/<name>/aliases/<alias>")
@blueprint.output(AliasResource)
@blueprint.doc(responses={404: "No such model, or the alias stands for nothing."})
def get_alias(name: str, alias: str) -> Response:
    """Get what an alias stands for"""
    with services().database.read() as tx:
        return reply(alias_resource(tx, aliases.get(tx, _model(tx, name), alias)))


@blueprint.put("/models/<name>/aliases/<alias>")
@blueprint.output(AliasResource)
@blueprint.doc(
    responses={400: "Not JSON.", 404: "No such model or job.", 409: "The artifact is not in the store any more.",
               415: "Not sent as JSON.", 422: "A name or a job that can't be used; each fault with its path."},
    extensions={"x-body": {"application/json": "AliasChange"}},
)  # fmt: skip
def set_alias(name: str, alias: str) -> Response:
    """Let an alias stand for an artifact

    One of a job that has succeeded. What it stood for before can be brought back by a rollback.
    """
    document, _ = json_of(request)
    change = _change(document, alias)
    with services().database.begin() as tx:
        model, job = _model(tx, name), jobs.get(tx, change.job)
        candidate = _candidate(job, model, change.artifact)
        assert candidate.artifact is not None
        before = aliases.find(tx, model, alias)
        entry = aliases.set_(
            tx,
            model=model,
            alias=alias,
            artifact=candidate.artifact,
            candidate=candidate.name,
            job=job,
            action="set",
            reason=change.reason or _BY_HAND,
        )
        if before is None or before.id != entry.id:
            _tell(tx, entry)
        return reply(alias_resource(tx, entry))


@blueprint.delete("/models/<name>/aliases/<alias>")
@blueprint.doc(responses={204: "It stands for nothing.", 404: "No such model, or it stood for nothing."})
def delete_alias(name: str, alias: str) -> Response:
    """Let an alias stand for nothing

    Its history stays.
    """
    with services().database.begin() as tx:
        gone = aliases.remove(tx, _model(tx, name), alias)
        outbox.publish(
            tx, "alias.changed", {"model": gone.model, "alias": alias, "action": "removed", "artifact": None}
        )
    return Response(status=204)


@blueprint.post("/models/<name>/aliases/<alias>/rollback")
@blueprint.output(AliasResource)
@blueprint.doc(
    responses={404: "No such model, or it stands for nothing.", 409: "There is nothing before, or its bytes are gone."}
)
def roll_back_alias(name: str, alias: str) -> Response:
    """Bring back what an alias stood for before

    Once more brings back what was before that.
    """
    with services().database.begin() as tx:
        again = replayed(tx, body_hash(name, alias))
        if again:
            return again
        entry = aliases.rollback(tx, _model(tx, name), alias, _ROLLED_BACK)
        _tell(tx, entry)
        return remember(tx, reply(alias_resource(tx, entry)))


@blueprint.get("/models/<name>/aliases/<alias>/history")
@blueprint.input(PageQuery, location="query")
@blueprint.output(Page[AliasEntryResource])
@blueprint.doc(responses={404: "No such model."})
def alias_history(name: str, alias: str, query_data: PageQuery) -> Response:
    """List what an alias stood for, newest first"""
    with services().database.read() as tx:
        model = _model(tx, name)
        return reply(
            page(
                lambda limit: aliases.history(tx, model, alias, after=query_data.cursor, limit=limit),
                alias_entry,
                query_data.limit,
            )
        )


@blueprint.get("/models/<name>/aliases/<alias>/artifact")
@blueprint.input(DownloadQuery, location="query")
@blueprint.doc(
    responses={**DOWNLOAD_RESPONSES, 304: "It still stands for that.",
               404: "No such model, or the alias stands for nothing."},
    extensions={
        "x-headers": ["If-None-Match", "Range", "If-Range"],
        "x-content": {"200": {"application/octet-stream": "bytes"}, "206": {"application/octet-stream": "bytes"}},
    },
)  # fmt: skip
def alias_artifact(name: str, alias: str, query_data: DownloadQuery) -> Response:
    """Download what an alias stands for

    The address stays; the ETag is the digest of what it stands for now. Ask with `If-None-Match` to hear of a change
    at the price of a 304.
    """
    with services().database.read() as tx:
        entry = aliases.get(tx, _model(tx, name), alias)
    return send(entry.digest, query_data, name=entry.artifact["name"], cache="private, no-cache")


def _model(tx: Transaction, ref: str) -> str:
    """The name of the model that is meant. Raises `NotFound`."""
    return models.resolve(tx, ref).name


def _change(document: dict[str, object], alias: str) -> AliasChange:
    faults: list[Fault] = []
    try:
        _NAME.validate_python(alias)
    except ValidationError as error:
        faults += faults_of(error, at="/alias")
    try:
        change = AliasChange.model_validate(document)
    except ValidationError as error:
        raise InvalidSpec(faults + faults_of(error)) from error
    if faults:
        raise InvalidSpec(faults)
    return change


def _candidate(job: Job, model: str, wanted: str | None) -> Candidate:
    """The candidate of a job that an alias is to stand for. Raises `InvalidSpec`."""
    if job.model.rpartition(":")[0] != model:
        raise _fault("/job", f"Job {job.id} is of {job.model}, not of {model}.", "Name a job of this model.")
    if job.verdict is None:
        raise _fault("/job", f"Job {job.id} is {job.state}.", "Name a job that has succeeded.")
    verdict = Verdict.model_validate(job.verdict)
    usable = [each for each in verdict.candidates if each.artifact and not each.refused and "@" in each.name]
    wanted = wanted or verdict.chosen
    for each in usable:
        if each.artifact and wanted in (each.name, each.artifact.digest):
            return each
    names = ", ".join(each.name for each in usable) or "those of another job"
    what = f"no artifact {wanted!r} that was verified" if wanted else "chosen no artifact"
    raise _fault("/artifact", f"Job {job.id} has {what}.", f"Use one of {names}.")


def _fault(where: str, message: str, cure: str) -> InvalidSpec:
    return InvalidSpec([Fault(where=where, message=message, cure=cure)])


def _tell(tx: Transaction, entry: Entry) -> None:
    about = {"model": entry.model, "alias": entry.alias, "action": entry.action, "reason": entry.reason}
    outbox.publish(tx, "alias.changed", {**about, "job": entry.job_id, "artifact": entry.digest})
