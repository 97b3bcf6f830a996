"""Money: exponents, PSP rules as data, and shares that always sum to the whole."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.currencies import CURRENT, WITHDRAWN
from schemas.errors import InputError
from schemas.generate_currencies import FILE, currencies_py
from schemas.money import (
    CURRENCY_EXPONENTS,
    allocate,
    check_currency,
    currency_exponent,
    format_minor,
    from_psp_amount,
    to_psp_amount,
)

# https://docs.stripe.com/currencies#zero-decimal, without UGX, which that page lists as special.
# And MGA, which has two digits everywhere else.
ZERO_DECIMAL_AT_STRIPE = (
    *("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW"),
    *("PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"),
)
THREE_DECIMAL_AT_STRIPE = ("BHD", "JOD", "KWD", "OMR", "TND")


@pytest.mark.parametrize(
    ("currency", "exponent"), [("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("MGA", 2)]
)
def test_exponents_are_those_of_iso_4217(currency: str, exponent: int) -> None:
    assert currency_exponent(currency) == exponent


@pytest.mark.parametrize("currency", ["eur", "", "EURO", "XYZ", "XXX", "XTS", "XAU", "USN", "CHE"])
def test_unknown_currency_is_refused_by_name(currency: str) -> None:
    with pytest.raises(InputError, match=r"^currency: .*ISO 4217"):
        currency_exponent(currency)


JAN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("currency", ["XCG", "VED", "ZWG", "SLE", "EUR", "CLF", "UYW"])
def test_currencies_of_today(currency: str) -> None:
    check_currency(currency, JAN)


@pytest.mark.parametrize(
    ("currency", "exponent", "end"),
    [
        ("ANG", 2, (2025, 4)), ("BGN", 2, (2026, 2)), ("BYR", 0, (2017, 2)), ("CUC", 2, (2021, 7)),
        ("DEM", 2, (2002, 4)), ("HRK", 2, (2023, 2)), ("ITL", 0, (2002, 4)), ("LTL", 2, (2015, 1)),
        ("MRO", 2, (2018, 1)), ("SLL", 2, (2024, 1)), ("STD", 2, (2018, 1)), ("ZWL", 2, (2024, 10)),
    ],
)  # fmt: skip
def test_withdrawn_currency_is_for_payments_of_its_time(
    currency: str, exponent: int, end: tuple[int, int]
) -> None:
    over = datetime(*end, 1, tzinfo=UTC)
    assert currency_exponent(currency) == exponent
    check_currency(currency, over - timedelta(microseconds=1))
    with pytest.raises(InputError, match=rf"^currency: {currency} was withdrawn in "):
        check_currency(currency, over)


def test_the_end_of_a_currency_is_the_same_in_every_time_zone() -> None:
    east = timezone(timedelta(hours=1))
    check_currency("HRK", datetime(2023, 2, 1, 0, 59, tzinfo=east))
    with pytest.raises(InputError, match="withdrawn"):
        check_currency("HRK", datetime(2023, 2, 1, 1, tzinfo=east))


def test_the_currencies_are_the_generated_ones() -> None:
    committed = FILE.read_text(encoding="utf-8")
    assert committed == currencies_py(), "run python -m schemas.generate_currencies"


def test_a_currency_is_current_or_withdrawn() -> None:
    assert not CURRENT.keys() & WITHDRAWN.keys()


@pytest.mark.parametrize(
    ("currency", "ours", "theirs"),
    [
        *((currency, 7, 7) for currency in ZERO_DECIMAL_AT_STRIPE),
        *((currency, 1230, 1230) for currency in THREE_DECIMAL_AT_STRIPE),
        ("EUR", 1234, 1234),
        ("MGA", 500, 5),
        ("ISK", 7, 700),
        ("UGX", 7, 700),
    ],
)
def test_stripe_writes_the_same_money_in_its_own_units(
    currency: str, ours: int, theirs: int
) -> None:
    assert to_psp_amount("stripe", currency, ours) == theirs
    assert from_psp_amount("stripe", currency, theirs) == ours


@pytest.mark.parametrize(
    ("currency", "amount", "payout"),
    [("KWD", 1234, False), ("MGA", 501, False), ("HUF", 150, True), ("TWD", 101, True)],
)
def test_amount_that_stripe_cannot_write_is_refused(
    currency: str, amount: int, payout: bool
) -> None:
    with pytest.raises(InputError, match="cannot be written in stripe's units"):
        to_psp_amount("stripe", currency, amount, payout=payout)


def test_fraction_of_a_minor_unit_from_a_psp_is_refused() -> None:
    with pytest.raises(InputError, match="fraction of a minor unit"):
        from_psp_amount("stripe", "ISK", 150)


@given(st.sampled_from(sorted(CURRENCY_EXPONENTS)), st.integers(0, 10**15))
def test_what_a_psp_takes_it_gives_back(currency: str, amount: int) -> None:
    try:
        theirs = to_psp_amount("stripe", currency, amount)
    except InputError:
        return
    assert from_psp_amount("stripe", currency, theirs) == amount


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (-1234, "EUR", "-12.34 EUR"),
        (5, "EUR", "0.05 EUR"),
        (1234567, "JPY", "1,234,567 JPY"),
        (-1, "KWD", "-0.001 KWD"),
        (0, "USD", "0.00 USD"),
    ],
)
def test_minor_units_as_a_person_reads_them(amount: int, currency: str, text: str) -> None:
    assert format_minor(amount, currency) == text


@pytest.mark.parametrize(
    ("total", "weights", "parts"),
    [
        (100, (1, 1, 1), (34, 33, 33)),
        (5, (3, 1, 1), (3, 1, 1)),
        (1, (1, 2), (0, 1)),
        (1, (1, 1), (1, 0)),
        (0, (5, 5), (0, 0)),
        (0, (0, 0), (0, 0)),
        (7, (0, 7), (0, 7)),
    ],
)
def test_largest_remainder(total: int, weights: tuple[int, ...], parts: tuple[int, ...]) -> None:
    assert allocate(total, weights) == parts


_WEIGHTS = st.lists(st.integers(0, 10**15), min_size=1, max_size=6).filter(any)


@given(st.integers(0, 10**15), _WEIGHTS)
def test_parts_sum_to_the_whole_and_stay_within_one_of_their_quota(
    total: int, weights: list[int]
) -> None:
    parts = allocate(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert total * weight // sum(weights) <= part <= total * weight // sum(weights) + 1


@given(_WEIGHTS, st.lists(st.integers(1, 10**15), max_size=8))
def test_splitting_what_is_left_again_and_again_never_overdraws_a_share(
    weights: list[int], takes: list[int]
) -> None:
    left = list(weights)
    for take in takes:
        if not sum(left):
            break
        parts = allocate(min(take, sum(left)), left)
        left = [share - part for share, part in zip(left, parts, strict=True)]
        assert min(left) >= 0
    if sum(left):
        left = [share - part for share, part in zip(left, allocate(sum(left), left), strict=True)]
    assert not any(left)


@pytest.mark.parametrize(("total", "weights"), [(-1, (1,)), (1, (-1, 2)), (1, (0, 0)), (1, ())])
def test_impossible_split_is_an_error(total: int, weights: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"weight|total"):
        allocate(total, weights)
