"""Uploaded models."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response

from api.documents import model_resource
from api.paging import PageQuery, page
from api.replies import reply
from api.services import services
from api.uploads import Intake, UploadQuery, take
from burnish.formats import inspect_model
from burnish.resources import ModelResource, Page
from burnish.results import Signature
from storage import models
from storage.blobs import Blob
from storage.database import Transaction
from storage.records import Model

__all__ = ["INTAKE", "blueprint"]

blueprint = APIBlueprint("models", __name__, url_prefix="/v1")


def _register(tx: Transaction, name: str, blob: Blob, signature: Signature) -> Model:
    document = signature.model_dump(mode="json")
    return models.create(tx, name=name, digest=blob.digest, size=blob.size, signature=document)


INTAKE = Intake(inspect=inspect_model, register=_register, find=models.get, show=model_resource)


@blueprint.post("/models")
@blueprint.input(UploadQuery, location="query")
@blueprint.output(ModelResource, 201)
@blueprint.doc(
    responses={400: "Broken off or damaged.", 409: "The key was used before.", 413: "Over the limit.",
               415: "Sent as a form.", 422: "Not a clean `torch.export` archive.", 507: "No space left."},
    extensions={"x-body": {"application/octet-stream": "bytes"}, "x-headers": ["Content-Digest"]},
)  # fmt: skip
def upload_model(query_data: UploadQuery) -> Response:
    """Upload a `torch.export` program

    The body is the file as it is. Bytes that were uploaded under this name before are the same version again.
    """
    return take(INTAKE, query_data.name)


@blueprint.get("/models")
@blueprint.input(PageQuery, location="query")
@blueprint.output(Page[ModelResource])
def list_models(query_data: PageQuery) -> Response:
    """List models, newest first"""
    with services().database.read() as tx:
        return reply(
            page(lambda limit: models.list_(tx, after=query_data.cursor, limit=limit), model_resource, query_data.limit)
        )


@blueprint.get("/models/<id>")
@blueprint.output(ModelResource)
def get_model(id: str) -> Response:
    """Get one model"""
    with services().database.read() as tx:
        return reply(model_resource(models.get(tx, id)))


@blueprint.put("/models/<id>/pin")
@blueprint.output(ModelResource)
def pin_model(id: str) -> Response:
    """Pin a model

    What its jobs made is never evicted from the store, however full that is. In place of the id, `name:version` or a
    name (its newest version) will do.
    """
    with services().database.begin() as tx:
        return reply(model_resource(models.pin(tx, models.resolve(tx, id).id)))


@blueprint.delete("/models/<id>/pin")
@blueprint.output(ModelResource)
def unpin_model(id: str) -> Response:
    """Take the pin off a model"""
    with services().database.begin() as tx:
        return reply(model_resource(models.unpin(tx, models.resolve(tx, id).id)))
