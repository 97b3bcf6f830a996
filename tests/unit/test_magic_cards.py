"""The test tokens that the documentation and the shop use are known to the simulator."""

import re
from pathlib import Path

import pytest

from marketplace import shop
from simulators.stripe.banks import BANKS
from simulators.stripe.cards import CARDS, Authentication, name_of_token
from tests.documentation import text_of

PAGE = Path("docs/how-to/magic-cards.md")
TOKENS = sorted(set(re.findall(r"`(pm_\w+)`", text_of(PAGE))))


def known(token: str) -> bool:
    return token in BANKS or name_of_token(token) is not None


def test_the_page_names_tokens() -> None:
    assert len(TOKENS) > 15


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_of_the_page_is_known(token: str) -> None:
    assert known(token)


def test_the_shop_s_tokens_are_known_and_do_what_they_are_for() -> None:
    good = [token for tokens in shop.GOOD_TOKENS.values() for token in tokens]
    for token in good:
        card = CARDS[name_of_token(token) or ""]
        assert card.decline is None
        assert card.authentication is not Authentication.REQUIRED
    for token in shop.DECLINED_TOKENS:
        assert CARDS[name_of_token(token) or ""].decline is not None
    challenged = CARDS[name_of_token(shop.CHALLENGE_TOKEN) or ""]
    assert challenged.authentication is Authentication.REQUIRED
    assert CARDS[name_of_token(shop.DISPUTE_TOKEN) or ""].dispute is not None
    for currency, tokens in shop.BANK_TOKENS.items():
        assert set(tokens) <= BANKS.keys(), currency
