"""The pages of fleet and schedules in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from burnish.recipe import JobSpec
from storage import computations, datasets, jobs, models, steps
from tests.api.place import dataset_bytes
from tests.storage.scene import chain
from tests.web.site import Site

RECIPE = {"passes": [{"quantize": {}}]}
KEY = "ab" * 32


@pytest.fixture(scope="module")
def files(working: Site, model_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Ids of a model and a dataset `watched`."""
    folder: Path = tmp_path_factory.mktemp("watched")
    (folder / "watched.pt2").write_bytes(model_bytes)
    (folder / "watched.safetensors").write_bytes(dataset_bytes(32))
    return (
        working.client.upload_model(folder / "watched.pt2").id,
        working.client.upload_dataset(folder / "watched.safetensors").id,
    )


def schedule(page: Page, name: str, trigger: dict[str, str]) -> None:
    document = {"name": name, "trigger": trigger, "job": {"model": "watched", "dataset": "watched", "recipe": RECIPE}}
    made = page.request.post("/v1/schedules", data=document)
    assert made.status == 201, made.text()


def test_the_fleet_tells_of_workers_queues_and_cache(
    page: Page, working: Site, each_look: Callable[[Page], None]
) -> None:
    page.goto("/fleet")
    expect(page.locator(".worker")).to_have_count(1)
    expect(page.locator(".worker")).to_contain_text("Serves")
    expect(page.get_by_role("region", name="Queues")).to_contain_text("cpu")
    each_look(page)


def test_what_waits_and_what_a_worker_runs_comes_up_by_itself_and_leads_to_its_job(
    page: Page, working: Site, files: tuple[str, str]
) -> None:
    page.goto("/fleet")
    job = queued_for_nobody(working, files)
    row = page.get_by_role("row").filter(has_text="abacus")
    expect(row).to_contain_text("no worker")
    (worker,) = working.client.workers().items
    with working.database.begin() as tx:
        assert computations.claim(tx, KEY, worker=worker.id, ttl=60)
    expect(page.locator(".worker .state.running")).to_be_visible()
    page.locator(f".at-work a[href='/jobs/{job}']").click()
    expect(page.locator("h1")).to_contain_text("watched:1")
    working.client.cancel(job)


def queued_for_nobody(site: Site, files: tuple[str, str]) -> str:
    """A job with one step that is ready in a queue without workers."""
    spec = JobSpec.model_validate({"model": files[0], "dataset": files[1], "recipe": RECIPE})
    with site.database.begin() as tx:
        model, dataset = models.get(tx, files[0]), datasets.get(tx, files[1])
        job = jobs.create(tx, spec=spec.model_dump(mode="json"), model=model, dataset=dataset, priority=5)
        assert jobs.plan(tx, job.id, [replace(step, queue="abacus") for step in chain("capture")])
        jobs.lock(tx, job.id)
        (step,) = steps.of_job(tx, job.id)
        steps.bind(tx, step, key=KEY, inputs={}, key_parts={}, queue="abacus", alone=False, priority=5)
    return job.id


def test_schedules_are_listed_paused_resumed_and_run(
    page: Page, working: Site, files: tuple[str, str], each_look: Callable[[Page], None]
) -> None:
    page.goto("/schedules")
    schedule(page, "nightly", {"cron": "0 3 * * *", "timezone": "Europe/Berlin"})
    schedule(page, "news", {"on": "dataset"})
    page.reload()
    nightly = page.get_by_role("row").filter(has_text="nightly")
    expect(nightly).to_contain_text("0 3 * * * (Europe/Berlin)")
    page.get_by_role("button", name="Pause nightly").click()
    expect(nightly).to_contain_text("paused")
    page.get_by_role("button", name="Resume nightly").click()
    expect(nightly).to_contain_text("active")
    page.get_by_role("button", name="Run news now").click()
    expect(page.get_by_role("row").filter(has_text="news").locator("a[href^='/jobs/']")).to_be_visible()
    each_look(page)
    page.get_by_role("link", name="news").click()
    expect(page.locator("h1")).to_have_text("news")
    expect(page.get_by_role("region", name="History")).to_contain_text("It was run by hand.")
    each_look(page)
    for job in working.client.jobs(limit=5).items:
        if job.state in ("queued", "running"):
            working.client.cancel(job.id)
