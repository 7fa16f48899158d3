"""One attempt over HTTP: what is sent, and where it is never sent to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import time
from typing import Any

import pytest

from storage.deliveries import Answer, Delivery, Sending
from storage.webhook_secrets import new_secret
from storage.webhooks import Webhook
from tests.workers.webhooks.receiver import Answering, Receiver
from workers import webhook_post
from workers.webhook_post import post

PAYLOAD = json.dumps({"type": "job.succeeded", "data": {"model": "Größe"}}, ensure_ascii=False)
OLD, NEW = new_secret(), new_secret()


def sending(url: str, *, old_until: float | None = None, at: float = 1_700_000_000.5) -> Sending:
    webhook = Webhook(
        id="whk_1", url=url, types=[], description="", secret=NEW, old_secret=OLD if old_until else None,
        old_secret_until=old_until, state="enabled", reason=None, failing_since=None, created_at=0.0,
    )  # fmt: skip
    delivery = Delivery(
        id="dlv_1", webhook_id="whk_1", event_id="evt_1", type="job.succeeded", payload=PAYLOAD, state="pending",
        attempt=1, next_at=0.0, log=[], redelivery=False, created_at=0.0,
    )  # fmt: skip
    return Sending(delivery, webhook, at)


def sent(url: str, seconds: float = 5.0, **more: Any) -> Answer:
    return post(sending(url, **more), allow_private=True, seconds=seconds)


def expected(secret: str, content: bytes) -> str:
    """By the specification, written out once more."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def test_a_delivery_is_posted_whole_and_signed(receiver: Receiver) -> None:
    answer = sent(receiver.url)
    assert (answer.good, answer.status, answer.error) == (True, 200, None)
    (taken,) = receiver.taken
    assert (taken.path, taken.body.decode()) == ("/hook", PAYLOAD)
    assert taken.headers["Content-Type"] == "application/json"
    assert (taken.headers["webhook-id"], taken.headers["webhook-timestamp"]) == ("evt_1", "1700000000")
    assert taken.headers["webhook-signature"] == expected(NEW, b"evt_1.1700000000." + taken.body)
    assert taken.headers["Host"] == receiver.url.removeprefix("http://").removesuffix("/hook")


def test_for_a_day_after_a_rotation_the_old_secret_signs_too(receiver: Receiver) -> None:
    sent(receiver.url, old_until=1_700_000_001.0)
    sent(receiver.url, old_until=1_700_000_000.0)
    during, after = receiver.taken
    content = b"evt_1.1700000000." + during.body
    assert during.headers["webhook-signature"] == f"{expected(NEW, content)} {expected(OLD, content)}"
    assert after.headers["webhook-signature"] == expected(NEW, content)


@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503])
def test_any_other_status_is_a_failure(receiver: Receiver, status: int) -> None:
    receiver.answers = [Answering(status, {"Retry-After": "120"})]
    answer = sent(receiver.url)
    assert (answer.good, answer.status, answer.retry_after) == (False, status, 120.0)
    assert str(status) in str(answer.error)


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.answers = [Answering(302, {"Location": receiver.url + "/elsewhere"})]
    answer = sent(receiver.url)
    assert (answer.good, answer.status, len(receiver.taken)) == (False, 302, 1)
    assert "redirect" in str(answer.error)


def test_of_the_answer_a_thousand_bytes_are_read_and_no_control_characters_kept(receiver: Receiver) -> None:
    receiver.answers = [Answering(200, {}, b"\x1b[31mred" + b"x" * 50_000_000)]
    began = time.monotonic()
    answer = sent(receiver.url)
    assert (answer.good, len(answer.body)) == (True, 1000)
    assert answer.body.startswith(" [31mred")
    assert time.monotonic() - began < 5


def test_a_receiver_that_drips_is_cut_off(receiver: Receiver) -> None:
    receiver.answers = [Answering(drip=True)]
    began = time.monotonic()
    answer = sent(receiver.url, seconds=0.5)
    assert time.monotonic() - began < 4
    assert (answer.status, answer.error) == (None, "It took longer than 0 s.")


def test_one_that_is_not_there_is_a_failure() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        answer = sent(f"http://127.0.0.1:{free.getsockname()[1]}/")
    assert (answer.good, answer.status) == (False, None)
    assert "ConnectError" in str(answer.error)


def test_a_name_that_does_not_exist_is_a_failure() -> None:
    answer = sent("http://no-such-host.invalid/")
    assert "can't be resolved" in str(answer.error)


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Lets names resolve to these addresses in turn, the last of them from then on; the names that were asked for."""
    asked: list[str] = []
    waiting, really = list(answers), socket.getaddrinfo

    def resolve(host: str, port: int, *arguments: Any, **named: Any) -> list[Any]:
        if host[0].isdigit():  # an address, on the way to its connection
            return list(really(host, port, *arguments, **named))
        asked.append(host)
        found = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(webhook_post.socket, "getaddrinfo", resolve)
    return asked


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.5.5", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1", "fe80::1",
     "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1", "168.63.129.16",
     "100.100.100.200"],
)  # fmt: skip
def test_a_name_that_resolves_to_an_address_of_this_network_is_not_reached(
    address: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, [address])
    answer = post(sending("https://hook.example.com/"), allow_private=False)
    assert "not part of the public internet" in str(answer.error)
    assert receiver.taken == []


def test_one_bad_address_among_good_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ["93.184.215.14", "10.0.0.1"])
    answer = post(sending("https://hook.example.com/"), allow_private=False)
    assert "resolves to 10.0.0.1" in str(answer.error)


def test_the_connection_goes_to_the_address_that_was_checked_whatever_the_name_resolves_to_next(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: asked again, the name would lead elsewhere. It is not asked again."""
    port = receiver.url.rpartition(":")[2].partition("/")[0]
    asked = resolving(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    answer = sent(f"http://hook.example.com:{port}/hook")
    assert answer.good
    assert asked.count("hook.example.com") == 1
    assert receiver.taken[0].headers["Host"] == f"hook.example.com:{port}"


def test_another_address_of_the_name_is_tried_where_one_refuses(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = receiver.url.rpartition(":")[2].partition("/")[0]
    resolving(monkeypatch, ["127.0.0.9", "127.0.0.1"])
    assert sent(f"http://hook.example.com:{port}/hook").good


@pytest.mark.parametrize("url", ["http://example.com/", "https://127.0.0.1/", "https://localhost/", "https://[::1]/"])
def test_what_the_text_of_the_address_tells_is_refused_before_anything_is_asked(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolving(monkeypatch, ["93.184.215.14"])
    assert post(sending(url), allow_private=False).status is None
    assert asked == []


def test_a_proxy_of_the_environment_is_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert sent(receiver.url).good
