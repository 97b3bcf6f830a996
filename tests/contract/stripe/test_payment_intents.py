"""The official SDK pays at the simulator: intents, charges, declines, 3-D Secure, search."""

import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import stripe

from tests.simulator import KEY, Simulator


def paying(token: str = "pm_card_visa", amount: int = 2500, **more: Any) -> Any:
    """The parameters of a payment that is confirmed at once."""
    return {
        "amount": amount,
        "currency": "eur",
        "payment_method": token,
        "confirm": True,
        "payment_method_types": ["card"],
        **more,
    }


def test_a_card_pays_and_the_answer_expands_down_to_the_fee(client: stripe.StripeClient) -> None:
    paid = client.v1.payment_intents.create(
        paying(expand=["latest_charge.balance_transaction", "payment_method"])
    )
    assert (paid.status, paid.amount_received, paid.id[:3]) == ("succeeded", 2500, "pi_")
    charge: Any = paid.latest_charge
    assert (charge.id[:3], charge.captured, charge.amount_captured) == ("ch_", True, 2500)
    transaction = charge.balance_transaction
    assert (transaction.amount, transaction.fee) == (2500, 103)
    assert transaction.net == transaction.amount - transaction.fee
    assert transaction.status == "pending"
    method: Any = paid.payment_method
    assert (method.card.brand, method.card.last4) == ("visa", "4242")


def test_confirm_is_a_step_of_its_own(client: stripe.StripeClient) -> None:
    intent = client.v1.payment_intents.create({"amount": 700, "currency": "eur"})
    assert intent.status == "requires_payment_method"
    assert set(intent.to_dict()) == set(client.v1.payment_intents.create(paying()).to_dict())
    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method") as caught:
        client.v1.payment_intents.confirm(intent.id)
    assert caught.value.code == "payment_intent_unexpected_state"
    intent = client.v1.payment_intents.update(intent.id, {"payment_method": "pm_card_mastercard"})
    assert intent.status == "requires_confirmation"
    intent = client.v1.payment_intents.confirm(intent.id)
    assert intent.status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError, match="has a status of succeeded") as caught:
        client.v1.payment_intents.confirm(intent.id)
    error: Any = caught.value.error
    assert error.payment_intent["id"] == intent.id


@pytest.mark.parametrize(
    ("token", "code", "decline_code"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("pm_card_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
        (
            "pm_card_chargeDeclinedVelocityLimitExceeded",
            "card_declined",
            "card_velocity_exceeded",
        ),
        ("pm_card_radarBlock", "card_declined", "fraudulent"),
    ],
)
def test_declines_have_stripes_codes_and_leave_the_intent_open(
    client: stripe.StripeClient, token: str, code: str, decline_code: str
) -> None:
    with pytest.raises(stripe.CardError) as caught:
        client.v1.payment_intents.create(paying(token))
    error: Any = caught.value.error
    assert (caught.value.http_status, error.type) == (402, "card_error")
    assert (error.code, error.decline_code) == (code, decline_code)
    assert error.doc_url.endswith(code.replace("_", "-"))
    intent = client.v1.payment_intents.retrieve(
        error.payment_intent["id"], {"expand": ["latest_charge"]}
    )
    assert intent.status == "requires_payment_method"
    last: Any = intent.last_payment_error
    charge: Any = intent.latest_charge
    assert (last.code, last.decline_code, last.charge) == (code, decline_code, charge.id)
    assert (charge.status, charge.failure_code, charge.paid) == ("failed", code, False)
    paid = client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert paid.status == "succeeded"


def test_manual_capture_of_a_part_releases_the_rest(client: stripe.StripeClient) -> None:
    intent = client.v1.payment_intents.create(paying(capture_method="manual"))
    assert (intent.status, intent.amount_capturable) == ("requires_capture", 2500)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.payment_intents.capture(intent.id, {"amount_to_capture": 2501})
    assert (caught.value.code, caught.value.param) == ("amount_too_large", "amount_to_capture")
    intent = client.v1.payment_intents.capture(intent.id, {"amount_to_capture": 1000})
    assert (intent.status, intent.amount_received, intent.amount_capturable) == (
        "succeeded",
        1000,
        0,
    )
    charge = str(intent.latest_charge)
    booked = client.v1.balance_transactions.list({"source": charge}).data
    assert [(each.type, each.amount) for each in reversed(booked)] == [
        ("charge", 2500),
        ("refund", -1500),
    ]
    assert booked[0].reporting_category == "partial_capture_reversal"


def test_several_captures_of_one_authorization(client: stripe.StripeClient) -> None:
    options = {"card": {"request_multicapture": "if_available"}}
    intent = client.v1.payment_intents.create(
        paying(capture_method="manual", payment_method_options=options)
    )
    for amount, received in ((500, 500), (700, 1200)):
        intent = client.v1.payment_intents.capture(
            intent.id, {"amount_to_capture": amount, "final_capture": False}
        )
        assert (intent.status, intent.amount_received) == ("requires_capture", received)
    intent = client.v1.payment_intents.capture(intent.id, {"amount_to_capture": 300})
    assert (intent.status, intent.amount_received) == ("succeeded", 1500)
    booked = client.v1.balance_transactions.list({"source": str(intent.latest_charge)}).data
    assert [each.amount for each in reversed(booked)] == [500, 700, 300]


def test_final_capture_false_needs_multicapture(client: stripe.StripeClient) -> None:
    intent = client.v1.payment_intents.create(paying(capture_method="manual"))
    with pytest.raises(stripe.InvalidRequestError, match="multicapture is not available"):
        client.v1.payment_intents.capture(
            intent.id, {"amount_to_capture": 1, "final_capture": False}
        )


def test_cancel_of_what_is_left_of_several_captures_keeps_the_captured_part(
    client: stripe.StripeClient,
) -> None:
    options = {"card": {"request_multicapture": "if_available"}}
    intent = client.v1.payment_intents.create(
        paying(capture_method="manual", payment_method_options=options)
    )
    client.v1.payment_intents.capture(intent.id, {"amount_to_capture": 500, "final_capture": False})
    ended = client.v1.payment_intents.cancel(intent.id)
    assert (ended.status, ended.amount_received, ended.amount_capturable) == ("succeeded", 500, 0)


def test_partial_authorization_only_for_those_who_ask(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.CardError) as caught:
        client.v1.payment_intents.create(paying("pm_card_partialAuthorization"))
    assert caught.value.error is not None
    assert caught.value.error.decline_code == "insufficient_funds"
    options = {"card": {"request_partial_authorization": "if_available"}}
    intent = client.v1.payment_intents.create(
        paying(
            "pm_card_partialAuthorization",
            capture_method="manual",
            payment_method_options=options,
            expand=["latest_charge"],
        )
    )
    charge: Any = intent.latest_charge
    assert (intent.amount, intent.amount_capturable, charge.amount) == (2500, 1250, 1250)
    assert charge.payment_method_details.card.amount_authorized == 1250


def test_cancel_is_for_states_that_took_no_money(client: stripe.StripeClient) -> None:
    held = client.v1.payment_intents.create(paying(capture_method="manual"))
    ended = client.v1.payment_intents.cancel(held.id, {"cancellation_reason": "duplicate"})
    assert (ended.status, ended.cancellation_reason) == ("canceled", "duplicate")
    assert ended.canceled_at is not None
    paid = client.v1.payment_intents.create(paying())
    with pytest.raises(stripe.InvalidRequestError, match="cannot cancel this PaymentIntent"):
        client.v1.payment_intents.cancel(paid.id)


def secured(client: stripe.StripeClient, token: str, **more: Any) -> stripe.PaymentIntent:
    intent = client.v1.payment_intents.create(
        paying(token, return_url="https://shop.example/thanks?order=7", **more)
    )
    assert intent.status == "requires_action"
    return intent


def press(intent: stripe.PaymentIntent, decision: str) -> dict[str, list[str]]:
    """Press a button of the page of 3-D Secure as a browser does; where it leads."""
    action: Any = intent.next_action
    assert action.type == "redirect_to_url"
    url = action.redirect_to_url.url
    page = httpx.get(url)
    assert page.status_code == 200
    assert f'value="{decision}"' in page.text
    assert "<script" not in page.text
    answer = httpx.post(url, data={"decision": decision})
    assert answer.status_code == 303
    left = urlsplit(answer.headers["Location"])
    assert (left.hostname, left.path) == ("shop.example", "/thanks")
    return parse_qs(left.query)


@pytest.mark.parametrize(
    "token", ["pm_card_authenticationRequired", "pm_card_threeDSecure2Required"]
)
def test_three_d_secure_is_completed_on_a_page(client: stripe.StripeClient, token: str) -> None:
    intent = secured(client, token)
    query = press(intent, "complete")
    assert query["order"] == ["7"]
    assert query["payment_intent"] == [intent.id]
    assert query["payment_intent_client_secret"] == [intent.client_secret]
    assert query["redirect_status"] == ["succeeded"]
    done = client.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    assert done.status == "succeeded"
    charge: Any = done.latest_charge
    assert charge.payment_method_details.card.three_d_secure.result == "authenticated"
    action: Any = intent.next_action
    assert httpx.get(action.redirect_to_url.url).status_code == 404


def test_three_d_secure_that_fails(client: stripe.StripeClient) -> None:
    intent = secured(client, "pm_card_authenticationRequired")
    assert press(intent, "fail")["redirect_status"] == ["failed"]
    failed = client.v1.payment_intents.retrieve(intent.id)
    assert failed.status == "requires_payment_method"
    error: Any = failed.last_payment_error
    assert error.code == "payment_intent_authentication_failure"


def test_three_d_secure_then_declined(client: stripe.StripeClient) -> None:
    intent = secured(client, "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds")
    assert press(intent, "complete")["redirect_status"] == ["failed"]
    error: Any = client.v1.payment_intents.retrieve(intent.id).last_payment_error
    assert error.decline_code == "insufficient_funds"


def test_nobody_authenticates_without_the_pages_secret(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    intent = secured(client, "pm_card_authenticationRequired")
    url = f"{simulator.url}/3ds/{intent.id}?secret=guess"
    assert httpx.get(url).status_code == 404
    assert httpx.post(url, data={"decision": "complete"}).status_code == 404
    assert client.v1.payment_intents.retrieve(intent.id).status == "requires_action"


def test_off_session_is_declined_where_it_needs_authentication(
    client: stripe.StripeClient,
) -> None:
    with pytest.raises(stripe.CardError) as caught:
        client.v1.payment_intents.create(paying("pm_card_authenticationRequired", off_session=True))
    assert caught.value.code == "authentication_required"


def test_bank_transfers_stay_processing_for_days(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    def debited(token: str) -> stripe.PaymentIntent:
        return client.v1.payment_intents.create(
            paying(token, currency="usd", payment_method_types=["us_bank_account"])
        )

    good = debited("pm_usBankAccount_success")
    bad = debited("pm_usBankAccount_insufficientFunds")
    stuck = debited("pm_usBankAccount_processing")
    assert {each.status for each in (good, bad, stuck)} == {"processing"}
    simulator.advance(3 * 86_400)
    assert client.v1.payment_intents.retrieve(good.id).status == "processing"
    simulator.advance(86_400)
    paid = client.v1.payment_intents.retrieve(good.id, {"expand": ["latest_charge"]})
    charge: Any = paid.latest_charge
    assert (paid.status, charge.id[:3], charge.status) == ("succeeded", "py_", "succeeded")
    failed = client.v1.payment_intents.retrieve(bad.id)
    error: Any = failed.last_payment_error
    assert (failed.status, error.decline_code) == ("requires_payment_method", "insufficient_funds")
    assert client.v1.payment_intents.cancel(stuck.id).status == "canceled"


def test_a_bank_account_of_another_currency_is_refused(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.payment_intents.create(
            paying("pm_usBankAccount_success", payment_method_types=["us_bank_account"])
        )
    assert caught.value.param == "currency"


def test_an_authorization_expires_after_a_week(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    held = client.v1.payment_intents.create(paying(capture_method="manual"))
    simulator.advance(7 * 86_400 - 60)
    assert client.v1.payment_intents.retrieve(held.id).status == "requires_capture"
    simulator.advance(120)
    ended = client.v1.payment_intents.retrieve(held.id)
    assert (ended.status, ended.cancellation_reason) == ("canceled", "automatic")


def test_search_finds_by_our_id_and_pages(client: stripe.StripeClient) -> None:
    ours = str(uuid.uuid4())
    made = [
        client.v1.payment_intents.create(paying(metadata={"purser_payment_id": ours})).id
        for _ in range(3)
    ]
    client.v1.payment_intents.create(paying(metadata={"purser_payment_id": "another"}))
    query = f"metadata['purser_payment_id']:'{ours}'"
    first = client.v1.payment_intents.search({"query": query, "limit": 2})
    assert [each.id for each in first.data] == [made[2], made[1]]
    assert first.has_more
    assert first.next_page
    rest = client.v1.payment_intents.search({"query": query, "page": str(first.next_page)})
    assert [each.id for each in rest.data] == [made[0]]
    assert not rest.has_more
    both = client.v1.payment_intents.search(
        {"query": f"{query} AND status:'succeeded' AND amount>2499"}
    )
    assert len(both.data) == 3
    assert client.v1.payment_intents.search({"query": f"{query} AND status:'canceled'"}).data == []
    assert [each.id for each in first.auto_paging_iter()] == made[::-1]


def test_metadata_is_merged_and_found_as_it_now_is(client: stripe.StripeClient) -> None:
    mark = str(uuid.uuid4())
    intent = client.v1.payment_intents.create(
        {"amount": 500, "currency": "eur", "metadata": {"mark": mark, "old": "1"}}
    )
    intent = client.v1.payment_intents.update(intent.id, {"metadata": {"new": "2", "old": ""}})
    assert intent.metadata.to_dict() == {"mark": mark, "new": "2"}
    query = f"metadata['mark']:'{mark}' AND metadata['old']:null AND metadata['new']:'2'"
    assert [each.id for each in client.v1.payment_intents.search({"query": query}).data] == [
        intent.id
    ]
    intent = client.v1.payment_intents.update(intent.id, {"metadata": ""})
    assert intent.metadata.to_dict() == {}
    assert client.v1.payment_intents.search({"query": f"metadata['mark']:'{mark}'"}).data == []


def test_lists_page_in_both_directions(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({"email": "buyer@example.com"}).id
    made = [
        client.v1.payment_intents.create(
            {"amount": 500 + number, "currency": "eur", "customer": customer}
        ).id
        for number in range(5)
    ][::-1]

    def page(**given: Any) -> tuple[list[str], bool]:
        asked: Any = {"customer": customer, **given}
        answer = client.v1.payment_intents.list(asked)
        return [each.id for each in answer.data], answer.has_more

    assert page() == (made, False)
    assert page(limit=2) == (made[:2], True)
    assert page(limit=2, starting_after=made[1]) == (made[2:4], True)
    assert page(limit=2, starting_after=made[3]) == (made[4:], False)
    assert page(limit=2, ending_before=made[4]) == (made[2:4], True)
    assert page(limit=2, ending_before=made[1]) == (made[:1], False)
    created = client.v1.payment_intents.retrieve(made[0]).created
    assert page(created={"gte": created - 600}) == (made, False)
    assert page(created={"lt": created - 600}) == ([], False)
    assert page(created={"gt": created}) == ([], False)
    assert page(created={"gte": created})[0][:1] == made[:1]
    assert page(created={"lte": created}) == (made, False)
    assert made[0] not in page(created={"lt": created})[0]
    assert made[0] in page(created=created)[0]
    listed = client.v1.payment_intents.list({"customer": customer, "limit": 2})
    assert [each.id for each in listed.auto_paging_iter()] == made


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"currency": "eur"}, "parameter_missing", "amount"),
        ({"amount": 1000}, "parameter_missing", "currency"),
        ({"amount": "ten", "currency": "eur"}, "parameter_invalid_integer", "amount"),
        ({"amount": 0, "currency": "eur"}, "parameter_invalid_integer", "amount"),
        ({"amount": 49, "currency": "eur"}, "amount_too_small", "amount"),
        ({"amount": 100_000_000, "currency": "eur"}, "amount_too_large", "amount"),
        ({"amount": 1001, "currency": "kwd"}, "parameter_invalid_integer", "amount"),
        ({"amount": 150, "currency": "isk"}, "parameter_invalid_integer", "amount"),
        ({"amount": 49, "currency": "jpy"}, "amount_too_small", "amount"),
        ({"amount": 500, "currency": "xxx"}, None, "currency"),
        ({"amount": 500, "currency": "eur", "colour": "red"}, "parameter_unknown", "colour"),
        ({"amount": 500, "currency": "eur", "confirm": "yes"}, None, "confirm"),
        ({"amount": 500, "currency": "eur", "capture_method": "later"}, None, "capture_method"),
        (
            {"amount": 500, "currency": "eur", "payment_method": "pm_card_none"},
            "resource_missing",
            "payment_method",
        ),
        ({"amount": 500, "currency": "eur", "customer": "cus_9"}, "resource_missing", "customer"),
        ({"amount": 500, "currency": "eur", "return_url": "https://x.example"}, None, "return_url"),
        (
            {"amount": 500, "currency": "eur", "metadata": {"k" * 41: "v"}},
            None,
            f"metadata[{'k' * 41}]",
        ),
    ],
)
def test_bad_parameters_are_named(
    client: stripe.StripeClient, params: Any, code: str | None, param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.payment_intents.create(params)
    assert (caught.value.http_status, caught.value.code, caught.value.param) == (400, code, param)


@pytest.mark.parametrize(
    ("ask", "param"),
    [
        (lambda client: client.v1.payment_intents.retrieve("pi_none"), "intent"),
        (lambda client: client.v1.charges.retrieve("ch_none"), "charge"),
        (lambda client: client.v1.refunds.retrieve("re_none"), "refund"),
        (lambda client: client.v1.disputes.retrieve("dp_none"), "dispute"),
        (lambda client: client.v1.events.retrieve("evt_none"), "id"),
        (lambda client: client.v1.payouts.retrieve("po_none"), "payout"),
        (lambda client: client.v1.checkout.sessions.retrieve("cs_none"), "session"),
        (lambda client: client.v1.balance_transactions.retrieve("txn_none"), "id"),
    ],
)
def test_an_unknown_id_is_404(
    client: stripe.StripeClient, ask: Callable[[stripe.StripeClient], object], param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        ask(client)
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")
    assert caught.value.param == param


@pytest.mark.parametrize("expand", ["amount", "latest_charge.colour", "a.b.c.d.e"])
def test_what_cannot_be_expanded_is_refused(client: stripe.StripeClient, expand: str) -> None:
    paid = client.v1.payment_intents.create(paying())
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.payment_intents.retrieve(paid.id, {"expand": [expand]})
    assert caught.value.param == "expand"


def test_lists_expand_within_data(client: stripe.StripeClient) -> None:
    client.v1.payment_intents.create(paying())
    listed = client.v1.payment_intents.list(
        {"limit": 1, "expand": ["data.latest_charge.refunds", "data.payment_method"]}
    )
    charge: Any = listed.data[0].latest_charge
    assert charge.refunds.data == []


def test_test_tokens_give_payment_methods(client: stripe.StripeClient) -> None:
    method: Any = client.v1.payment_methods.retrieve("pm_card_visa_debit")
    assert (method.id[:3], method.card.funding) == ("pm_", "debit")
    assert client.v1.payment_methods.retrieve(method.id).id == method.id
    by_number: Any = client.v1.payment_methods.create(
        {"type": "card", "card": {"number": "4000000000009995", "exp_month": 1, "exp_year": 2099}}
    )
    with pytest.raises(stripe.CardError) as caught:
        client.v1.payment_intents.create(paying(by_number.id))
    assert caught.value.error is not None
    assert caught.value.error.decline_code == "insufficient_funds"
    with pytest.raises(stripe.CardError) as caught:
        client.v1.payment_methods.create({"type": "card", "card": {"number": "4242424242424241"}})
    assert caught.value.code == "incorrect_number"


@pytest.mark.parametrize("header", [None, "Basic x", "Bearer sk_test_wrong", "Bearer pk_test_1"])
def test_nobody_comes_in_without_the_key(simulator: Simulator, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = httpx.get(f"{simulator.url}/v1/payment_intents", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.headers["Request-Id"].startswith("req_")
    good = httpx.get(f"{simulator.url}/v1/payment_intents", auth=(KEY, ""))
    assert good.status_code == 200


def test_json_bodies_and_unknown_paths_are_refused_as_at_stripe(simulator: Simulator) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = httpx.post(f"{simulator.url}/v1/payment_intents", headers=headers, json={"amount": 1})
    assert answer.status_code == 400
    assert "x-www-form-urlencoded" in answer.json()["error"]["message"]
    answer = httpx.get(f"{simulator.url}/v1/nothing", headers=headers)
    assert answer.status_code == 404
    assert "Unrecognized request URL" in answer.json()["error"]["message"]
    answer = httpx.get(
        f"{simulator.url}/v1/balance", headers={**headers, "Stripe-Version": "tomorrow"}
    )
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("path", "form", "param"),
    [
        ("payment_intents", {"payment_method_options[card]": "x"}, "payment_method_options[card]"),
        (
            "payment_intents",
            {"payment_method_options[us_bank_account]": "x"},
            "payment_method_options[us_bank_account]",
        ),
        (
            "payment_intents",
            {
                "payment_method_data[type]": "us_bank_account",
                "payment_method_data[us_bank_account][account_number][a]": "1",
            },
            "payment_method_data[us_bank_account][account_number]",
        ),
        (
            "payment_intents",
            {
                "payment_method_data[type]": "sepa_debit",
                "payment_method_data[sepa_debit][iban][a]": "1",
            },
            "payment_method_data[sepa_debit][iban]",
        ),
        (
            "checkout/sessions",
            {
                "mode": "payment",
                "success_url": "https://shop.example/",
                "line_items[0][quantity]": "1",
                "line_items[0][price_data][currency]": "eur",
                "line_items[0][price_data][unit_amount]": "2500",
                "line_items[0][price_data][product_data][name]": "Shoes",
                "payment_method_options[card]": "x",
            },
            "payment_method_options[card]",
        ),
    ],
)
def test_a_value_where_a_hash_belongs_and_the_other_way_round_are_refused(
    simulator: Simulator, path: str, form: dict[str, str], param: str
) -> None:
    paying = {"amount": "2500", "currency": "usd", "confirm": "true"}
    answer = httpx.post(
        f"{simulator.url}/v1/{path}",
        data=form | (paying if path == "payment_intents" else {}),
        headers={"Authorization": f"Bearer {KEY}"},
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize("number", [str(2**63), "9" * 100, "9" * 4500])
def test_a_search_for_a_number_beyond_all_amounts_is_refused(
    client: stripe.StripeClient, number: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.search({"query": f"amount>{number}"})
