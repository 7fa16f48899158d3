"""Jobs that have their verdict already, so that the tests of pages need not wait for one."""

from __future__ import annotations

from pathlib import Path

from burnish.recipe import JobSpec
from storage import blob_index, datasets, jobs, models
from storage.records import Job
from tests.api.place import dataset_bytes, verdict
from tests.web.site import Site

__all__ = ["Kept"]


class Kept:
    """A model `name` whose versions each have a result, with a dataset of that name."""

    def __init__(self, site: Site, name: str, model_bytes: bytes, folder: Path, versions: int = 2) -> None:
        self.site, self.name = site, name
        (folder / f"{name}.safetensors").write_bytes(dataset_bytes(32))
        (folder / f"{name}.pt2").write_bytes(model_bytes)
        self.dataset = site.client.upload_dataset(folder / f"{name}.safetensors")
        self.signature = site.client.upload_model(folder / f"{name}.pt2").signature
        self.jobs = [self._result(version) for version in range(1, versions + 1)]

    def _result(self, version: int) -> Job:
        """A job of that version, which is made up unless it is the first, with an artifact in the store."""
        site = self.site
        made = site.blobs.put([f"{self.name} {version} artifact".encode()])
        with site.database.begin() as tx:
            blob_index.hold(tx, made)
            if version > 1:
                blob = site.blobs.put([f"{self.name} {version}".encode()])
                blob_index.hold(tx, blob)
                models.create(
                    tx, name=self.name, digest=blob.digest, size=blob.size,
                    signature=self.signature.model_dump(mode="json"),
                )  # fmt: skip
            model = models.resolve(tx, f"{self.name}:{version}")
            dataset = datasets.get(tx, self.dataset.id)
            spec = JobSpec.model_validate({"model": model.id, "dataset": dataset.id, "recipe": {}})
            job = jobs.create(tx, spec=spec.model_dump(mode="json"), model=model, dataset=dataset, priority=5)
            jobs.plan(tx, job.id, [])
            assert jobs.succeed(tx, job.id, verdict(made.digest).model_dump(mode="json"))
            return jobs.get(tx, job.id)
