"""Uploads in parts: a broken connection costs one part, not the file. Parts come here or, by links, go to the store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from apiflask import APIBlueprint
from flask import Response, request
from pydantic import ValidationError

from api import direct
from api.bodies import chunks_of, digest_of, json_of
from api.errors import Refused
from api.idempotency import body_hash, remember, replayed
from api.names import Name
from api.replies import moment, reply
from api.routes import datasets as dataset_routes
from api.routes import models as model_routes
from api.services import services
from api.uploads import Intake, discard, receive, register
from burnish.errors import Conflict, InvalidSpec, TooLarge, UserError
from burnish.recipe import faults_of
from burnish.resources import DatasetResource, ModelResource, UploadOrder, UploadPart, UploadResource
from storage import uploads
from storage.blob_index import Hold
from storage.database import Transaction
from storage.uploads import Part, Upload

__all__ = ["blueprint"]

blueprint = APIBlueprint("uploads", __name__, url_prefix="/v1")

_SHOWN = 20
"""Missing parts that an error names."""


_INTAKES: dict[str, Intake[Any, Any]] = {"model": model_routes.INTAKE, "dataset": dataset_routes.INTAKE}


class _Order(UploadOrder):
    name: Name


@blueprint.post("/uploads")
@blueprint.output(UploadResource, 201)
@blueprint.doc(
    responses={400: "Not JSON.", 409: "The key was used before.", 413: "Over the limit.", 415: "Not sent as JSON.",
               422: "Not a kind, name, size or digest that can be used."},
    extensions={"x-body": {"application/json": "UploadOrder"}},
)  # fmt: skip
def begin_upload() -> Response:
    """Begin an upload in parts

    Then PUT each part, in any order and as often as it takes, and POST `complete`. Where `direct` is set, the parts may
    be PUT to its links instead.
    """
    document, raw = json_of(request)
    try:
        order = _Order.model_validate(document)
    except ValidationError as error:
        raise InvalidSpec(faults_of(error)) from error
    limit = services().settings.max_upload
    if order.size > limit:
        raise TooLarge(
            f"The file has {order.size} bytes, and the limit is {limit}.",
            cure="Send less, or raise BURNISH_MAX_UPLOAD.",
        )
    with services().database.begin() as tx:
        again = replayed(tx, body_hash(raw))
        if again:
            return again
        upload = uploads.create(tx, kind=order.kind, name=order.name, size=order.size, sha256=order.sha256)
        shown = _shown(upload, [])
        headers = {"Location": shown.links["self"]}
        answer = remember(tx, reply(shown, 201, headers=headers))  # without links, which are secrets and soon stale
    links = direct.offer(upload)
    return answer if links is None else reply(shown.model_copy(update={"direct": links}), 201, headers=headers)


@blueprint.get("/uploads/<id>")
@blueprint.output(UploadResource)
@blueprint.doc(responses={404: "No such upload, or it has expired."})
def get_upload(id: str) -> Response:
    """Which parts of an upload have arrived

    And, where parts may go straight to the store, links for those that are missing there.
    """
    with services().database.read() as tx:
        upload, arrived = uploads.get(tx, id), uploads.parts(tx, id)
    return reply(_shown(upload, arrived).model_copy(update={"direct": direct.offer(upload)}))


@blueprint.put("/uploads/<id>/parts/<int:number>")
@blueprint.output(UploadPart)
@blueprint.doc(
    responses={400: "Broken off, damaged, or not as long as the part is.", 404: "No such upload or part.",
               409: "It is completed.", 413: "Longer than the part is.", 415: "Sent as a form.",
               507: "No space left."},
    extensions={"x-body": {"application/octet-stream": "bytes"}, "x-headers": ["Content-Digest"]},
)  # fmt: skip
def put_part(id: str, number: int) -> Response:
    """Send one part

    Parts have `part_size` bytes, the last one the rest, and numbers from 1. A part sent again takes the place of the
    one that was there.
    """
    expect = digest_of(request)
    with services().database.read() as tx:
        upload = _open(uploads.get(tx, id))
    size = upload.part_bytes(number)
    services().transfers.take()
    try:
        held = receive(_exactly(size), expect=expect, limit=size)
    finally:
        services().transfers.give()
    try:
        with services().database.begin() as tx:
            part = uploads.add_part(tx, _open(uploads.lock(tx, id)), number, held)
    except UserError:  # completed or dropped meanwhile
        discard(held)
        raise
    return reply(_part(part))


@blueprint.post("/uploads/<id>/complete")
@blueprint.doc(
    responses={201: "The model or the dataset.", 400: "The whole does not have the digest announced.",
               404: "No such upload.", 409: "Parts are missing.", 422: "What came is not what it has to be."},
    extensions={"x-content": {"201": {"application/json": "ModelResource | DatasetResource"}}},
)  # fmt: skip
def complete_upload(id: str) -> Response:
    """Make a model or a dataset of an upload

    The whole is checked like an upload in one piece; what is refused is removed with its parts. Asked again, the answer
    is the same.
    """
    with services().database.read() as tx:
        upload, arrived = uploads.get(tx, id), uploads.parts(tx, id)
        if upload.resource_id is not None:
            return _made(tx, upload)
    elsewhere = None if arrived else direct.missing(upload)
    _refuse_missing(upload, _not_in(upload, arrived) if elsewhere is None else elsewhere)
    services().transfers.take()
    try:
        if elsewhere is None:
            return _register(upload, receive(_joined(arrived), expect=upload.sha256, limit=upload.size))
        return _register(upload, direct.receive(upload))
    finally:
        services().transfers.give()


@blueprint.delete("/uploads/<id>")
@blueprint.doc(responses={204: "It is gone, or was not there."})
def drop_upload(id: str) -> Response:
    """Give up an upload

    Its parts are removed. What a completed upload has become stays.
    """
    with services().database.begin() as tx:
        known = uploads.find(tx, id)
        uploads.drop(tx, id)
    if known is not None:  # an address that a client made up names nothing in the store
        direct.drop(known)
    return Response(status=204)


def _register(upload: Upload, held: Hold) -> Response:
    def completed(tx: Transaction, made: ModelResource | DatasetResource) -> None:
        uploads.complete(tx, upload.id, made.id)

    try:
        return register(_INTAKES[upload.kind], upload.name, held, completed)
    except UserError:
        with services().database.begin() as tx:
            uploads.drop(tx, upload.id)
        raise


def _made(tx: Transaction, upload: Upload) -> Response:
    """What a completed upload has become."""
    assert upload.resource_id is not None
    resource = _INTAKES[upload.kind].again(tx, upload.resource_id)
    return reply(resource, 201, headers={"Location": resource.links["self"]})


def _exactly(size: int) -> Iterator[bytes]:
    """The body of the present request. Raises `Refused` at its end if it has fewer bytes; more are refused by limit."""
    read = 0
    for chunk in chunks_of(request, size):
        read += len(chunk)
        yield chunk
    if read != size:
        raise Refused(400, f"The part has {read} bytes in place of {size}.", cure="Cut the file at `part_size` bytes.")


def _joined(arrived: list[Part]) -> Iterator[bytes]:
    for part in arrived:
        yield from services().blobs.open(part.digest)


def _open(upload: Upload) -> Upload:
    if upload.resource_id is not None:
        raise Conflict("The upload is completed.", cure="Begin a new one for other bytes.")
    return upload


def _not_in(upload: Upload, arrived: list[Part]) -> list[int]:
    there = {part.number for part in arrived}
    return [number for number in range(1, upload.count + 1) if number not in there]


def _refuse_missing(upload: Upload, missing: list[int]) -> None:
    if missing:
        named = ", ".join(map(str, missing[:_SHOWN])) + (", …" if len(missing) > _SHOWN else "")
        raise Conflict(
            f"{len(missing)} of {upload.count} parts are missing: {named}.", cure="Send them, then complete it again."
        )


def _part(part: Part) -> UploadPart:
    return UploadPart(number=part.number, size=part.size, digest=part.digest)


def _shown(upload: Upload, arrived: list[Part]) -> UploadResource:
    at = f"/v1/uploads/{upload.id}"
    return UploadResource(
        id=upload.id,
        kind=upload.kind,
        name=upload.name,
        size=upload.size,
        part_size=upload.part_size,
        part_count=upload.count,
        parts=tuple(_part(part) for part in arrived),
        resource=upload.resource_id,
        expires_at=moment(upload.expires_at),
        links={"self": at, "part": f"{at}/parts/{{number}}", "complete": f"{at}/complete"},
    )
