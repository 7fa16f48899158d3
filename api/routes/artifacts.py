"""Downloads by digest."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response

from api.downloads import DOWNLOAD_RESPONSES, DownloadQuery, send

__all__ = ["blueprint"]

blueprint = APIBlueprint("artifacts", __name__, url_prefix="/v1")


@blueprint.get("/artifacts/<digest>")
@blueprint.input(DownloadQuery, location="query")
@blueprint.doc(
    responses={**DOWNLOAD_RESPONSES, 404: "No upload and no result has this digest."},
    extensions={
        "x-headers": ["Range", "If-Range"],
        "x-content": {"200": {"application/octet-stream": "bytes"}, "206": {"application/octet-stream": "bytes"}},
    },
)
def get_artifact(digest: str, query_data: DownloadQuery) -> Response:
    """Download an artifact

    Takes `Range` (one range) and `If-Range`. The ETag is the digest.
    """
    return send(digest, query_data)
