"""The pure rules of the simulated Stripe, by tables: forms, search, cards, amounts, fees."""

import re
from pathlib import Path
from typing import Any

import pytest

from connectors.stripe import translate
from schemas.money import CURRENCY_EXPONENTS, PSP_MINOR_UNIT_RULES
from simulators.faults import Plan
from simulators.stripe import (
    account,
    amounts,
    banks,
    cards,
    expand,
    fees,
    forms,
    ids,
    parameters,
    search,
)
from simulators.stripe.cards import BY_NUMBER, CARDS
from simulators.stripe.errors import StripeError
from simulators.stripe.idempotency import digest_of
from simulators.stripe.routes import ROUTES, find
from simulators.stripe.versions import check_version
from simulators.stripe.webhooks import signature

# ---- forms


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("", {}),
        ("a=1&b=", {"a": "1", "b": ""}),
        ("a=1&a=2", {"a": "2"}),
        ("a%5Bb%5D=1&a[c]=2", {"a": {"b": "1", "c": "2"}}),
        ("a[b][c]=x+y%2B", {"a": {"b": {"c": "x y+"}}}),
        ("a[]=1&a[]=2", {"a": {"0": "1", "1": "2"}}),
        ("a[1]=2&a[0]=1", {"a": {"1": "2", "0": "1"}}),
        ("metadata[0]=x", {"metadata": {"0": "x"}}),
        ("l[0][p][n]=u&l[0][q]=2", {"l": {"0": {"p": {"n": "u"}, "q": "2"}}}),
        ("a=%C3%BC", {"a": "ü"}),
    ],
)
def test_forms_become_nested_values(text: str, params: dict[str, Any]) -> None:
    assert forms.parse(text) == params


@pytest.mark.parametrize(
    "text",
    [
        "a=1&a[b]=2",
        "a[b]=1&a=2",
        "a[b]=1&a[b][c]=2",
        "a[b][c]=1&a[b]=2",
        "[b]=1",
        "a[b=1",
        "a[b]c=1",
        "a[[b]]=1",
        "a=%FF",
        "a" + "[x]" * 9 + "=1",
        "&".join(f"a{number}=1" for number in range(1001)),
    ],
)
def test_forms_that_say_two_things_or_nothing_are_refused(text: str) -> None:
    with pytest.raises(StripeError):
        forms.parse(text)


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ({"1": "b", "0": "a"}, ["a", "b"]),
        ({"10": "b", "9": "a"}, ["a", "b"]),
        ({"0": "a", "x": "b"}, None),
        ("a", None),
        ({}, []),
    ],
)
def test_lists_are_in_the_order_of_their_numbers(value: Any, items: list[str] | None) -> None:
    assert forms.items(value) == items


@pytest.mark.parametrize(
    ("old", "given", "new"),
    [
        ({}, None, {}),
        ({"a": "1"}, None, {"a": "1"}),
        ({"a": "1"}, {"b": "2"}, {"a": "1", "b": "2"}),
        ({"a": "1", "b": "2"}, {"a": "", "b": "3"}, {"b": "3"}),
        ({"a": "1"}, parameters.metadata("metadata", ""), {}),
    ],
)
def test_metadata_is_merged(
    old: dict[str, str], given: dict[str, str] | None, new: dict[str, str]
) -> None:
    assert parameters.merged(old, given) == new


def test_metadata_has_limits() -> None:
    many = {str(number): "x" for number in range(51)}
    with pytest.raises(StripeError, match="50 keys"):
        parameters.merged({}, many)
    assert len(parameters.merged({}, dict(list(many.items())[:50]))) == 50
    with pytest.raises(StripeError, match="500 characters"):
        parameters.metadata("metadata", {"a": "x" * 501})


@pytest.mark.parametrize(
    ("check", "value", "result"),
    [
        (parameters.integer, "12", 12),
        (parameters.integer, "-12", -12),
        (parameters.integer, "", None),
        (parameters.integer, "1.0", None),
        (parameters.integer, "١", None),
        (parameters.integer, "9" * 30, None),
        (parameters.integer, {"a": "1"}, None),
        (parameters.positive, "0", None),
        (parameters.not_negative, "-1", None),
        (parameters.boolean, "true", True),
        (parameters.boolean, "false", False),
        (parameters.boolean, "1", None),
        (parameters.text, "", None),
        (parameters.text, {"a": "1"}, None),
        (parameters.choice("a", "b"), "b", "b"),
        (parameters.choice("a", "b"), "c", None),
        (parameters.limit, "100", 100),
        (parameters.limit, "101", None),
        (parameters.limit, "0", None),
        (parameters.texts, {"0": "a", "1": "b"}, ["a", "b"]),
        (parameters.texts, {"0": {"a": "b"}}, None),
        (parameters.span, "5", {"gte": 5, "lte": 5}),
        (parameters.span, {"gt": "5"}, {"gt": 5}),
        (parameters.span, {"above": "5"}, None),
    ],
)
def test_parameters_are_of_their_type(check: parameters.Check, value: Any, result: Any) -> None:
    if result is None:
        with pytest.raises(StripeError) as caught:
            check("name", value)
        assert str(caught.value.error["param"]).startswith("name")
    else:
        assert check("name", value) == result


# ---- search


def term(
    field: str,
    value: str | None,
    *,
    name: str | None = None,
    sign: str = ":",
    negated: bool = False,
) -> search.Term:
    return search.Term(field=field, name=name, sign=sign, value=value, negated=negated)


@pytest.mark.parametrize(
    ("text", "terms", "any_of"),
    [
        ("status:'succeeded'", [term("status", "succeeded")], False),
        ('status:"succeeded"', [term("status", "succeeded")], False),
        ("metadata['a b']:'c d'", [term("metadata", "c d", name="a b")], False),
        ('metadata["k"]:"it\'s"', [term("metadata", "it's", name="k")], False),
        (r"metadata['k']:'it\'s'", [term("metadata", "it's", name="k")], False),
        ("metadata['k']:null", [term("metadata", None, name="k")], False),
        ("-currency:'eur'", [term("currency", "eur", negated=True)], False),
        ("amount>=100", [term("amount", "100", sign=">=")], False),
        ("created<5 AND amount:7", [term("created", "5", sign="<"), term("amount", "7")], False),
        ("status:'a' OR status:'b'", [term("status", "a"), term("status", "b")], True),
        ("status:'a' status:'b'", [term("status", "a"), term("status", "b")], False),
        ("status:'a' AND -status:'b'", [term("status", "a"), term("status", "b", negated=True)],
         False),
        ("metadata['k']~'abc'", [term("metadata", "abc", name="k", sign="~")], False),
    ],
)  # fmt: skip
def test_queries_are_read(text: str, terms: list[search.Term], any_of: bool) -> None:
    assert search.parse(text) == search.Query(terms=tuple(terms), any_of=any_of)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "status",
        "status:",
        "status:succeeded",
        "status:'succeeded",
        "colour:'red'",
        "status['x']:'y'",
        "metadata:'x'",
        "amount:'x'",
        "amount~'100'",
        "status>'a'",
        "metadata['k']~'ab'",
        "status:'a' AND",
        "status:'a' AND status:'b' OR status:'c'",
        "status:'a'; DROP TABLE payment_intents",
    ],
)
def test_queries_that_stripe_refuses(text: str) -> None:
    with pytest.raises(StripeError) as caught:
        search.parse(text)
    assert caught.value.error["param"] == "query"


# ---- cards


def test_every_card_has_a_valid_number_and_a_token() -> None:
    for name, card in CARDS.items():
        assert cards.luhn(card.number), name
        assert cards.name_of_token(f"pm_card_{name}") == name
    assert len(CARDS) > 50


@pytest.mark.parametrize(
    ("token", "number"),
    [
        ("visa", "4242424242424242"),
        ("visa_debit", "4000056655665556"),
        ("mastercard", "5555555555554444"),
        ("amex", "378282246310005"),
        ("chargeDeclined", "4000000000000002"),
        ("visa_chargeDeclined", "4000000000000002"),
        ("chargeDeclinedInsufficientFunds", "4000000000009995"),
        ("chargeDeclinedLostCard", "4000000000009987"),
        ("chargeDeclinedStolenCard", "4000000000009979"),
        ("chargeDeclinedExpiredCard", "4000000000000069"),
        ("chargeDeclinedIncorrectCvc", "4000000000000127"),
        ("chargeDeclinedProcessingError", "4000000000000119"),
        ("chargeDeclinedVelocityLimitExceeded", "4000000000006975"),
        ("createDispute", "4000000000000259"),
        ("createDisputeProductNotReceived", "4000000000002685"),
        ("createDisputeInquiry", "4000000000001976"),
        ("createIssuerFraudRecord", "4000000000005423"),
        ("pendingRefund", "4000000000007726"),
        ("refundFail", "4000000000005126"),
        ("bypassPending", "4000000000000077"),
        ("authenticationRequired", "4000002760003184"),
        ("threeDSecure2Required", "4000000000003220"),
    ],
)
def test_numbers_are_those_of_stripes_documentation(token: str, number: str) -> None:
    assert CARDS[token].number == number
    grouped = f"{number[:4]} {number[4:]}"
    assert CARDS[cards.name_of_number(grouped)] == CARDS[BY_NUMBER[number]]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("4242424242424241", "incorrect_number"),
        ("4242", "incorrect_number"),
        ("", "incorrect_number"),
        ("no number", "incorrect_number"),
        ("4111111111111111", "card_declined"),
    ],
)
def test_other_numbers_are_refused(number: str, code: str) -> None:
    with pytest.raises(StripeError) as caught:
        cards.name_of_number(number)
    assert (caught.value.status, caught.value.code) == (402, code)


def test_bank_accounts_have_a_currency_of_their_own() -> None:
    assert {bank.type for bank in banks.BANKS.values()} == set(banks.CURRENCY_OF)
    assert set(banks.BY_ACCOUNT.values()) <= set(banks.BANKS)


# ---- amounts and fees


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        (50, "usd", None),
        (49, "usd", "amount_too_small"),
        (99_999_999, "usd", None),
        (100_000_000, "usd", "amount_too_large"),
        (30, "gbp", None),
        (17_499, "huf", "amount_too_small"),
        (50, "jpy", None),
        (9_999_999_999, "jpy", None),
        (10_000_000_000, "jpy", "amount_too_large"),
        (999_999_999_999, "idr", None),
        (10, "kwd", None),
        (1005, "kwd", "parameter_invalid_integer"),
        (150, "isk", "parameter_invalid_integer"),
        (200, "isk", None),
        (500, "ugx", None),
        (501, "ugx", "parameter_invalid_integer"),
        (1, "vnd", None),
    ],
)
def test_amounts_have_limits_and_steps(amount: int, currency: str, code: str | None) -> None:
    if code is None:
        amounts.check(amount, currency)
        return
    with pytest.raises(StripeError) as caught:
        amounts.check(amount, currency)
    assert (caught.value.code, caught.value.error["param"]) == (code, "amount")


def test_units_agree_with_the_ones_that_purser_converts_to() -> None:
    rule = PSP_MINOR_UNIT_RULES["stripe"]
    for currency, digits in amounts.EXPONENTS.items():
        code = currency.upper()
        if code in CURRENCY_EXPONENTS:
            assert rule.exponents.get(code, CURRENCY_EXPONENTS[code]) == digits, code
        assert rule.step_minor.get(code, 1) == amounts.STEPS.get(currency, 1), code
    assert len(amounts.EXPONENTS) > 130


@pytest.mark.parametrize(
    ("amount", "currency", "shown", "major"),
    [
        (123456, "usd", "1,234.56 usd", "1234.56"),
        (5, "usd", "0.05 usd", "0.05"),
        (-5, "usd", "-0.05 usd", "-0.05"),
        (500, "jpy", "500 jpy", "500"),
        (1230, "kwd", "1.230 kwd", "1.230"),
        (30_000, "isk", "300.00 isk", "300.00"),
    ],
)
def test_amounts_are_written(amount: int, currency: str, shown: str, major: str) -> None:
    assert amounts.shown(amount, currency) == shown
    assert amounts.major(amount, currency) == major


@pytest.mark.parametrize(
    ("amount", "currency", "bank", "first", "fee"),
    [
        (10_000, "usd", False, True, 320),
        (10_000, "usd", False, False, 290),
        (50, "usd", False, True, 31),
        (1, "eur", False, True, 0),
        (10_000, "jpy", False, True, 290),
        (10_000, "kwd", False, True, 290),
        (10_010, "kwd", False, True, 290),
        (10_000, "isk", False, True, 200),
        (10_000, "usd", True, True, 80),
        (10_000_000, "usd", True, True, 500),
    ],
)
def test_fees(amount: int, currency: str, bank: bool, first: bool, fee: int) -> None:
    assert fees.of_charge(amount, currency, bank=bank, first=first) == fee


@pytest.mark.parametrize(
    ("currency", "fee"), [("usd", 1500), ("jpy", 1500), ("kwd", 15_000), ("isk", 1500)]
)
def test_fees_of_disputes(currency: str, fee: int) -> None:
    assert fees.of_dispute(currency) == fee


def test_fees_leave_something_and_keep_the_currencys_step() -> None:
    for currency in amounts.EXPONENTS:
        step = amounts.STEPS.get(currency, 1)
        for steps in (1, 2, 37, 5000):
            fee = fees.of_charge(step * steps, currency, bank=False)
            assert 0 <= fee < step * steps
            assert fee % step == 0
        assert fees.of_dispute(currency) % step == 0


# ---- the rest


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        (None, ()),
        ({"0": "a.b", "1": "c"}, (("a", "b"), ("c",))),
        ({"0": "data.a.b.c.d"}, (("data", "a", "b", "c", "d"),)),
    ],
)
def test_paths_to_expand(given: Any, paths: Any) -> None:
    assert expand.paths_of(given) == paths


@pytest.mark.parametrize("given", ["a", {"0": ""}, {"x": "a"}, {"0": "a.b.c.d.e"}])
def test_paths_that_are_none(given: Any) -> None:
    with pytest.raises(StripeError):
        expand.paths_of(given)


def test_ids_hold_their_number_and_the_salt() -> None:
    salt = ids.new_salt()
    identity = ids.make("pi_3", salt, 17)
    assert identity.startswith("pi_3")
    assert ids.number_in(identity, salt) == 17
    assert ids.number_in(identity, ids.new_salt()) is None
    assert ids.number_in("pi_none", salt) is None
    assert len({ids.random_text(25) for _ in range(100)}) == 100


def test_the_order_of_parameters_does_not_make_another_call() -> None:
    assert digest_of("a=1&b=2") == digest_of("b=2&a=1")
    assert digest_of("a=1&b=2") != digest_of("a=2&b=1")


def test_the_simulator_answers_in_the_version_that_the_connector_asks_for() -> None:
    assert account.API_VERSION == translate.API_VERSION


@pytest.mark.parametrize(
    ("version", "good"),
    [
        (None, True),
        ("2026-08-26.dahlia", True),
        ("2020-08-27", True),
        ("2020-08-27; some_beta=v1", True),
        ("latest", False),
        ("2020-8-27", False),
    ],
)
def test_versions(version: str | None, good: bool) -> None:
    if good:
        check_version(version)
    else:
        with pytest.raises(StripeError):
            check_version(version)


@pytest.mark.parametrize(
    ("method", "path", "general", "identity"),
    [
        ("POST", "/v1/payment_intents", "/v1/payment_intents", ""),
        ("GET", "/v1/payment_intents/search", "/v1/payment_intents/search", ""),
        ("GET", "/v1/payment_intents/pi_1", "/v1/payment_intents/{id}", "pi_1"),
        ("POST", "/v1/payment_intents/pi_1/capture", "/v1/payment_intents/{id}/capture", "pi_1"),
        ("GET", "/v1/checkout/sessions/cs_1", "/v1/checkout/sessions/{id}", "cs_1"),
        ("POST", "/v1/checkout/sessions/cs_1/expire", "/v1/checkout/sessions/{id}/expire", "cs_1"),
    ],
)
def test_paths_find_their_function(method: str, path: str, general: str, identity: str) -> None:
    route = find(method, path)
    assert (route.path, route.identity) == (general, identity)
    assert route.handler is ROUTES[method, general]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/none"), ("DELETE", "/v1/payment_intents/pi_1"), ("GET", "/v1/"), ("POST", "/v1")],
)
def test_other_paths_are_404(method: str, path: str) -> None:
    with pytest.raises(StripeError) as caught:
        find(method, path)
    assert caught.value.status == 404


def test_a_signature_has_one_part_for_each_secret() -> None:
    header = signature(b"{}", ("whsec_a", "whsec_b"), 1_700_000_000)
    moment, *parts = header.split(",")
    assert moment == "t=1700000000"
    # echo -n '1700000000.{}' | openssl dgst -sha256 -hmac whsec_a
    assert parts[0] == "v1=04339dc4f01d6541e8d3b7e4bd93cd2d4f680ccb28592270900b08e49cc09e57"
    assert len(parts) == 2
    assert parts[1].startswith("v1=")


# ---- the reference


def test_the_reference_has_every_card_account_and_fault() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/simulators.md").read_text()
    named = set(re.findall(r"`([A-Za-z0-9_]+)`", page))
    first = {name for name in CARDS if name.startswith("visa_chargeDeclined")}
    assert set(CARDS) - named == first
    assert set(banks.BANKS) <= named
    assert set(Plan.model_fields) <= named
