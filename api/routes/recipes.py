"""Recipes: what is wrong with one, and the schema by which forms and editors are made."""

from __future__ import annotations

import json
from typing import Any

from apiflask import APIBlueprint
from flask import Response, request
from pydantic import ValidationError

from api.bodies import JSON_LIMIT, json_of
from api.errors import Refused
from api.recipe_text import RecipeText, written
from api.replies import reply
from api.services import services
from api.submission import recipe_faults
from burnish.document import Document
from burnish.errors import Fault, InvalidSpec
from burnish.recipe import Recipe, faults_of
from burnish.resources import RecipeCheck, RecipeFault, RecipeQuestion

__all__ = ["blueprint"]

blueprint = APIBlueprint("recipes", __name__, url_prefix="/v1")

_YAML = ("application/yaml", "application/x-yaml", "text/yaml")


class RecipeQuery(Document):
    """Query of a check whose body is YAML."""

    model: str | None = None
    """Id, name or `name:version` of the model that it is meant for."""
    dataset: str | None = None
    """Id or name of the dataset."""


@blueprint.post("/recipes/check")
@blueprint.input(RecipeQuery, location="query")
@blueprint.output(RecipeCheck)
@blueprint.doc(
    responses={400: "Not JSON.", 415: "Neither JSON nor YAML."},
    extensions={"x-body": {"application/json": "RecipeQuestion", "application/yaml": "text"}, "x-stores-nothing": True},
)
def check_recipe(query_data: RecipeQuery) -> Response:
    """Check a recipe

    Answers with the recipe as data and as YAML, and with every fault that a job with it would be refused for. Nothing
    is stored. The body is a question as JSON, or the recipe itself as YAML.
    """
    question = _question(query_data)
    text = None if question.yaml is None else RecipeText(question.yaml)
    document = question.recipe if text is None else text.document
    if text is not None and text.fault is not None:
        return _answer(None, text.text, [(text.fault, text.line)])
    with services().database.read() as tx:
        faults = recipe_faults(tx, {} if document is None else document, question.model, question.dataset)
    shown = text or RecipeText(written(document))
    return _answer(document, shown.text, [(fault, shown.line_of(fault.where)) for fault in faults])


@blueprint.get("/recipes/schema")
@blueprint.doc(
    responses={200: "A JSON schema (2020-12)."}, extensions={"x-content": {"200": {"application/json": "any"}}}
)
def recipe_schema() -> Response:
    """The JSON schema of recipes

    For editors that complete and check YAML by a schema.
    """
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}
    response = Response(json.dumps(schema), mimetype="application/json")
    response.add_etag(weak=True)
    response.headers["Cache-Control"] = "private, no-cache"
    response.make_conditional(request)
    return response


def _question(query: RecipeQuery) -> RecipeQuestion:
    if request.mimetype in _YAML:
        raw = request.stream.read(JSON_LIMIT + 1)
        if len(raw) > JSON_LIMIT:
            raise Refused(400, "The recipe is longer than 1 MiB.", cure="Send less.")
        return RecipeQuestion(yaml=raw.decode(errors="replace"), model=query.model, dataset=query.dataset)
    document, _ = json_of(request)
    try:
        return RecipeQuestion.model_validate(document)
    except ValidationError as error:
        raise InvalidSpec(faults_of(error)) from error


def _answer(document: Any, text: str, faults: list[tuple[Fault, int | None]]) -> Response:
    return reply(
        RecipeCheck(
            recipe=document,
            yaml=text,
            faults=tuple(
                RecipeFault(where=fault.where, message=fault.message, cure=fault.cure, line=line)
                for fault, line in faults
            ),
        )
    )
