"""HTTP under the client: retries, idempotency, problem documents turned back into our errors."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from pydantic import ValidationError

from burnish.errors import (
    ERRORS,
    BurnishError,
    Conflict,
    Fault,
    InternalError,
    InvalidSpec,
    NotFound,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from burnish.resources import Problem

__all__ = ["Transport", "error_from"]

_BY_CODE = {kind.code: kind for kind in ERRORS}
_BY_STATUS: dict[int, type[BurnishError]] = {401: Unauthorized, 404: NotFound, 409: Conflict, 413: TooLarge}
_AGAIN = frozenset({429, 502, 503, 504})


class Transport:
    """Sends requests to one service. Safe requests and those with an idempotency key are retried with backoff."""

    def __init__(self, url: str, token: str, *, attempts: int = 5, client: httpx.Client | None = None) -> None:
        self.url = url.rstrip("/")
        self._attempts = attempts
        self._client = client or httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(60.0, connect=5.0),
        )

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def get(
        self, path: str, query: Mapping[str, str | int | None] | None = None, *, etag: str | None = None
    ) -> httpx.Response:
        """GET; with `etag` the answer may be a 304. Query values of `None` are left out."""
        params = {key: value for key, value in (query or {}).items() if value is not None}
        headers = {"If-None-Match": etag} if etag else {}
        return self._send("GET", path, params=params, headers=headers)

    def post(self, path: str, document: Mapping[str, Any] | None = None, *, key: str | None = None) -> httpx.Response:
        """POST of JSON. An idempotency key goes with it, so that a lost answer can be asked for again; by default a
        fresh one."""
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        return self._send("POST", path, json=document if document is not None else {}, headers=headers)

    def patch(self, path: str, document: Mapping[str, Any]) -> httpx.Response:
        """PATCH of JSON that says what is to be so: sent again, it changes nothing more."""
        return self._send("PATCH", path, json=document)

    def put(self, path: str, document: Mapping[str, Any] | None = None) -> httpx.Response:
        """PUT: the thing named is to be so."""
        return self._send("PUT", path, **({} if document is None else {"json": document}))

    def put_bytes(self, path: str, data: bytes, *, headers: Mapping[str, str]) -> httpx.Response:
        """PUT of bytes: what is named is to be these. However slow the line is, it goes on."""
        return self._send("PUT", path, headers=dict(headers), content=lambda: data, timeout=None)

    def delete(self, path: str) -> httpx.Response:
        """DELETE: the thing named is to be so no more."""
        return self._send("DELETE", path)

    def upload(
        self, path: str, chunks: Callable[[], Iterator[bytes]], *, headers: Mapping[str, str], **query: str
    ) -> httpx.Response:
        """POST of a stream, opened anew for each attempt; memory is bounded by one chunk."""
        key = {"Idempotency-Key": str(uuid.uuid4()), "Content-Type": "application/octet-stream"}
        return self._send("POST", path, params=query, headers={**headers, **key}, content=chunks, timeout=None)

    @contextmanager
    def stream(self, path: str, *, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """GET whose body the caller reads piece by piece."""
        try:
            with self._client.stream("GET", path, headers=headers or {}) as response:
                if response.status_code >= 400:
                    response.read()
                    raise error_of(response)
                yield response
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        make_content = arguments.pop("content", None)
        for attempt in range(1, self._attempts + 1):
            if make_content is not None:
                arguments["content"] = make_content()
            last = attempt == self._attempts
            try:
                response = self._client.request(method, path, **arguments)
            except httpx.TransportError as error:
                if last:
                    raise self._unreachable(error) from error
                wait = None
            else:
                if response.status_code < 400:
                    return response
                if last or response.status_code not in _AGAIN:
                    raise error_of(response)
                wait = response.headers.get("Retry-After")
            time.sleep(_backoff(attempt, wait))
        raise AssertionError("the last attempt returns or raises")

    def _unreachable(self, error: httpx.TransportError) -> Unavailable:
        return Unavailable(
            f"The service at {self.url} does not answer ({type(error).__name__}: {error}).",
            cure="Check the address in BURNISH_URL, or leave it unset to use the service on this machine.",
        )


def _backoff(attempt: int, wait: str | None) -> float:
    """Seconds until the next attempt: what the server asked for, else exponential with full jitter."""
    if wait and wait.isdigit():
        return min(float(wait), 10.0)
    return random.uniform(0.05, 0.1 * 2**attempt)


def error_of(response: httpx.Response) -> BurnishError:
    """The error a problem document stands for."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        kind = _BY_STATUS.get(response.status_code, InternalError)
        return kind(
            f"The service answered {response.status_code} without a problem document.",
            cure="Check that BURNISH_URL is the address of a Burnish service of the same version.",
        )
    if problem.faults:
        return InvalidSpec([Fault(**fault.model_dump()) for fault in problem.faults])
    return error_from(problem.code, problem.detail, problem.cure, problem.where)


def error_from(code: str, message: str, cure: str, where: str | None = None) -> BurnishError:
    """The error with this code; an unknown code (of a newer service) is an `InternalError`."""
    kind = _BY_CODE.get(code, InternalError)
    if issubclass(kind, InvalidSpec):
        return InvalidSpec([Fault(where=where or "/", message=message, cure=cure)])
    return kind(message, cure=cure, where=where)
