"""Proves from the store, the folders and the kernel that every blob is whole and nothing is orphaned."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.config import Config
from sqlalchemy import select

from storage.database import Database
from storage.tables import blobs, computations, datasets, models

__all__ = ["check_blobs", "check_folders", "check_processes", "stored"]

_DIGEST = re.compile(r"[0-9a-f]{64}")


def stored(url: str) -> tuple[dict[str, str], list[str]]:
    """What lies in a store, read without our own code.

    Returns:
        SHA-256 of the bytes by the name that they have, and the names of everything that is no blob (temporary files,
        unfinished uploads).
    """
    parts = urlsplit(url)
    return _in_folder(Path(parts.path)) if parts.scheme == "file" else _in_bucket(url)


def check_blobs(database: Database, found: Mapping[str, str], strange: list[str]) -> list[str]:
    """1. Bytes have the digest they are named by. 2. What a row refers to is there. 3. What no row refers to is at
    least known to the collector. 4. Nothing half-written lies about."""
    with database.read() as tx:
        outputs = tx.execute(select(computations.c.outputs).where(computations.c.state == "done")).scalars()
        wanted = {digest for each in outputs for digest in (each or {}).values()}
        for table in (models, datasets):
            wanted |= set(tx.execute(select(table.c.digest)).scalars())
        known = set(tx.execute(select(blobs.c.digest)).scalars())
    return [
        *(f"blob {name} holds the bytes of {digest}" for name, digest in sorted(found.items()) if name != digest),
        *(f"blob {digest} is gone, and a row refers to it" for digest in sorted(wanted - found.keys())),
        *(
            f"blob {digest} is unknown to SQL: no collector will find it"
            for digest in sorted(found.keys() - wanted - known)
        ),
        *(f"{name} lies in the store and is no blob" for name in strange),
    ]


def check_folders(data: Path) -> list[str]:
    """No attempt's or worker's folder is left, once all workers were stopped."""
    left = [path for path in (data / "scratch").glob("*") if path.name != "lock"]
    return [f"scratch folder {path.name} was left" for path in left]


def check_processes(folder: Path) -> list[str]:
    """No process works in this folder, or writes to a file in it, but the caller."""
    return [f"process {pid} is left: {command}" for pid, command in _living(folder) if pid != os.getpid()]


def _living(folder: Path) -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended while we looked
            places = [os.readlink(entry / "cwd"), *(os.readlink(entry / "fd" / number) for number in ("0", "1", "2"))]
            if any(place.startswith(f"{folder}/") or place == str(folder) for place in places):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if "seaweed" not in command and "weed" not in command.partition(" ")[0]:
                    yield int(entry.name), command.strip()


def _in_folder(root: Path) -> tuple[dict[str, str], list[str]]:
    found: dict[str, str] = {}
    strange: list[str] = []
    for path in sorted(root.rglob("*")):
        if path.is_dir():
            continue
        if _DIGEST.fullmatch(path.name) and path.parent.name == path.name[:2]:
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            strange.append(str(path.relative_to(root)))
    return found, strange


def _in_bucket(url: str) -> tuple[dict[str, str], list[str]]:
    parts, options = urlsplit(url), parse_qs(urlsplit(url).query)
    bucket, prefix = parts.netloc, parts.path.strip("/") + "/"
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=options["endpoint"][0],
        region_name=options["region"][0],
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    found: dict[str, str] = {}
    strange: list[str] = []
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", ()):
            name = item["Key"].removeprefix(f"{prefix}sha256/")
            if _DIGEST.fullmatch(name):
                body = client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
                found[name] = hashlib.sha256(body).hexdigest()
            else:
                strange.append(item["Key"])
    for uploads in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
        strange += [f"unfinished upload of {each['Key']}" for each in uploads.get("Uploads", ())]
    client.close()
    return found, strange
