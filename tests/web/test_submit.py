"""The submit page in a real browser: files, form and YAML in step, faults at their fields, and a job to its verdict."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.web.browsing import Watched
from tests.web.site import Site


@pytest.fixture
def form(page: Page, working: Site) -> Page:
    """The page with its form made."""
    return opened(page, "/submit")


def opened(page: Page, address: str) -> Page:
    page.goto(address)
    expect(page.locator("#submit[data-ready]")).to_be_visible()
    expect(page.locator("#verdict")).not_to_contain_text("Checking")
    return page


def upload(page: Page, kind: str, name: str, data: bytes) -> None:
    box = page.locator(f".source[data-kind={kind}]")
    suffix = ".pt2" if kind == "model" else ".safetensors"
    box.locator("input[type=file]").set_input_files(
        {"name": name + suffix, "mimeType": "application/octet-stream", "buffer": data}
    )
    box.get_by_role("button", name="Upload", exact=True).click()


def add_pass(page: Page, name: str) -> None:
    page.get_by_label("Add a pass").select_option(name)
    page.get_by_role("button", name="Add", exact=True).click()


@pytest.mark.timeout(600)
def test_from_two_files_to_a_verdict(form: Page, working: Site, model_bytes: bytes, data_bytes: bytes) -> None:
    upload(form, "model", "fresh", model_bytes)
    expect(form.locator("#model option:checked")).to_contain_text("fresh:1 · 5,764 parameters")
    upload(form, "dataset", "fresh", data_bytes)
    expect(form.locator("#dataset option:checked")).to_contain_text("64 samples")
    form.get_by_label("backend").select_option("onnxruntime")
    add_pass(form, "quantize")
    expect(form.locator("#verdict")).to_contain_text("ready to submit")
    form.get_by_role("button", name="Submit the job").click()
    form.wait_for_url(re.compile(r"/jobs/job_"))
    expect(form.locator("h1")).to_contain_text("fresh:1")
    job = working.client.wait(form.url.rpartition("/")[2])
    assert job.verdict is not None, job.error
    assert job.spec.recipe.target.backend == "onnxruntime"
    expect(form.locator("#main")).to_contain_text(job.verdict.sentence)
    form.goto("/models/fresh")
    way = form.locator(".way").filter(has_text="quantize").first
    expect(way).to_have_text(re.compile(r"upload.*capture.*quantize.*lower@onnxruntime.*\.onnx", re.S))


def test_what_the_form_says_is_written_as_yaml(form: Page) -> None:
    form.get_by_label("max drop").fill("1%")
    form.get_by_label("threads").fill("2")
    add_pass(form, "prune")
    form.get_by_label("ratio", exact=True).fill("0.25")
    expect(form.locator("#yaml")).to_have_value(
        "target: {threads: 2}\ngoal: {max_drop: 1%}\npasses:\n  - prune: {ratio: 0.25}\n"
    )


def test_a_setting_put_back_to_its_default_leaves_the_yaml(form: Page) -> None:
    form.get_by_label("threads").fill("2")
    expect(form.locator("#yaml")).to_have_value("target: {threads: 2}\n")
    form.get_by_label("threads").fill("1")
    expect(form.locator("#yaml")).to_have_value("")


def test_what_the_yaml_says_is_shown_in_the_form(form: Page) -> None:
    form.locator("#yaml").fill(
        "goal: {max_size: 2MB, minimize: size}\npasses: [{prune: {ratio: 0.3}}, quantize]\nseed: 7\n"
    )
    expect(form.get_by_label("max size")).to_have_value("2MB")
    expect(form.get_by_label("minimize").locator("option:checked")).to_have_text("size")
    expect(form.locator(".pass h3")).to_have_text(["prune", "quantize"])
    expect(form.get_by_label("ratio", exact=True)).to_have_value("0.3")
    expect(form.get_by_label("seed")).to_have_value("7")


def test_yaml_that_cannot_be_read_leaves_the_form_as_it_was_and_names_the_line(form: Page) -> None:
    form.locator("#yaml").fill("seed: 7\n")
    expect(form.get_by_label("seed")).to_have_value("7")
    form.locator("#yaml").fill("seed: 8\ngoal: {\n")
    expect(form.locator("#faults")).to_contain_text("line 3")
    expect(form.get_by_label("seed")).to_have_value("7")
    expect(form.locator("#yaml-note")).to_contain_text("could be read last")


def test_a_fault_is_shown_at_its_field_and_goes_when_it_is_corrected(form: Page) -> None:
    add_pass(form, "prune")
    ratio = form.get_by_label("ratio", exact=True)
    ratio.fill("3")
    expect(ratio).to_have_attribute("aria-invalid", "true")
    told = form.locator(f"#{ratio.get_attribute('id')}-fault")
    expect(told).to_contain_text("less than 1")
    assert told.get_attribute("id") in (ratio.get_attribute("aria-describedby") or "").split()
    ratio.fill("0.4")
    expect(told).to_have_count(0)
    expect(ratio).not_to_have_attribute("aria-invalid", "true")


def test_a_fault_in_the_list_leads_to_its_field(form: Page) -> None:
    form.get_by_label("threads").fill("0")
    form.locator("#faults a").click()
    expect(form.get_by_label("threads")).to_be_focused()


def test_passes_in_a_wrong_order_are_told_and_mended_by_moving_one(form: Page) -> None:
    add_pass(form, "quantize")
    add_pass(form, "prune")
    expect(form.locator(".pass .fault")).to_contain_text("may not stand after")
    form.get_by_role("button", name="Move prune up").click()
    expect(form.locator(".pass h3")).to_have_text(["prune", "quantize"])
    expect(form.locator(".pass .fault")).to_have_count(0)


def test_by_keyboard_alone_passes_are_added_set_moved_and_removed(form: Page) -> None:
    press = form.keyboard.press
    form.get_by_label("Add a pass").focus()
    form.keyboard.type("prune")
    press("Tab")
    press("Enter")
    expect(form.locator(".pass:first-child select").first).to_be_focused()
    form.get_by_label("Add a pass").focus()
    form.keyboard.type("quantize")
    press("Tab")
    press("Enter")
    expect(form.locator(".pass h3")).to_have_text(["prune", "quantize"])
    form.get_by_role("button", name="Move quantize up").focus()
    press("Enter")
    expect(form.locator(".pass h3")).to_have_text(["quantize", "prune"])
    expect(form.get_by_role("button", name="Move quantize down")).to_be_focused()
    expect(form.locator("#told")).to_have_text("quantize is now pass 1 of 2.")
    press("Enter")
    expect(form.locator(".pass h3")).to_have_text(["prune", "quantize"])
    form.get_by_role("button", name="Remove prune").focus()
    press("Space")
    expect(form.locator(".pass h3")).to_have_text(["quantize"])
    expect(form.get_by_role("button", name="Remove quantize")).to_be_focused()


def test_submitting_without_a_model_says_so_at_the_field(form: Page) -> None:
    form.get_by_role("button", name="Submit the job").click()
    expect(form.locator("#model")).to_be_focused()
    expect(form.locator("#model")).to_have_attribute("aria-invalid", "true")
    expect(form.locator("[data-at='/model'] .fault")).to_contain_text("upload a file")


def test_what_model_and_data_forbid_is_told_before_submitting(
    page: Page, working: Site, model_bytes: bytes, data_bytes: bytes, tmp_path: Path
) -> None:
    (tmp_path / "wide.pt2").write_bytes(model_bytes)
    (tmp_path / "wide.safetensors").write_bytes(data_bytes)
    working.client.upload_model(tmp_path / "wide.pt2")
    working.client.upload_dataset(tmp_path / "wide.safetensors")
    form = opened(page, "/submit?model=wide&dataset=wide")
    expect(form.locator("#verdict")).to_contain_text("ready to submit")
    form.get_by_label("batch").fill("1000")
    expect(form.locator("[data-at='/target/batch'] .fault")).to_contain_text("256")


def test_a_file_that_is_no_model_is_refused_with_the_reason(form: Page, watch: Watched) -> None:
    upload(form, "model", "noise", b"no archive at all")
    expect(form.locator(".source[data-kind=model] .upload-state.bad")).to_contain_text("no zip")
    expect(form.locator(".source[data-kind=model]").get_by_role("button", name="Try again")).to_be_visible()
    watch.forgive("422")


def test_run_again_with_changes_fills_the_form_from_the_job(
    page: Page, working: Site, model_bytes: bytes, data_bytes: bytes, tmp_path: Path
) -> None:
    (tmp_path / "again.pt2").write_bytes(model_bytes)
    (tmp_path / "again.safetensors").write_bytes(data_bytes)
    model = working.client.upload_model(tmp_path / "again.pt2")
    dataset = working.client.upload_dataset(tmp_path / "again.safetensors")
    recipe = {"goal": {"max_drop": 0.01}, "passes": [{"prune": {"ratio": 0.25}}]}
    job = working.client.submit(model.id, dataset.id, recipe, priority=7)
    working.client.cancel(job.id)
    form = opened(page, f"/submit?from={job.id}")
    expect(form.locator("#yaml")).to_have_value("goal: {max_drop: 0.01}\npasses:\n  - prune: {ratio: 0.25}\n")
    expect(form.locator("#model")).to_have_value(model.id)
    expect(form.locator("#dataset")).to_have_value(dataset.id)
    expect(form.get_by_label("priority")).to_have_value("7")


def test_everyone_can_use_it(form: Page, each_look: Callable[[Page], None]) -> None:
    each_look(form)
    form.locator("#model-file").set_input_files({"name": "a.pt2", "mimeType": "x/y", "buffer": b"x"})
    add_pass(form, "prune")
    add_pass(form, "distill")
    add_pass(form, "quantize")
    form.get_by_label("ratio", exact=True).fill("3")
    expect(form.locator(".pass .fault")).to_have_count(1)
    each_look(form)
