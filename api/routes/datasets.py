"""Uploaded datasets."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response

from api.documents import dataset_resource
from api.paging import PageQuery, page
from api.replies import reply
from api.services import services
from api.uploads import Intake, UploadQuery, take
from burnish.formats import DatasetSchema, inspect_dataset
from burnish.resources import DatasetResource, Page
from storage import datasets
from storage.blobs import Blob
from storage.database import Transaction
from storage.records import Dataset

__all__ = ["INTAKE", "blueprint"]

blueprint = APIBlueprint("datasets", __name__, url_prefix="/v1")


def _register(tx: Transaction, name: str, blob: Blob, schema: DatasetSchema) -> Dataset:
    return datasets.create(
        tx,
        name=name,
        digest=blob.digest,
        size=blob.size,
        format=schema.format,
        schema=schema.model_dump(mode="json"),
        samples=schema.samples,
        labelled=schema.targets is not None,
    )


INTAKE = Intake(inspect=inspect_dataset, register=_register, find=datasets.get, show=dataset_resource)


@blueprint.post("/datasets")
@blueprint.input(UploadQuery, location="query")
@blueprint.output(DatasetResource, 201)
@blueprint.doc(
    responses={400: "Broken off or damaged.", 409: "The key was used before.", 413: "Over the limit.",
               415: "Sent as a form.", 422: "Neither `.safetensors` nor `.npz`, or damaged.", 507: "No space left."},
    extensions={"x-body": {"application/octet-stream": "bytes"}, "x-headers": ["Content-Digest"]},
)  # fmt: skip
def upload_dataset(query_data: UploadQuery) -> Response:
    """Upload samples as `.safetensors` or `.npz`

    The body is the file as it is: `inputs` (or one array per input of the model) and, if labelled, `targets`.
    """
    return take(INTAKE, query_data.name)


@blueprint.get("/datasets")
@blueprint.input(PageQuery, location="query")
@blueprint.output(Page[DatasetResource])
def list_datasets(query_data: PageQuery) -> Response:
    """List datasets, newest first"""
    with services().database.read() as tx:
        return reply(
            page(
                lambda limit: datasets.list_(tx, after=query_data.cursor, limit=limit),
                dataset_resource,
                query_data.limit,
            )
        )


@blueprint.get("/datasets/<id>")
@blueprint.output(DatasetResource)
def get_dataset(id: str) -> Response:
    """Get one dataset"""
    with services().database.read() as tx:
        return reply(dataset_resource(datasets.get(tx, id)))
