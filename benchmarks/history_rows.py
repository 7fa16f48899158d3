"""A long history in bulk: ended jobs with their steps, computations, events and blobs, as SQL would hold them."""

from __future__ import annotations

from sqlalchemy import text

from storage.database import Database

__all__ = ["PER_JOB", "grow"]

PER_JOB = 8
"""Steps of a job; it has twice as many events, and its model."""
_SPEC = '{"settings": {}, "inputs": {}, "target": {}, "seed": 0}'
_PARTS = '{"op": "capture", "code": "0", "seed": 0}'


def grow(database: Database, before: int, after: int) -> None:
    """Adds the rows numbered from `before` to below `after`; both are numbers of computations.

    Keys are spread over the key space as digests are. Statistics are renewed, as the database would do by itself.
    """
    with database.begin() as tx:
        if not tx.single_writer:
            tx.execute(text("SET LOCAL session_replication_role = replica"))  # foreign keys hold by construction
        for statement in _statements(before, after, tx.single_writer):
            tx.execute(text(statement))
    with database.begin() as tx:
        tx.execute(text("ANALYZE"))


def _statements(before: int, after: int, lite: bool) -> list[str]:
    jobs_from, jobs_to = before // PER_JOB, after // PER_JOB

    def rows(low: int, high: int) -> str:
        if not lite:
            return f"generate_series({low}, {high - 1}) AS series(n)"
        return (
            f"(WITH RECURSIVE series(n) AS (SELECT {low} UNION ALL SELECT n + 1 FROM series WHERE n + 1 < {high}) "
            "SELECT n FROM series)"
        )

    def padded(number: str, width: int) -> str:
        return f"printf('%0{width}d', {number})" if lite else f"lpad(({number})::text, {width}, '0')"

    key = f"'{{}}' || {padded('(CAST(n AS BIGINT) * 7919) % 100000007', 9)} || {padded('n', 40)}"
    of_job = padded("n / 8", 22)
    job = f"'job_0000' || {of_job}"
    computation, blob = key.format("k"), key.format("b")
    job_id = f"'job_0000' || {padded('n', 22)}"
    model_id = f"'mdl_0000' || {padded('n', 22)}"
    yes, no = ("1", "0") if lite else ("true", "false")
    return [
        f"INSERT INTO models (id, name, version, digest, size, signature, created_at) "
        f"SELECT {model_id}, 'model' || (n % 100), n + 10, 'm' || {padded('n', 40)}, 1, '{{}}', n "
        f"FROM {rows(jobs_from, jobs_to)}",
        f"INSERT INTO datasets (id, name, digest, size, format, schema, samples, labelled, created_at) "
        f"SELECT 'dst_0000' || {padded('n', 22)}, 'data', 'd' || {padded('n', 40)}, 1, 'npz', '{{}}', 40, {yes}, n "
        f"FROM {rows(jobs_from, jobs_to)}",
        f"INSERT INTO jobs (id, state, spec, model_id, model, model_digest, dataset_id, dataset, dataset_digest, "
        f"priority, revision, verdict, created_at, started_at, finished_at) "
        f"SELECT {job_id}, 'succeeded', '{{}}', {model_id}, 'model:1', 'm', 'dst_0000' || {padded('n', 22)}, 'data', "
        f"'d', 5, 16, '{{}}', n, n, n FROM {rows(jobs_from, jobs_to)}",
        f"INSERT INTO computations (key, op, spec, inputs, key_parts, queue, alone, priority, turn, state, attempt, "
        f"failures, max_attempts, run_after, cancel, progress, outputs, report, reasons, created_at) "
        f"SELECT {computation}, 'capture', '{_SPEC}', '{{}}', '{_PARTS}', 'cpu', {no}, 5, n, 'done', 1, 0, 3, n, {no}, "
        f"1.0, '{{}}', '{{}}', '[]', n FROM {rows(before, after)}",
        f"INSERT INTO steps (job_id, name, op, spec, queue, optional, position, state, key, hit) "
        f"SELECT {job}, 'step-' || (n % 8), 'capture', '{_SPEC}', 'cpu', {no}, n % 8, 'done', {computation}, {no} "
        f"FROM {rows(before, after)}",
        f"INSERT INTO blobs (digest, size, created_at, seen_at) SELECT {blob}, 100, n, n FROM {rows(before, after)}",
        f"INSERT INTO products (digest, key) SELECT {blob}, {computation} FROM {rows(before, after)}",
        f"INSERT INTO events (job_id, id, at, kind, step, data) "
        f"SELECT 'job_0000' || {padded('n / 16', 22)}, n % 16 + 1, n, 'step.progress', 'step-1', '{{}}' "
        f"FROM {rows(2 * before, 2 * after)}",
        f"INSERT INTO idempotency (scope, key, body_hash, response, created_at) "
        f"SELECT 'scope', 'i' || {padded('n', 20)}, 'h', '{{}}', 4e9 FROM {rows(jobs_from, jobs_to)}",
    ]
