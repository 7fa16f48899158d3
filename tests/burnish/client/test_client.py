"""The Python client against a real service."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from burnish import Client, Goal, Prune, Quantize, Recipe
from burnish.errors import BlobCorrupt, Conflict, InvalidModel, InvalidSpec, NotFound, Unauthorized, Unavailable
from burnish.passes import PASSES
from burnish.recipe import BACKENDS
from burnish.resources import JobResource
from burnish.results import Artifact
from storage import computations
from tests.api.place import dataset_bytes, verdict
from tests.burnish.conftest import Served


@pytest.fixture
def files(tmp_path: Path, model_bytes: bytes) -> tuple[Path, Path]:
    model, data = tmp_path / "net.pt2", tmp_path / "samples.safetensors"
    model.write_bytes(model_bytes)
    data.write_bytes(dataset_bytes())
    return model, data


@pytest.fixture
def job(served: Served, files: tuple[Path, Path]) -> JobResource:
    with Client() as client:
        model, dataset = client.upload_model(files[0]), client.upload_dataset(files[1])
        return client.submit(model.id, dataset.id, Recipe(goal=Goal(max_drop=0.01), passes=(Prune(), Quantize())))


def test_an_upload_is_named_after_its_file_and_tells_how_far_it_is(served: Served, files: tuple[Path, Path]) -> None:
    seen: list[tuple[int, int]] = []
    with Client() as client:
        model = client.upload_model(files[0], seen=lambda moved, size: seen.append((moved, size)))
    size = files[0].stat().st_size
    assert (model.name, model.version, model.size) == ("net", 1, size)
    assert model.digest == hashlib.sha256(files[0].read_bytes()).hexdigest()
    assert seen[-1] == (size, size)


def test_what_was_uploaded_is_listed_and_found_by_id(served: Served, files: tuple[Path, Path]) -> None:
    with Client() as client:
        model, dataset = client.upload_model(files[0]), client.upload_dataset(files[1])
        assert client.models().items == (model,)
        assert client.model(model.id) == model
        assert client.datasets().items == (dataset,)
        assert client.dataset(dataset.id) == dataset


def test_a_model_is_pinned_and_unpinned(served: Served, files: tuple[Path, Path]) -> None:
    with Client() as client:
        model = client.upload_model(files[0], name="a net? (2)")
        assert client.pin(model.id).pinned
        assert client.model(model.id).pinned
        assert not client.unpin(f"{model.name}:{model.version}").pinned
        with pytest.raises(NotFound):
            client.pin("nothing of that name")


def test_a_job_is_submitted_with_a_typed_recipe_and_listed(served: Served, job: JobResource) -> None:
    assert job.state == "queued"
    assert job.spec.recipe.passes == (Prune(), Quantize())
    with Client() as client:
        assert client.job(job.id).id == job.id
        assert [item.id for item in client.jobs(state="queued").items] == [job.id]
        assert client.jobs(state="failed").items == ()
        assert [event.kind for event in client.events(job.id).items] == ["job.queued"]


def test_every_fault_of_a_spec_comes_back_with_its_path(served: Served) -> None:
    with Client() as client, pytest.raises(InvalidSpec) as caught:
        client.submit("none", "nothing", {"passes": [{"bogus": {}}], "goal": {"max_drop": "much"}})
    assert {"/model", "/dataset", "/recipe/passes/0", "/recipe/goal/max_drop"} <= {f.where for f in caught.value.faults}


def test_waiting_ends_when_the_job_does(served: Served, job: JobResource) -> None:
    with Client() as client:
        assert client.cancel(job.id).state == "canceled"
        assert client.wait(job.id).state == "canceled"
        assert client.cancel(job.id).state == "canceled"
        assert client.retry(job.id).state == "queued"
        with pytest.raises(Conflict):
            client.retry(job.id)


def test_a_job_that_waits_gets_another_priority_and_one_that_ended_does_not(served: Served, job: JobResource) -> None:
    with Client() as client:
        assert client.set_priority(job.id, 1).priority == 1
        client.cancel(job.id)
        with pytest.raises(Conflict):
            client.set_priority(job.id, 2)


def test_an_artifact_is_fetched_whole_and_checked(served: Served, job: JobResource, tmp_path: Path) -> None:
    artifact = finished(served, job, b"an artifact")
    with Client() as client:
        path = client.fetch(client.job(job.id), tmp_path / "out")
    assert (path.name, path.read_bytes()) == (artifact.name, b"an artifact")


def test_a_damaged_download_leaves_no_file(served: Served, job: JobResource, tmp_path: Path) -> None:
    finished(served, job, b"an artifact")
    with Client() as client:
        fetched = client.job(job.id)
        stored = next(path for path in (served.place.folder / "blobs").rglob(fetched.artifacts[0].digest))
        stored.chmod(0o644)
        stored.write_bytes(b"AN ARTIFACT")
        with pytest.raises((BlobCorrupt, Unavailable)):
            client.fetch(fetched, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_job_without_artifact_has_nothing_to_fetch(served: Served, job: JobResource, tmp_path: Path) -> None:
    with Client() as client, pytest.raises(Conflict, match="no artifact"):
        client.fetch(job, tmp_path)


def test_the_catalogue_and_the_fleet_can_be_read(served: Served) -> None:
    with Client() as client:
        assert {item.name for item in client.passes().items} == {*PASSES, *BACKENDS}
        assert [worker.device for worker in client.workers().items] == ["cpu"]


def test_a_file_that_is_no_model_is_refused_with_the_reason(served: Served, tmp_path: Path) -> None:
    (tmp_path / "bad.pt2").write_bytes(b"not a zip")
    with Client() as client, pytest.raises(InvalidModel, match="zip"):
        client.upload_model(tmp_path / "bad.pt2")


def test_a_wrong_token_is_told_apart_from_a_missing_thing(served: Served) -> None:
    with Client(token="wrong") as client, pytest.raises(Unauthorized, match="BURNISH_TOKEN"):
        client.models()
    with Client() as client, pytest.raises(NotFound):
        client.job("job_none")


def test_a_service_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("burnish.client.transport.time.sleep", lambda seconds: None)
    with Client("http://127.0.0.1:1") as client, pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        client.models()


def finished(served: Served, job: JobResource, content: bytes) -> Artifact:
    """The job has succeeded with an artifact of these bytes."""
    place = served.place
    blob = place.blobs.put([content])
    with place.database.read() as tx:
        from storage import jobs

        record = jobs.get(tx, job.id)
    place.plan(record, ["lower"])
    claim = place.start(record, "lower")
    assert claim is not None
    place.finish(claim, outputs={"artifact": blob.digest})
    result = verdict(blob.digest)
    place.succeed(record, result)
    artifact = next(item.artifact for item in result.candidates if item.name == result.chosen)
    assert artifact is not None
    return artifact


def test_the_history_is_read_line_by_line_whatever_the_lines_hold(served: Served) -> None:
    job = served.place.job()
    served.place.plan(job)
    claim = served.place.start(job, "capture")
    assert claim is not None
    told = ["one\u2028still one\u0085", "two \x1b[31m"]
    with served.place.database.begin() as tx:
        computations.heartbeat(tx, claim.key, claim.attempt, ttl=60, progress=0.0, doing="", log=told)
    with Client() as client:
        found = list(client.history(job.id))
        assert [event.data["line"] for event in found if event.kind == "log"] == told
        assert [event.id for event in client.history(job.id, after=found[-2].id)] == [found[-1].id]
        assert client.job(job.id).trace_id is None  # it was not submitted by a request
