"""The recipe language: typed documents, quantities, and the checks that need neither model nor data."""

from burnish.document import Document, canonical_json
from burnish.recipe.job import JobSpec
from burnish.recipe.recipe import DEFAULT_MAX_DROP, Recipe, faults_of
from burnish.recipe.schedule import AliasName, ScheduleSpec, Trigger
from burnish.recipe.target import AUTOMATIC_BACKENDS, BACKEND_DEVICES, BACKENDS, Backend, Goal, Target

__all__ = [
    "AUTOMATIC_BACKENDS",
    "BACKENDS",
    "BACKEND_DEVICES",
    "DEFAULT_MAX_DROP",
    "AliasName",
    "Backend",
    "Document",
    "Goal",
    "JobSpec",
    "Recipe",
    "ScheduleSpec",
    "Target",
    "Trigger",
    "canonical_json",
    "faults_of",
]
