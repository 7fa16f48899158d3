"""The files of `deploy/`, read."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

__all__ = ["DEPLOY", "ROOT", "containers", "documents", "manifests", "pods", "script"]

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def documents(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def manifests() -> Iterator[dict[str, Any]]:
    """Every Kubernetes object there is, the example secrets too."""
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from documents(path)


def pods() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every object that makes pods, with the template of its pods."""
    for manifest in manifests():
        if manifest["kind"] in ("Deployment", "Job"):
            yield manifest, manifest["spec"]["template"]


def containers() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every container, with the object that it belongs to."""
    for manifest, template in pods():
        for container in template["spec"]["containers"]:
            yield manifest, container


def script(name: str) -> ModuleType:
    """A script of `deploy/`, which is no package, as a module."""
    spec = importlib.util.spec_from_file_location(f"deploy_{name}", DEPLOY / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
