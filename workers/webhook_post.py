"""Sending one webhook over HTTP, to no address that it must not reach, and for no longer than `SECONDS`.

1. The name is resolved once, and every address that it has must be allowed (`storage/webhook_urls.py`).
2. The connection goes to an address that was checked; the name only goes into `Host` and into TLS, where the
   certificate is checked against it. So a name that resolves to something else a moment later gains nothing.
3. Redirects are not followed, proxies of the environment not used, and of the answer a thousand bytes are read.
4. A receiver that sends a byte now and then keeps no thread: a timer cuts the connection.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from burnish import __version__
from storage.deliveries import Answer, Sending
from storage.webhook_secrets import signatures
from storage.webhook_urls import is_public, url_faults

__all__ = ["SECONDS", "post"]

SECONDS = 15.0
"""Of a whole attempt, once the name is resolved."""
_BODY = 1000
_ADDRESSES = 3
"""Addresses of one name that are tried."""


class _Refused(Exception):
    """It must not be sent there; the message says why."""


def post(sending: Sending, *, allow_private: bool, seconds: float = SECONDS) -> Answer:
    """Sends a delivery; never raises for what the receiver or the network does."""
    began = time.monotonic()
    try:
        return _post(sending, allow_private, began, seconds)
    except _Refused as why:
        return _failed(began, str(why))
    except httpx.TimeoutException:
        return _failed(began, f"It took longer than {seconds:.0f} s.")
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        late = time.monotonic() - began >= seconds
        return _failed(began, f"It took longer than {seconds:.0f} s." if late else _told(error))


def _post(sending: Sending, allow_private: bool, began: float, seconds: float) -> Answer:
    url = httpx.URL(sending.webhook.url)
    if faults := url_faults(sending.webhook.url, allow_private=allow_private):
        raise _Refused(" ".join(fault.message for fault in faults))
    addresses = _resolved(url, allow_private)
    with httpx.Client(follow_redirects=False, trust_env=False, timeout=httpx.Timeout(seconds, connect=5.0)) as client:
        for number, address in enumerate(addresses, start=1):
            try:
                return _exchange(client, sending, url, address, began, seconds)
            except httpx.ConnectError:
                if number == len(addresses):
                    raise
    raise AssertionError("the last address returns or raises")


def _exchange(
    client: httpx.Client, sending: Sending, url: httpx.URL, address: str, began: float, seconds: float
) -> Answer:
    with _cut_after(seconds - (time.monotonic() - began)) as watch:
        request = client.build_request(
            "POST",
            url.copy_with(host=address),
            content=sending.delivery.payload.encode(),
            headers=_headers(sending, url),
            extensions={"sni_hostname": _host(url), "trace": watch},
        )
        response = client.send(request, stream=True)
        try:
            body = _beginning(response)
        finally:
            response.close()
    status, took = response.status_code, time.monotonic() - began
    error = None
    if response.is_redirect:
        error = f"It was answered with a redirect ({status}), and these are not followed."
    elif not response.is_success:
        error = f"It was answered with {status}."
    return Answer(status=status, error=error, seconds=took, body=body, retry_after=_retry_after(response))


def _headers(sending: Sending, url: httpx.URL) -> dict[str, str]:
    delivery, timestamp = sending.delivery, int(sending.at)
    return {
        "Host": url.netloc.decode("ascii"),
        "Content-Type": "application/json",
        "User-Agent": f"burnish/{__version__}",
        "webhook-id": delivery.event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signatures(
            sending.webhook.secrets(sending.at), delivery.event_id, timestamp, delivery.payload
        ),
    }


def _resolved(url: httpx.URL, allow_private: bool) -> list[str]:
    """The addresses of the name. Raises `_Refused` if it has none, or one that must not be reached."""
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(_host(url), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _Refused(f"{url.host} can't be resolved: {_told(error)}") from error
    addresses = list(dict.fromkeys(str(each[4][0]).partition("%")[0] for each in found))
    if not allow_private:
        for address in addresses:
            if not is_public(address):
                raise _Refused(f"{url.host} resolves to {address}, which is not part of the public internet.")
    return addresses[:_ADDRESSES]


def _host(url: httpx.URL) -> str:
    """As it goes over the wire."""
    return url.raw_host.decode("ascii")


@contextmanager
def _cut_after(seconds: float) -> Iterator[Any]:
    """A trace function for httpx that knows the connection's socket, which is cut when the time is over."""
    sockets: list[socket.socket] = []
    over = threading.Event()

    def watch(name: str, info: Mapping[str, Any]) -> None:
        if name in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            sockets.append(info["return_value"].get_extra_info("socket"))
            if over.is_set():
                cut()

    def cut() -> None:
        over.set()
        for each in sockets:
            try:
                socket.socket.shutdown(each, socket.SHUT_RDWR)  # past TLS, which another thread is using
            except OSError:  # closed already, or TLS has taken it over
                continue

    timer = threading.Timer(max(seconds, 0.0), cut)
    timer.daemon = True
    timer.start()
    try:
        yield watch
    finally:
        timer.cancel()


def _beginning(response: httpx.Response) -> str:
    read = b""
    for chunk in response.iter_raw(_BODY):
        read += chunk
        if len(read) >= _BODY:
            break
    text = read[:_BODY].decode(errors="replace")
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _retry_after(response: httpx.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() and len(text) < 10 else None


def _failed(began: float, error: str) -> Answer:
    return Answer(status=None, error=error, seconds=time.monotonic() - began)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(".: ") + "."
