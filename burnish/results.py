"""What a job found out: the typed documents of measurement, quality and verdict. Times in seconds, sizes in bytes."""

from __future__ import annotations

from typing import Literal

from burnish.document import Document

__all__ = [
    "Artifact",
    "Candidate",
    "Environment",
    "Estimate",
    "Latency",
    "LayerTreatment",
    "Limit",
    "Quality",
    "Signature",
    "TensorSpec",
    "Verdict",
]


class TensorSpec(Document):
    """One tensor of a signature or a dataset."""

    name: str
    dtype: str
    """As numpy names it: `float32`, `int64`, …"""
    shape: tuple[int | None, ...]
    """`None` is a dynamic dimension; dimension 0 is the batch."""


class Signature(Document):
    """What a program takes and gives, read from its archive without loading it."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch: int | None = None
    """Upper bound of the batch dimension, where the export set one."""
    parameters: int
    """Number of weights (elements of parameters and buffers)."""


class Estimate(Document):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class Latency(Document):
    """Time of one call at the target's batch size, over all rounds."""

    median: Estimate
    p95: float
    rounds: int
    calls: int
    quantiles: dict[str, float] = {}
    """Of single calls, by their share: `0.05`, `0.25`, `0.5`, `0.75`, `0.95`, `0.99`."""


class Quality(Document):
    """How well an artifact does on the held-out part, next to the original on the same samples."""

    metric: Literal["top1", "agreement", "cosine"]
    """`top1`: accuracy with labels; `agreement`: same top-1 class as the original; `cosine`: of the outputs."""
    original: float
    value: float
    drop: Estimate
    """original minus value, with a paired bootstrap interval."""
    samples: int
    sqnr_db: float
    """Signal-to-quantization-noise ratio of the outputs against the original's, in dB."""


class Artifact(Document):
    """A file to download."""

    name: str
    digest: str
    """SHA-256 of its bytes, in hex."""
    size: int
    backend: str
    usage: str
    """Lines of Python that run it on stock software, without Burnish."""


class LayerTreatment(Document):
    """What a pass did to one layer, and why."""

    layer: str
    treatment: str
    """For example `channels 64 → 32`, `int8`, `left alone`."""
    reason: str
    seconds: float | None = None
    """Measured time of one call of it before the treatment."""
    bytes_before: int | None = None
    """Of its weights."""
    bytes_after: int | None = None
    error_db: float | None = None
    """Signal-to-noise ratio, in dB, that its treatment alone leaves: of its weights, or of the outputs where the reason
    says so. Higher is closer to the original."""


class Candidate(Document):
    """One contender: the original (eager, compiled), or a variant on one backend."""

    name: str
    """`eager`, `compiled`, or variant and backend: `prune+distill+quantize@onnxruntime`."""
    variant: str
    backend: str
    latency: Latency | None = None
    speedup_over_eager: Estimate | None = None
    """Ratio of medians, interleaved in one run; above 1 is faster."""
    speedup_over_compiled: Estimate | None = None
    speedup_over_champion: Estimate | None = None
    """The same over the artifact that an alias stood for when the job was made, in jobs that are to replace it."""
    quality: Quality | None = None
    artifact: Artifact | None = None
    peak_memory: int | None = None
    """Peak resident memory of the process that ran it, in bytes."""
    load_seconds: float | None = None
    parameters: int | None = None
    flops: int | None = None
    """Multiply-adds of one sample times two."""
    figures: dict[str, float] = {}
    """What the artifact measured of itself: costs of a memo, by name, in seconds."""
    notes: tuple[str, ...] = ()
    """What to know to read its figures, where a call is not what a call of the original is."""
    refused: str | None = None
    """Why it is no contender: it could not be lowered, or its outputs were wrong."""


class Limit(Document):
    """One limit of the goal, and how the chosen (or the nearest) candidate stands to it."""

    name: Literal["max_drop", "max_size", "max_latency", "faster"]
    limit: float
    value: float
    met: bool
    advice: str | None = None
    """What to relax, and to what, if it is not met."""


class Environment(Document):
    """Where it was measured."""

    cpu: str
    isa: tuple[str, ...]
    threads: int
    batch: int
    load: float
    """System load average when measuring began."""
    versions: dict[str, str]


class Verdict(Document):
    """The answer of a job, with every figure it rests on."""

    outcome: Literal["improved", "no_gain", "target_missed"]
    """`improved`: faster (or smaller) by more than chance, within every limit. `no_gain`: nothing beat the original,
    which is what you get. `target_missed`: candidates beat the original, none within the limits."""
    sentence: str
    """The verdict in one sentence."""
    chosen: str | None
    """Name of the candidate handed back; `None` is the original."""
    limits: tuple[Limit, ...]
    candidates: tuple[Candidate, ...]
    environment: Environment
