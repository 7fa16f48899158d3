"""The client's calls of schedules, aliases and webhooks, against a real service."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from burnish import Client
from burnish.errors import BlobCorrupt, Conflict, InvalidSpec, NotFound
from burnish.recipe import JobSpec, ScheduleSpec, Trigger
from tests.api.place import dataset_bytes
from tests.api.promoted import finished_job
from tests.burnish.conftest import Served


@pytest.fixture
def stocked(served: Served, model_bytes: bytes, tmp_path: Path) -> Served:
    """With the model `net` and the dataset `samples`."""
    (tmp_path / "net.pt2").write_bytes(model_bytes)
    (tmp_path / "samples.safetensors").write_bytes(dataset_bytes())
    with Client() as client:
        client.upload_model(tmp_path / "net.pt2")
        client.upload_dataset(tmp_path / "samples.safetensors")
    return served


def test_a_schedule_from_its_making_to_its_end(stocked: Served) -> None:
    spec = ScheduleSpec(name="nightly", trigger=Trigger(cron="0 3 * * *"), job=JobSpec(model="net", dataset="samples"))
    with Client() as client:
        made = client.schedules.create(spec)
        assert client.schedules.list().items == (made,)
        assert client.schedules.get("nightly") == made
        assert client.schedules.change(made.id, overlap="queue").overlap == "queue"
        assert client.schedules.pause(made.id).state == "paused"
        firing = client.schedules.run("nightly")
        assert firing.outcome == "fired"
        assert client.job(str(firing.job)).state == "queued"
        assert client.schedules.resume(made.id).state == "active"
        assert client.schedules.history(made.id).items == (firing,)
        client.schedules.delete(made.id)
        with pytest.raises(NotFound):
            client.schedules.get(made.id)


def test_faults_of_a_schedule_come_with_their_paths(stocked: Served) -> None:
    bad = {"name": "x", "trigger": {"cron": "x"}, "job": {"model": "none", "dataset": "samples"}}
    with Client() as client, pytest.raises(InvalidSpec) as caught:
        client.schedules.create(bad)
    assert {fault.where for fault in caught.value.faults} == {"/trigger/cron", "/job/model"}


def test_an_alias_is_set_fetched_rolled_back_and_removed(served: Served, tmp_path: Path) -> None:
    (first, one), (second, two) = (finished_job(served.place, content) for content in (b"first", b"second"))
    with Client() as client:
        assert client.aliases.set("net", "production", first.id).entry.artifact.digest == one
        assert client.aliases.fetch("net", "production", tmp_path / "model.onnx") == one
        assert (tmp_path / "model.onnx").read_bytes() == b"first"
        assert client.aliases.fetch("net", "production", tmp_path / "model.onnx", digest=one) is None
        set_ = client.aliases.set("net", "production", second.id, artifact=two, reason="Better.")
        assert (set_.previous, set_.entry.reason) == (one, "Better.")
        assert client.aliases.fetch("net", "production", tmp_path / "model.onnx", digest=one) == two
        assert client.aliases.rollback("net").entry.artifact.digest == one
        assert [entry.action for entry in client.aliases.history("net").items] == ["rolled_back", "set", "set"]
        assert client.aliases.list("net").items == (client.aliases.get("net"),)
        with pytest.raises(Conflict):
            client.aliases.rollback("net")
        client.aliases.delete("net", "production")
        with pytest.raises(NotFound):
            client.aliases.fetch("net", "production", tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_a_file_that_arrives_damaged_is_not_written(served: Served, tmp_path: Path) -> None:
    job, digest = finished_job(served.place, b"sound")
    stored = next(path for path in (served.place.folder / "blobs").rglob("*") if path.name == digest)
    stored.chmod(0o600)
    stored.write_bytes(b"wrong")
    with Client() as client:
        client.aliases.set("net", "production", job.id)
        with pytest.raises(BlobCorrupt):
            client.aliases.fetch("net", "production", tmp_path / "model.onnx")
    assert hashlib.sha256(b"sound").hexdigest() == digest
    assert not (tmp_path / "model.onnx").exists()


def test_a_webhook_from_its_making_to_its_end(served: Served) -> None:
    with Client() as client:
        made = client.webhooks.create("https://example.com/hook", ["alias.changed"], "chat")
        assert made.secret is not None
        assert client.webhooks.list().items == (client.webhooks.get(made.id),)
        assert client.webhooks.change(made.id, enabled=False).state == "disabled"
        assert client.webhooks.change(made.id, enabled=True).state == "enabled"
        assert client.webhooks.rotate(made.id).secret not in (None, made.secret)
        client.aliases.set("net", "production", finished_job(served.place)[0].id)
        (delivery,) = client.webhooks.deliveries(made.id, state="pending").items
        assert delivery.payload["data"]["action"] == "set"
        with pytest.raises(Conflict):
            client.webhooks.redeliver(made.id, delivery.id)
        client.webhooks.delete(made.id)
        with pytest.raises(NotFound):
            client.webhooks.get(made.id)
