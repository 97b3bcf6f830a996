"""A key submits once: the same answer again, to the byte, from every process and for ever."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from payins.intents import intents
from schemas.lifecycle import EventType
from tests.model_psp import Fault
from tests.payins_world import World
from tests.service_world import ApiWorld, body, events_of, key

INIT = {
    "user_id": "b-3",
    "merchant_id": "s-7",
    "amount": "25.00",
    "currency": "EUR",
    "card_token": "ok",
}


def within(work: Callable[[ApiWorld, ApiWorld], Coroutine[Any, Any, Any]]) -> Any:
    """Run a test's work with two processes that share PostgreSQL and the processor."""
    world = World()
    one, two = ApiWorld(world), ApiWorld(world)
    try:
        return asyncio.run(work(one, two))
    finally:
        one.close()
        two.close()


async def post(
    world: ApiWorld, path: str, content: Any = None, subject: str = "shop", **headers: str
) -> Any:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with world.client(subject=subject) as client:
        return await client.post(path, json={} if content is None else content, headers=given)


def same(first: Any, again: Any) -> bool:
    kept = ("content-type", "location", "preference-applied")
    return (
        (first.status_code, first.content) == (again.status_code, again.content)
        and [first.headers.get(name) for name in kept] == [again.headers.get(name) for name in kept]
        and "idempotent-replayed" not in first.headers
        and again.headers.get("idempotent-replayed") == "true"
    )


@pytest.mark.parametrize(
    ("token", "status"),
    [("ok", 201), ("declined", 402), ("action", 201), ("processing", 202), ("decline", 402)],
)
def test_a_create_is_answered_the_same_by_every_process(token: str, status: int) -> None:
    async def work(one: ApiWorld, two: ApiWorld) -> None:
        first = await post(one, "/v1/payments", body(payment_token=token), **key("k"))
        if first.status_code != status:  # a token that the model does not know
            assert token not in ("ok", "declined"), first.text
        for world in (one, two):
            again = await post(world, "/v1/payments", body(payment_token=token), **key("k"))
            assert same(first, again), (first.text, again.text)
        assert one.world.psp.calls.count("charge") == 1

    within(work)


def test_the_answer_given_first_is_repeated_after_the_payment_has_moved_on() -> None:
    async def work(one: ApiWorld, two: ApiWorld) -> None:
        first = await post(one, "/v1/payments", body(), **key("k"))
        path = f"/v1/payments/{first.json()['id']}"
        await post(one, f"{path}/refunds", {"amount_minor": 500}, **key())
        await post(one, f"{path}/ship", **key())
        assert same(first, await post(two, "/v1/payments", body(), **key("k")))
        async with two.client() as client:
            now = (await client.get(path)).json()
        assert now["refunded_minor"] == 500

    within(work)


def test_an_unknown_outcome_stays_the_answer_also_once_it_is_known() -> None:
    async def work(one: ApiWorld, two: ApiWorld) -> None:
        faults = [Fault.LOST_AFTER]
        one.world.psp.faults = lambda _operation: faults.pop() if faults else None
        first = await post(one, "/v1/payments", body(), **key("k"))
        assert (first.status_code, first.json()["status"]) == (202, "unknown")
        [charge] = one.world.psp.charges.values()
        await one.payins.observe(charge)
        assert same(first, await post(two, "/v1/payments", body(), **key("k")))
        async with two.client() as client:
            now = (await client.get(first.headers["location"])).json()
        assert now["status"] == "captured"

    within(work)


def test_a_declined_payments_problem_names_the_request_as_such() -> None:
    async def work(one: ApiWorld, two: ApiWorld) -> None:
        content = body(payment_token="declined")
        first = await post(one, "/v1/payments", content, **key("k"))
        assert first.headers["x-request-id"] == first.json()["request_id"]
        again = await post(two, "/v1/payments", content, **key("k"), X_Request_Id="mine")
        assert same(first, again)
        assert again.headers["x-request-id"] == "mine"

    within(work)


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"amount_minor": 2600}, ["/orders/0/amount_minor"]),
        ({"buyer_id": "b-4"}, ["/buyer_id"]),
        ({"currency": "USD", "method": "debit_card"}, ["/currency", "/method"]),
        ({"payment_token": "declined"}, ["/payment_token"]),
        ({"capture": "manual"}, ["/capture"]),
        ({"metadata": {"a": "b"}}, ["/metadata"]),
        ({"device_fingerprint": "f"}, ["/device_fingerprint"]),
        ({"return_url": "https://shop.example/"}, ["/return_url"]),
    ],
)
def test_another_request_under_a_used_key_is_refused(
    change: dict[str, Any], fields: list[str]
) -> None:
    async def work(one: ApiWorld, two: ApiWorld) -> None:
        await post(one, "/v1/payments", body(), **key("k"))
        answer = await post(two, "/v1/payments", body(**change), **key("k"))
        found = answer.json()
        assert (answer.status_code, found["code"]) == (422, "idempotency_conflict")
        assert sorted(found["differing_fields"]) == fields

    within(work)


def test_a_key_belongs_to_its_caller() -> None:
    async def work(one: ApiWorld, _two: ApiWorld) -> None:
        mine = await post(one, "/v1/payments", body(), subject="one", **key("k"))
        yours = await post(one, "/v1/payments", body(buyer_id="b-9"), subject="two", **key("k"))
        assert (mine.status_code, yours.status_code) == (201, 201)
        assert mine.json()["id"] != yours.json()["id"]

    within(work)


def test_a_key_of_one_operation_is_free_for_another() -> None:
    async def work(one: ApiWorld, _two: ApiWorld) -> None:
        path = f"/v1/payments/{(await post(one, '/v1/payments', body(), **key('k'))).json()['id']}"
        answers = [
            await post(one, f"{path}/{each}", **key("k")) for each in ("ship", "deliver", "refunds")
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 201]

    within(work)


@pytest.mark.parametrize(
    ("operation", "content", "other", "fields"),
    [
        ("refunds", {"amount_minor": 500}, {"amount_minor": 600}, ["/amount_minor"]),
        ("refunds", {}, {"reason": "damaged"}, ["/reason"]),
        ("ship", {}, {"order_id": "o-1"}, ["/order_id"]),
        ("deliver", {}, {"order_id": "o-1"}, ["/order_id"]),
    ],
)
def test_a_change_is_made_once(
    operation: str, content: dict[str, Any], other: dict[str, Any], fields: list[str]
) -> None:
    async def work(one: ApiWorld, two: ApiWorld) -> None:
        path = f"/v1/payments/{(await one.paid())['id']}/{operation}"
        if operation == "deliver":
            await post(one, path.replace("deliver", "ship"), **key())
        first = await post(one, path, content, **key("k"))
        assert first.status_code in (200, 201), first.text
        assert same(first, await post(two, path, content, **key("k")))
        conflict = await post(two, path, other, **key("k"))
        assert conflict.status_code == 422, conflict.text
        assert conflict.json()["differing_fields"] == fields

    within(work)


@pytest.mark.parametrize("operation", ["capture", "cancel"])
def test_a_change_of_an_authorized_payment_is_made_once(operation: str) -> None:
    async def work(one: ApiWorld, two: ApiWorld) -> None:
        path = f"/v1/payments/{(await one.paid(capture='manual'))['id']}/{operation}"
        first = await post(one, path, **key("k"))
        assert first.status_code == 200, first.text
        assert same(first, await post(two, path, **key("k")))
        assert one.world.psp.calls.count(operation) == 1

    within(work)


def test_a_payment_is_captured_in_several_parts() -> None:
    async def work(one: ApiWorld, two: ApiWorld) -> None:
        path = f"/v1/payments/{(await one.paid(capture='manual'))['id']}/capture"
        first = await post(one, path, {"amount_minor": 1000}, **key("a"))
        assert (first.status_code, first.json()["captured_minor"]) == (200, 1000)
        second = await post(two, path, {"amount_minor": 500}, **key("b"))
        assert (second.status_code, second.json()["captured_minor"]) == (200, 1500)
        rest = await post(one, path, **key("c"))
        assert (rest.status_code, rest.json()["captured_minor"]) == (200, 2500)
        assert same(first, await post(two, path, {"amount_minor": 1000}, **key("a")))
        over = await post(one, path, **key("d"))
        assert (over.status_code, over.json()["code"]) == (409, "nothing_left")

    within(work)


def test_a_final_capture_gives_back_the_rest() -> None:
    async def work(one: ApiWorld, two: ApiWorld) -> None:
        path = f"/v1/payments/{(await one.paid(capture='manual'))['id']}/capture"
        content = {"amount_minor": 1000, "final": True}
        first = await post(one, path, content, **key("a"))
        assert (first.status_code, first.json()["captured_minor"]) == (200, 1000)
        assert [each.status for each in one.world.psp.charges.values()] == ["captured"]
        assert same(first, await post(two, path, content, **key("a")))
        other = await post(two, path, {"amount_minor": 1000, "final": False}, **key("a"))
        assert (other.status_code, other.json()["differing_fields"]) == (422, ["/final"])
        more = await post(two, path, {"amount_minor": 1}, **key("b"))
        assert (more.status_code, more.json()["code"]) == (409, "capture_failed")

    within(work)


def test_a_cancellation_that_comes_too_late_is_answered_the_same_for_ever() -> None:
    async def work(one: ApiWorld, _two: ApiWorld) -> None:
        path = f"/v1/payments/{(await one.paid(capture='manual'))['id']}"
        await post(one, f"{path}/capture", **key())
        late = await post(one, f"{path}/cancel", **key("k"))
        assert late.status_code == 409, late.text

    within(work)


def test_many_at_once_charge_once() -> None:
    async def work(one: ApiWorld, two: ApiWorld) -> None:
        answers = await asyncio.gather(
            *(post(world, "/v1/payments", body(), **key("k")) for world in (one, two) * 20)
        )
        statuses = {answer.status_code for answer in answers}
        assert statuses <= {201, 409}
        assert 201 in statuses
        for answer in answers:
            if answer.status_code == 409:
                assert answer.json()["code"] == "request_in_flight"
                assert int(answer.headers["retry-after"]) >= 1
        assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
        assert one.world.psp.calls.count("charge") == 1

    within(work)


def test_refunds_at_once_never_exceed_what_was_taken() -> None:
    async def work(one: ApiWorld, two: ApiWorld) -> None:
        payment_id = (await one.paid())["id"]
        path = f"/v1/payments/{payment_id}/refunds"
        answers = await asyncio.gather(
            *(post(world, path, {"amount_minor": 1000}, **key()) for world in (one, two) * 5)
        )
        assert [answer.status_code for answer in answers].count(201) == 2
        asked = [
            event.amount_minor
            for event in events_of(one.world, payment_id)
            if event.event_type is EventType.REFUND_REQUESTED
        ]
        assert sum(asked) == 2000

    within(work)


def test_whoever_prefers_not_to_wait_gets_202_each_time() -> None:
    async def work(one: ApiWorld, two: ApiWorld) -> None:
        first = await post(one, "/v1/payments", body(), **key("k"), Prefer="respond-async")
        assert (first.status_code, first.json()["status"]) == (202, "created")
        assert first.headers["preference-applied"] == "respond-async"
        assert first.headers["location"] == f"/v1/payments/{first.json()['id']}"
        assert one.world.psp.calls == []
        again = await post(
            two, "/v1/payments", body(), **key("k"), Prefer="wait=5, Respond-Async; foo"
        )
        assert same(first, again)
        waiting = await post(two, "/v1/payments", body(), **key("k"))
        assert (waiting.status_code, waiting.json()["code"]) == (409, "request_in_flight")
        # The worker takes it up; each form of the question keeps its answer.
        events = events_of(one.world, first.json()["id"])
        [intent] = intents(events)
        await one.payins.carry_out.run(events, intent, is_alone=lambda: False)
        outcome = await post(two, "/v1/payments", body(), **key("k"))
        assert (outcome.status_code, outcome.json()["status"]) == (201, "captured")
        later = await post(one, "/v1/payments", body(), **key("k"), Prefer="respond-async")
        assert same(first, later)

    within(work)


# -- the older names


def test_init_takes_its_key_from_anywhere_or_issues_one() -> None:
    async def work(one: ApiWorld, two: ApiWorld) -> None:
        first = await post(one, "/payments/init", INIT, **key("k"))
        assert first.json() == {
            "tx_id": first.json()["tx_id"],
            "idempotency_key": "k",
            "status": "created",
        }
        again = await post(two, "/payments/init", INIT | {"idempotency_key": "k"})
        assert (again.content, again.status_code) == (first.content, 201)
        issued = await post(two, "/payments/init", INIT)
        assert issued.json()["tx_id"] != first.json()["tx_id"]
        repeated = INIT | {"idempotency_key": issued.json()["idempotency_key"]}
        assert same(issued, await post(one, "/payments/init", repeated))
        both = await post(one, "/payments/init", repeated, **key("other"))
        assert (both.status_code, both.json()["field"]) == (422, "/idempotency_key")
        assert one.world.psp.calls == []

    within(work)


@pytest.mark.parametrize("malformed", ["", " ", "ключ", "tab\t", "k" * 256])
def test_init_checks_the_key_in_its_body_as_one_in_the_header(malformed: str) -> None:
    async def work(one: ApiWorld, _two: ApiWorld) -> None:
        answer = await post(one, "/payments/init", INIT | {"idempotency_key": malformed})
        assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_malformed")

    within(work)


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"amount": "25.01"}, ["/amount"]),
        ({"user_id": "b-4"}, ["/user_id"]),
        ({"merchant_id": "s-8"}, ["/merchant_id"]),
        ({"card_token": "other"}, ["/card_token"]),
    ],
)
def test_a_conflict_of_init_is_named_in_its_own_words(
    change: dict[str, str], fields: list[str]
) -> None:
    async def work(one: ApiWorld, _two: ApiWorld) -> None:
        await post(one, "/payments/init", INIT, **key("k"))
        answer = await post(one, "/payments/init", INIT | change, **key("k"))
        assert (answer.status_code, answer.json()["differing_fields"]) == (422, fields)

    within(work)


def test_confirm_charges_once_whatever_the_key() -> None:
    async def work(one: ApiWorld, two: ApiWorld) -> None:
        tx_id = (await post(one, "/payments/init", INIT)).json()["tx_id"]
        content = {"tx_id": tx_id, "payment_method": "debit_card"}
        first = await post(one, "/payments/confirm", content)
        assert (first.status_code, first.json()["status"]) == (200, "captured")
        assert (first.json()["tx_id"], first.json()["method"]) == (tx_id, "debit_card")
        assert same(first, await post(two, "/payments/confirm", content))
        assert same(first, await post(two, "/payments/confirm", content, **key("any")))
        other = await post(two, "/payments/confirm", content | {"payment_method": "card"})
        assert (other.status_code, other.json()["differing_fields"]) == (422, ["/payment_method"])
        assert one.world.psp.calls.count("charge") == 1

    within(work)


@pytest.mark.parametrize("older", [True, False])
def test_another_confirmation_is_told_to_create_another_payment(older: bool) -> None:
    """A new key does not help: a payment is confirmed once, whatever the key."""

    async def work(one: ApiWorld, two: ApiWorld) -> None:
        tx_id = (await post(one, "/payments/init", INIT)).json()["tx_id"]
        if older:
            path, fields = "/payments/confirm", ["/payment_method"]
            contents = [{"tx_id": tx_id, "payment_method": each} for each in ("card", "declined")]
        else:
            path = f"/v1/payments/{tx_id}/confirm"
            fields = ["/method", "/payment_token"]
            contents = [{"method": "card"}, {"payment_token": "declined"}]
        await post(one, path, contents[0], **key())
        answer = await post(two, path, contents[1], **key())
        found = answer.json()
        assert (answer.status_code, found["code"]) == (422, "idempotency_conflict")
        assert sorted(found["differing_fields"]) == fields
        assert "create another payment" in found["detail"]
        assert "key" not in found["detail"]

    within(work)


def test_a_declined_confirmation_is_the_same_whatever_the_key() -> None:
    async def work(one: ApiWorld, two: ApiWorld) -> None:
        init = INIT | {"card_token": "declined"}
        tx_id = (await post(one, "/payments/init", init)).json()["tx_id"]
        content = {"tx_id": tx_id, "payment_method": "card"}
        first = await post(one, "/payments/confirm", content)
        assert (first.status_code, first.json()["code"]) == (402, "payment_declined")
        assert first.json()["request_id"] == first.headers["x-request-id"]
        assert same(first, await post(two, "/payments/confirm", content, **key("k")))
        assert same(first, await post(two, "/payments/confirm", content, **key("k")))

    within(work)


def test_the_amount_of_init_is_in_major_units() -> None:
    async def work(one: ApiWorld, _two: ApiWorld) -> None:
        for amount, currency, minor in (("25.5", "EUR", 2550), ("300", "JPY", 300),
                                        ("1.234", "KWD", 1234), ("7.00", "JPY", 7)):  # fmt: skip
            given = INIT | {"amount": amount, "currency": currency}
            tx_id = (await post(one, "/payments/init", given)).json()["tx_id"]
            assert events_of(one.world, tx_id)[0].amount_minor == minor

    within(work)
