"""The manifests: valid by the schemas of Kubernetes, confined, drained, and made of settings that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from sqlalchemy import text

from burnish.settings import Settings
from burnish.version import __version__
from storage.database import Database
from tests.deploy.files import DEPLOY, containers, documents, manifests, pods
from workers.worker import GRACE

FOLDER = DEPLOY / "kubernetes"
VERSION = "1.37"
MANIFESTS = list(manifests())
KUSTOMIZATION = documents(FOLDER / "kustomization.yaml")[0]


def name_of(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']}-{manifest['metadata']['name']}"


def one(kind: str, name: str) -> dict[str, Any]:
    return next(item for item in MANIFESTS if (item["kind"], item["metadata"]["name"]) == (kind, name))


def environment(container: dict[str, Any]) -> dict[str, str]:
    """What a container sees, with the example secrets."""
    found: dict[str, str] = {}
    for source in container["envFrom"]:
        if "configMapRef" in source:
            found |= one("ConfigMap", source["configMapRef"]["name"])["data"]
        else:
            found |= one("Secret", source["secretRef"]["name"])["stringData"]
    for variable in container.get("env", ()):
        field = variable.get("valueFrom", {}).get("resourceFieldRef", {}).get("resource")
        found[variable["name"]] = (
            variable.get("value") or container["resources"]["limits"][field.removeprefix("limits.")]
        )
    if "BURNISH_TOKENS" in found:
        found["BURNISH_TOKENS"] = "0" * 64
    return found


@pytest.mark.parametrize(
    "manifest", [pytest.param(item, id=name_of(item)) for item in MANIFESTS if "keda" not in item["apiVersion"]]
)
def test_every_object_is_valid_and_has_no_unknown_field(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_the_kustomization_names_every_file_but_the_examples() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}
    assert set(KUSTOMIZATION["resources"]) == files
    assert {item["metadata"].get("namespace", "burnish") for item in MANIFESTS} == {KUSTOMIZATION["namespace"]}


def test_every_image_is_named_by_the_version_in_one_place() -> None:
    used = {container["image"] for _, container in containers()}
    assert {image["name"] for image in KUSTOMIZATION["images"]} == used
    assert {image["newTag"].partition("-")[0] for image in KUSTOMIZATION["images"]} == {__version__}


@pytest.mark.parametrize(("manifest", "template"), [pytest.param(*item, id=name_of(item[0])) for item in pods()])
def test_pods_keep_the_restricted_standard(manifest: dict[str, Any], template: dict[str, Any]) -> None:
    spec = template["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"]["type"] in ("RuntimeDefault", "Localhost")
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert {next(iter(volume.keys() - {"name"})) for volume in spec["volumes"]} == {"emptyDir"}
    assert all(volume["emptyDir"]["sizeLimit"] for volume in spec["volumes"])
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()


@pytest.mark.parametrize(("manifest", "container"), [pytest.param(*item, id=name_of(item[0])) for item in containers()])
def test_containers_get_settings_that_there_are(manifest: dict[str, Any], container: dict[str, Any]) -> None:
    settings = Settings.from_environment(environment(container))
    assert settings.database_url.startswith("postgresql+psycopg://")
    assert settings.blobs_url.startswith("s3://")
    assert bool(settings.tokens) is (manifest["metadata"]["name"] == "api"), "only the API needs the tokens"


@pytest.mark.parametrize(("manifest", "template"), [pytest.param(*item, id=name_of(item[0])) for item in pods()])
def test_long_running_pods_are_looked_after(manifest: dict[str, Any], template: dict[str, Any]) -> None:
    for container in template["spec"]["containers"]:
        assert ("livenessProbe" in container) is (manifest["kind"] == "Deployment")


def test_what_selects_pods_finds_some() -> None:
    labels = [template["metadata"]["labels"] for _, template in pods()]
    for item in MANIFESTS:
        spec = item.get("spec", {})
        selector = spec.get("podSelector", spec.get("selector"))
        if selector is not None:
            wanted = selector if item["kind"] == "Service" else selector.get("matchLabels", {})
            assert any(wanted.items() <= found.items() for found in labels), name_of(item)


@pytest.mark.parametrize("queue", ["cpu", "cuda"])
def test_a_roll_out_drains_workers_one_node_at_a_time(queue: str) -> None:
    spec = one("Deployment", f"worker-{queue}")["spec"]
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] >= GRACE + 15
    assert f"after {GRACE:.0f} s" in (FOLDER / f"worker-{queue}.yaml").read_text()
    assert spec["strategy"]["rollingUpdate"]["maxSurge"] == 0
    rules = spec["template"]["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rules[0]["topologyKey"] == "kubernetes.io/hostname"
    assert "replicas" not in spec, "applying it would undo the scaling"


def test_workers_have_whole_cores_of_their_own() -> None:
    for manifest, container in containers():
        if manifest["metadata"]["labels"]["app.kubernetes.io/component"] == "worker":
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert container["resources"]["limits"]["cpu"].isdigit()


def test_cuda_workers_get_a_gpu_and_only_nodes_that_have_one() -> None:
    spec = one("Deployment", "worker-cuda")["spec"]["template"]["spec"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert spec["tolerations"]


@pytest.mark.parametrize("queue", ["cpu", "cuda"])
def test_workers_are_scaled_by_what_waits_and_runs(queue: str, tmp_path: Path) -> None:
    scaled = one("ScaledObject", f"worker-{queue}")["spec"]
    assert scaled["scaleTargetRef"]["name"] == f"worker-{queue}"
    trigger = scaled["triggers"][0]
    assert one("TriggerAuthentication", trigger["authenticationRef"]["name"])
    container = one("Deployment", f"worker-{queue}")["spec"]["template"]["spec"]["containers"][0]
    assert trigger["metadata"]["targetQueryValue"] == environment(container)["BURNISH_SLOTS"]
    assert f"queue = '{queue}'" in trigger["metadata"]["query"]
    database = Database(f"sqlite:///{tmp_path / 'burnish.sqlite'}")
    database.migrate()
    with database.read() as tx:
        assert tx.execute(text(trigger["metadata"]["query"])).scalar_one() == 0
    database.close()


def test_everything_is_closed_but_what_is_named() -> None:
    everybody = one("NetworkPolicy", "nothing-else")["spec"]
    assert everybody == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    open_ports = {port["port"] for rule in one("NetworkPolicy", "services")["spec"]["egress"] for port in rule["ports"]}
    assert open_ports == {53, 443, 5432, 6379}


def test_the_profile_of_steps_is_switched_on_for_workers_alone() -> None:
    component = documents(FOLDER / "components/sandbox/kustomization.yaml")[0]
    target = component["patches"][0]["target"]
    assert target == {"kind": "Deployment", "labelSelector": "app.kubernetes.io/component=worker"}
