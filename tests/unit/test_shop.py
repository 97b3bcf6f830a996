"""The shop's purchases: the same by seed, and requests that the API and the PSP can take."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from marketplace import shop
from marketplace.baskets import CURRENCIES
from marketplace.purchases import PAYMENT, Browse, Mature, PayOut, Post, Purchase
from marketplace.shop import FATES, RETURN_URL, Shop, ShopSettings, decimal_amount
from schemas.ids import check_id
from schemas.money import PSP_MINOR_UNIT_RULES, to_psp_amount

SETTINGS = ShopSettings(payments_per_second=50)


def purchases(seed: int = 7, settings: ShopSettings = SETTINGS) -> list[Purchase]:
    return list(Shop(seed, settings).purchases(60))


def posts(purchase: Purchase) -> list[Post]:
    """Every request of a purchase."""
    steps = [step for step in purchase.steps if isinstance(step, Post)]
    payouts = [step.post for step in purchase.steps if isinstance(step, PayOut)]
    return [purchase.opening, *steps, *payouts]


def with_share(name: str, share: float) -> ShopSettings:
    """The settings with one share changed."""
    changed: dict[str, Any] = {name: share}
    return replace(SETTINGS, **changed)


def test_the_same_seed_gives_the_same_purchases() -> None:
    assert purchases() == purchases()
    assert purchases(8) != purchases()


def test_a_longer_day_begins_as_a_shorter_one() -> None:
    long = list(Shop(7, SETTINGS).purchases(120))
    short = purchases()
    assert long[: len(short)] == short


def test_two_runs_share_no_key() -> None:
    later = Shop(7, SETTINGS, run="2")
    keys = {post.key for purchase in purchases() for post in posts(purchase)}
    assert keys.isdisjoint(post.key for each in later.purchases(60) for post in posts(each))


def test_every_request_has_a_key_of_its_own() -> None:
    keys = Counter(post.key for purchase in purchases() for post in posts(purchase))
    assert keys.most_common(1)[0][1] == 1
    for key in keys:
        check_id("idempotency_key", key, max_length=255)


def test_purchases_come_in_order_and_at_the_rate() -> None:
    found = purchases()
    assert all(one.at_seconds <= two.at_seconds for one, two in pairwise(found))
    assert found[-1].at_seconds < 60
    assert 2_700 < len(found) < 3_300


def test_every_fate_and_currency_comes_about() -> None:
    found = purchases()
    assert {purchase.fate for purchase in found} == {fate.__name__ for fate in FATES}
    assert {purchase.basket.currency for purchase in found} == set(CURRENCIES)


def test_the_psp_can_write_every_amount() -> None:
    for purchase in purchases():
        basket = purchase.basket
        assert to_psp_amount(shop.PSP, basket.currency, basket.amount_minor) > 0
        for post in posts(purchase):
            amount = post.body.get("amount_minor")
            if amount is not None:
                assert isinstance(amount, int)
                assert 0 < to_psp_amount(shop.PSP, basket.currency, amount) <= basket.amount_minor


def test_amounts_of_three_decimals_end_in_zero() -> None:
    dinars = [each for each in purchases() if each.basket.currency == "KWD"]
    assert dinars
    assert PSP_MINOR_UNIT_RULES[shop.PSP].step_minor["KWD"] == 10
    assert {line.amount_minor % 10 for each in dinars for line in each.basket.lines} == {0}


def test_refunds_of_a_payment_never_exceed_it() -> None:
    for purchase in purchases():
        refunds = [post for post in posts(purchase) if post.path.endswith("/refunds")]
        total = purchase.basket.amount_minor
        amounts = [post.body.get("amount_minor", total) for post in refunds]
        assert sum(amount for amount in amounts if isinstance(amount, int)) <= total


def test_a_create_is_what_the_api_takes() -> None:
    for purchase in purchases():
        body = purchase.opening.body
        if purchase.opening.path != "/v1/payments":
            assert purchase.fate == "by_the_older_names"
            continue
        orders = body["orders"]
        assert isinstance(orders, list)
        assert sum(order["amount_minor"] for order in orders) == purchase.basket.amount_minor
        for order in orders:
            shares = order["commission_minor"] + order["logistics_fee_minor"]
            assert 0 <= shares <= order["amount_minor"]
        assert body["return_url"] == RETURN_URL
        assert ("payment_token" in body) == (body["flow"] == "direct")
        assert body["method"] in ("card", "debit_card", "bank_transfer")


def test_a_bank_transfer_has_a_bank_s_currency_and_token() -> None:
    transfers = [each for each in purchases() if each.opening.body.get("method") == "bank_transfer"]
    assert transfers
    for each in transfers:
        assert each.opening.body["payment_token"] in shop.BANK_TOKENS[each.basket.currency]


def test_the_payment_s_id_is_filled_in() -> None:
    post = Post(path=f"/v1/payments/{PAYMENT}/ship", body={"tx_id": PAYMENT, "n": 1}, key="k")
    assert post.about("p-1") == ("/v1/payments/p-1/ship", {"tx_id": "p-1", "n": 1})
    assert post.operation == "POST /v1/payments/{payment}/ship"


def test_only_a_page_is_browsed_and_only_a_capture_matures() -> None:
    for purchase in purchases():
        for step in purchase.steps:
            if isinstance(step, Browse):
                assert step.when == {"action_required"}
            if isinstance(step, Mature):
                assert step.when == {"captured"}


@pytest.mark.parametrize(
    ("share", "odd"),
    [
        ("double_click_share", lambda post: post.clicks == 2),
        ("hang_up_share", lambda post: post.hang_up_seconds is not None),
    ],
)
def test_clients_misbehave_as_often_as_settings_say(share: str, odd: object) -> None:
    assert callable(odd)
    never = purchases(settings=with_share(share, 0.0))
    always = purchases(settings=with_share(share, 1.0))
    assert not any(odd(post) for purchase in never for post in posts(purchase))
    assert all(odd(post) for purchase in always for post in posts(purchase))


@pytest.mark.parametrize(
    "wrong",
    [{"payments_per_second": 0}, {"sellers": -1}, {"hang_up_share": 1.5}],
    ids=str,
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ShopSettings(**({"payments_per_second": 1.0} | wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [(2500, "EUR", "25.00"), (5, "EUR", "0.05"), (1234, "JPY", "1234"), (1230, "KWD", "1.230")],
)
def test_amounts_in_major_units(amount_minor: int, currency: str, text: str) -> None:
    assert decimal_amount(amount_minor, currency) == text
