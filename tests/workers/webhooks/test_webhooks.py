"""From an event to a receiver, over real HTTP: at least once, retried, and by one sender at a time."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import update

from burnish.settings import Settings
from storage import deliveries, outbox, webhooks
from storage.database import Database
from storage.deliveries import PAUSES, Delivery
from storage.tables import deliveries as table
from tests.storage.scene import Clock
from tests.storage.schedule_scene import ScheduleScene
from tests.workers.webhooks.receiver import Answering, Receiver
from workers.webhooks import Sender


class Desk:
    """A database with webhooks, and a sender."""

    def __init__(self, database: Database, url: str, clock: Clock, folder: Path) -> None:
        self.database, self.clock = database, clock
        self._settings = Settings.from_environment(
            {"BURNISH_DATABASE_URL": url, "BURNISH_DATA": str(folder), "BURNISH_WEBHOOK_ALLOW_PRIVATE": "on"}
        )

    def sender(self) -> Sender:
        made = Sender(self._settings)
        made._database.close()
        made._database = self.database  # on the test's clock
        return made

    def send(self) -> int:
        """Sends all that is due."""
        sender = self.sender()
        try:
            return sender.drain()
        finally:
            sender._pool.shutdown()

    def hook(self, url: str, *types: str) -> str:
        with self.database.begin() as tx:
            return webhooks.create(tx, url=url, types=types, description="").id

    def tell(self, type: str = "job.succeeded") -> int:
        with self.database.begin() as tx:
            return outbox.publish(tx, type, {"job": "job_1"})  # type: ignore[arg-type]  # a type by test

    def log(self, hook: str) -> list[Delivery]:
        with self.database.read() as tx:
            return deliveries.list_(tx, hook, after=None, limit=100)

    def webhook(self, hook: str) -> webhooks.Webhook:
        with self.database.read() as tx:
            return webhooks.get(tx, hook)


@pytest.fixture
def desk(database: Database, database_url: str, clock: Clock, tmp_path: Path) -> Desk:
    return Desk(database, database_url, clock, tmp_path)


def test_an_event_is_sent_to_every_webhook_that_wants_it(desk: Desk, receiver: Receiver) -> None:
    every, some, other = (desk.hook(receiver.url, *types) for types in ((), ("job.succeeded",), ("job.failed",)))
    assert desk.tell() == 2
    assert (desk.send(), desk.send()) == (2, 0)
    assert [desk.log(hook)[0].state for hook in (every, some)] == ["delivered", "delivered"]
    assert desk.log(other) == []
    first, second = receiver.taken
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    told = json.loads(first.body)
    assert told == {"type": "job.succeeded", "timestamp": "1970-01-12T13:46:40Z", "data": {"job": "job_1"}}


def test_the_end_of_a_job_is_told_in_its_own_transaction(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    scene = ScheduleScene(desk.database, desk.clock)
    job = scene.made_by()
    scene.end(job.id)
    (delivery,) = desk.log(hook)
    data = json.loads(delivery.payload)["data"]
    assert (delivery.type, data["job"], data["model"], data["state"]) == ("job.failed", job.id, "net:1", "failed")
    assert data["message"] == "It broke."


def test_what_is_taken_back_is_not_told(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)

    def broken() -> None:
        with desk.database.begin() as tx:
            outbox.publish(tx, "job.succeeded", {"job": "job_1"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert desk.log(hook) == []


def test_a_schedule_that_is_skipped_is_told(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url, "schedule.skipped")
    scene = ScheduleScene(desk.database, desk.clock)
    schedule = scene.schedule(kind="remeasure")
    scene.fire(schedule)
    (delivery,) = desk.log(hook)
    assert json.loads(delivery.payload)["data"]["schedule"] == schedule.id


def test_a_failed_attempt_is_made_again_later_and_later(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    receiver.answers = [Answering(500), Answering(503), Answering(200)]
    desk.tell()
    assert desk.send() == 1
    (delivery,) = desk.log(hook)
    pause = delivery.next_at - desk.clock.now
    assert PAUSES[0] <= pause <= 1.2 * PAUSES[0]
    assert desk.webhook(hook).failing_since == desk.clock.now
    assert desk.send() == 0
    for number in (1, 2):
        desk.clock.pass_(1.2 * PAUSES[number - 1])
        assert desk.send() == 1
    (delivery,) = desk.log(hook)
    assert (delivery.state, [each["status"] for each in delivery.log]) == ("delivered", [500, 503, 200])
    assert desk.webhook(hook).failing_since is None
    assert len({taken.headers["webhook-id"] for taken in receiver.taken}) == 1


def test_the_receiver_may_ask_for_a_longer_pause(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    receiver.answers = [Answering(429, {"Retry-After": "900"})]
    desk.tell()
    desk.send()
    assert desk.log(hook)[0].next_at == desk.clock.now + 900


def fail_for_good(desk: Desk) -> None:
    for pause in (*PAUSES, 0.0):
        assert desk.send() >= 1
        desk.clock.pass_(1.2 * pause)


def test_after_the_last_attempt_the_webhook_is_disabled_and_the_others_are_told(desk: Desk, receiver: Receiver) -> None:
    hook, watch = desk.hook(receiver.url, "job.succeeded"), desk.hook(receiver.url, "webhook.disabled")
    receiver.answers = [Answering(500)]
    desk.tell()
    fail_for_good(desk)
    (delivery,) = desk.log(hook)
    assert (delivery.state, len(delivery.log)) == ("failed", 10)
    disabled = desk.webhook(hook)
    assert disabled.state == "disabled"
    assert "10 attempts at one event have failed" in str(disabled.reason)
    assert json.loads(desk.log(watch)[0].payload)["data"]["webhook"] == hook
    assert desk.tell() == 0


def test_a_success_meanwhile_keeps_the_webhook_enabled(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    receiver.answers = [Answering(500)]
    desk.tell()
    for pause in PAUSES:
        desk.send()
        desk.clock.pass_(1.2 * pause)
    receiver.answers = [Answering(200)]
    desk.tell("job.failed")
    with desk.database.begin() as tx:
        newest = deliveries.list_(tx, hook, after=None, limit=1)[0]
        tx.execute(update(table).where(table.c.id != newest.id).values(next_at=desk.clock.now + 1))
    assert desk.send() == 1
    receiver.answers = [Answering(500)]
    desk.clock.pass_(2)
    assert desk.send() == 1
    assert [each.state for each in desk.log(hook)] == ["delivered", "failed"]
    assert desk.webhook(hook).state == "enabled"


def test_one_that_says_it_is_gone_is_disabled_at_once(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    receiver.answers = [Answering(410)]
    desk.tell()
    desk.send()
    assert (desk.log(hook)[0].state, desk.webhook(hook).state) == ("failed", "disabled")


def test_a_disabled_webhook_is_sent_nothing_until_it_is_enabled(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    desk.tell()
    with desk.database.begin() as tx:
        webhooks.change(tx, hook, enabled=False)
    assert (desk.send(), desk.tell()) == (0, 0)
    with desk.database.begin() as tx:
        enabled = webhooks.change(tx, hook, enabled=True)
    assert (enabled.state, enabled.reason) == ("enabled", None)
    assert desk.send() == 1


def test_a_redelivery_is_the_same_event_once_more(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    desk.tell()
    desk.send()
    (first,) = desk.log(hook)
    with desk.database.begin() as tx:
        again = deliveries.redeliver(tx, hook, first.id)
    assert (again.id != first.id, again.redelivery, again.event_id) == (True, True, first.event_id)
    assert desk.send() == 1
    assert receiver.taken[0].body == receiver.taken[1].body


def test_a_sender_that_died_leaves_its_delivery_to_another(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    desk.tell()
    with desk.database.begin() as tx:
        lost = deliveries.claim(tx, hook)
    assert lost is not None
    assert desk.send() == 0
    desk.clock.pass_(deliveries.LEASE)
    assert desk.send() == 1
    with desk.database.begin() as tx:  # it was only frozen: what it has to say counts no more
        answer = deliveries.Answer(status=500, error="It was answered with 500.", seconds=1.0)
        assert not deliveries.finish(tx, lost, answer)
    assert desk.log(hook)[0].state == "delivered"


def test_of_many_senders_at_once_one_sends_each_event(desk: Desk, receiver: Receiver) -> None:
    hooks = [desk.hook(receiver.url) for _ in range(3)]
    for _ in range(4):
        desk.tell()
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda _: desk.send(), range(4)))
    rest = desk.send()
    assert sum(counts) + rest == 12
    assert len(receiver.taken) == 12
    assert all(each.state == "delivered" for hook in hooks for each in desk.log(hook))


def test_a_webhook_that_is_deleted_takes_its_deliveries_along(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    desk.tell()
    with desk.database.begin() as tx:
        claimed = deliveries.claim(tx, hook)
        webhooks.remove(tx, hook)
    assert claimed is not None
    assert desk.log(hook) == []
    with desk.database.begin() as tx:
        assert not deliveries.finish(tx, claimed, deliveries.Answer(status=200, error=None, seconds=1.0))
    assert desk.send() == 0


def test_old_deliveries_that_have_ended_are_pruned(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    desk.tell()
    desk.send()
    receiver.answers = [Answering(500)]
    desk.clock.pass_(10)
    desk.tell()
    desk.send()
    with desk.database.begin() as tx:
        assert deliveries.prune(tx, desk.clock.now - 1) == 1
    assert [each.state for each in desk.log(hook)] == ["pending"]


def test_the_thread_of_the_tick_sends_by_itself(
    desk: Desk, database_url: str, receiver: Receiver, tmp_path: Path
) -> None:
    desk.hook(receiver.url)
    desk.tell()
    sender = desk.sender()
    sender._database = Database(database_url)
    sender.start()
    until = time.monotonic() + 20
    while not receiver.taken and time.monotonic() < until:
        time.sleep(0.02)
    sender.stop()
    assert len(receiver.taken) == 1
