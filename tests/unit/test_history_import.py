"""Importing into a store in memory: what is appended, what is unchanged, what is left out."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.commands import app
from schemas.errors import ServiceUnavailable
from schemas.events import NewEvent
from schemas.ids import payment_id
from schemas.rejections import RejectionCode
from streams.fold import postings
from tests.builders import change, rows_of
from tests.histories import ROWS_OF_A_LIFE, a_history, a_life, an_event, an_order, write_lines
from writer import commands as c
from writer.importing.bulk import BadLine, BulkAppender, DryRun, Target
from writer.importing.history import decide_line
from writer.importing.lines import Line
from writer.importing.run import EVENTS_PER_BATCH, Importer
from writer.memory import MemoryStore
from writer.state import fold
from writer.validate import refusal

Result = tuple[int, int, int, list[tuple[int, str]]]


def imported(target: Target, histories: Sequence[dict[str, Any]]) -> Result:
    """Payments, events, unchanged, and (line, field) of the bad lines."""
    bad: list[BadLine] = []
    importer = Importer(target, psp="stripe", on_bad_line=bad.append)
    lines = [Line(number, json.dumps(each).encode()) for number, each in enumerate(histories, 1)]
    importer.run(lines)
    total = importer.total
    assert importer.rejected == len(bad)
    found = sorted((each.line.number, each.error.field) for each in bad)
    return total.payments, total.events, total.unchanged, found


def test_importing_again_changes_nothing() -> None:
    store = MemoryStore()
    lives = [a_life(f"k{number}") for number in range(20)]
    assert imported(BulkAppender(store), lives) == (20, 20 * ROWS_OF_A_LIFE, 0, [])
    before = store.load(payment_id("payment", "k7"))
    assert imported(BulkAppender(store), lives) == (0, 0, 20, [])
    assert store.load(payment_id("payment", "k7")) == before


def test_a_history_that_has_grown_gets_its_new_rows() -> None:
    store = MemoryStore()
    imported(BulkAppender(store), [a_life("k")])
    assert imported(BulkAppender(store), [a_life("k", an_event("shipped", 6))]) == (1, 2, 0, [])
    assert [event.seq for event in store.load(payment_id("payment", "k"))] == [*range(1, 13)]


def test_a_payment_that_went_on_after_its_import_is_unchanged() -> None:
    store = MemoryStore()
    imported(BulkAppender(store), [a_life("k")])
    key = payment_id("payment", "k")
    store.append(rows_of(fold(store.load(key)), change(c.Ship, key)))
    assert imported(BulkAppender(store), [a_life("k")]) == (0, 0, 1, [])


# -- money that moved although the rules have no place for it ------------------------------------

ORDER = an_order("A", commission_minor=100, logistics_fee_minor=0)
Ledger = dict[tuple[str, str], int]


def a_case(key: str, *events: dict[str, Any]) -> dict[str, Any]:
    return a_history(*events, idempotency_key=key, orders=[ORDER])


STRANGE: list[tuple[str, dict[str, Any], Ledger]] = [
    (
        "disputed after it was refunded: the PSP took what nobody owes",
        a_case(
            "rc-1",
            an_event("captured"),
            an_event("refunded", 3),
            an_event("dispute_opened", 4, order_id="A", amount_minor=1000),
            an_event("dispute_lost", 5, order_id="A", amount_minor=1000),
        ),
        {("psp_receivable", "stripe"): -1000, ("suspense", "stripe"): 1000},
    ),
    (
        "captured after it expired: the PSP has what nobody may keep",
        a_case("rc-2", an_event("expired"), an_event("captured", 3)),
        {("psp_receivable", "stripe"): 1000, ("suspense", "stripe"): -1000},
    ),
    (
        "disputed above what was captured: the rest is in suspense",
        a_case(
            "rc-3",
            an_event("captured"),
            an_event("dispute_opened", 3, order_id="A", amount_minor=1050),
        ),
        {
            ("psp_receivable", "stripe"): -50,
            ("psp_disputed", "stripe"): 1000,
            ("suspense", "stripe"): 50,
            ("seller_pending", "seller"): -900,
            ("platform_commission", "seller"): -100,
        },
    ),
    (
        "and won: all of it came back",
        a_case(
            "rc-4",
            an_event("captured"),
            an_event("dispute_opened", 3, order_id="A", amount_minor=1050),
            an_event("dispute_won", 4, order_id="A", amount_minor=1050),
        ),
        {
            ("psp_receivable", "stripe"): 1000,
            ("seller_pending", "seller"): -900,
            ("platform_commission", "seller"): -100,
        },
    ),
    (
        "captured after it failed, and given back",
        a_case("rc-5", an_event("failed"), an_event("captured", 3), an_event("refunded", 4)),
        {},
    ),
    (
        "captured after it was cancelled, and disputed",
        a_case(
            "rc-6",
            an_event("cancelled"),
            an_event("captured", 3, amount_minor=300),
            an_event("dispute_opened", 4),
            an_event("dispute_lost", 5),
        ),
        {},
    ),
    (
        "captured after it expired, and honoured",
        a_case("rc-7", an_event("expired"), an_event("captured", 3), an_event("honoured", 4)),
        {
            ("psp_receivable", "stripe"): 1000,
            ("seller_pending", "seller"): -900,
            ("platform_commission", "seller"): -100,
        },
    ),
]


@pytest.mark.parametrize(
    ("history", "ledger"), [row[1:] for row in STRANGE], ids=[row[0] for row in STRANGE]
)
def test_money_that_moved_is_imported_and_the_ledger_says_where_it_is(
    history: dict[str, Any], ledger: Ledger
) -> None:
    store = MemoryStore()
    assert imported(BulkAppender(store), [history])[3] == []
    balances: Counter[tuple[str, str]] = Counter()
    for event in store.load(payment_id("payment", history["idempotency_key"])):
        for leg in postings(event):
            balances[leg.account_type, leg.account_id] += leg.amount_minor
    assert {account: minor for account, minor in balances.items() if minor} == ledger


@pytest.mark.parametrize(
    "events",
    [
        (an_event("captured", amount_minor=1001),),
        (an_event("captured"), an_event("refunded", 3, amount_minor=1001)),
        (an_event("captured"), an_event("refunded", 3), an_event("refunded", 4, amount_minor=1)),
        (
            an_event("captured"),
            an_event("dispute_opened", 3, order_id="A", amount_minor=1050),
            an_event("dispute_lost", 4, order_id="A", amount_minor=1000),
        ),
    ],
)
def test_amounts_that_cannot_be_right_are_still_refused(events: tuple[dict[str, Any], ...]) -> None:
    field = f"events[{len(events) - 1}].amount_minor"
    assert imported(BulkAppender(MemoryStore()), [a_case("k", *events)])[3] == [(1, field)]


DIFFERENT: list[tuple[dict[str, Any], str]] = [
    (a_life("k") | {"buyer_id": "else"}, "buyer_id"),
    (a_life("k") | {"currency": "USD"}, "currency"),
    (a_life("k") | {"created_at": "2024-05-01T12:00:01Z"}, "created_at"),
    (a_life("k") | {"orders": [an_order("A"), an_order("B", amount_minor=502)]},
     "orders[1].amount_minor"),
    (a_life("k") | {"orders": [an_order("A", seller_id="x"), an_order("B", amount_minor=501)]},
     "orders[0].seller_id"),
    (a_life("k") | {"events": [an_event("processing")]}, "events[0].type"),
    (a_life("k") | {"events": [an_event("authorized", 3)]}, "events[0].at"),
    (a_life("k") | {"events": [an_event("authorized"), an_event("captured", 3, amount_minor=1500)]},
     "events[1].amount_minor"),
]  # fmt: skip


@pytest.mark.parametrize(("history", "field"), DIFFERENT)
@pytest.mark.parametrize("in_one_run", [True, False])
def test_a_history_that_differs_is_refused_naming_the_field(
    history: dict[str, Any], field: str, in_one_run: bool
) -> None:
    store = MemoryStore()
    if in_one_run:
        result = imported(BulkAppender(store), [a_life("k"), history])
        assert result == (1, ROWS_OF_A_LIFE, 0, [(2, field)])
    else:
        imported(BulkAppender(store), [a_life("k")])
        assert imported(BulkAppender(store), [history]) == (0, 0, 0, [(1, field)])
    assert len(store.load(payment_id("payment", "k"))) == ROWS_OF_A_LIFE


def test_a_bad_line_is_left_out_whole() -> None:
    store = MemoryStore()
    bad = a_life("bad", an_event("refunded", 6, amount_minor=99_999))
    result = imported(BulkAppender(store), [a_life("k1"), bad, a_life("k2")])
    assert result == (2, 2 * ROWS_OF_A_LIFE, 0, [(2, "events[4].amount_minor")])
    assert store.load(payment_id("payment", "bad")) == ()


class RefusesOneSeller(MemoryStore):
    """A store with a rule of its own, as a database's guard."""

    batches = 0

    def append_many(self, events: Sequence[NewEvent]) -> None:
        self.batches += 1
        if any(event.seller_id == "unwanted" for event in events):
            raise refusal(RejectionCode.REFUSED_BY_DATABASE, "seller_id", "is unwanted")
        super().append_many(events)


def test_only_the_line_that_the_database_refuses_is_left_out() -> None:
    store = RefusesOneSeller()
    unwanted = a_life("k3") | {"orders": [an_order("A", seller_id="unwanted"), an_order("B")]}
    lives = [a_life("k1"), a_life("k2"), unwanted, a_life("k4")]
    assert imported(BulkAppender(store), lives) == (3, 3 * ROWS_OF_A_LIFE, 0, [(3, "seller_id")])


class LosesAnswers(MemoryStore):
    """The first batch is in, but nobody hears of it."""

    lost = False

    def append_many(self, events: Sequence[NewEvent]) -> None:
        super().append_many(events)
        if not self.lost:
            self.lost = True
            raise ServiceUnavailable("the connection broke")


def test_a_batch_whose_answer_was_lost_is_not_appended_again() -> None:
    store = LosesAnswers()
    imported(BulkAppender(store), [a_life("k1"), a_life("k2")])
    assert len(store.load(payment_id("payment", "k2"))) == ROWS_OF_A_LIFE


def test_batches_are_bounded() -> None:
    store = RefusesOneSeller()
    count = 3 * EVENTS_PER_BATCH // ROWS_OF_A_LIFE
    imported(BulkAppender(store), [a_life(f"k{number}") for number in range(count)])
    assert store.batches == 3


class Fails:
    """A target that cannot be used."""

    def write(self, batch: object) -> Any:
        raise ServiceUnavailable("down")


def test_a_store_that_is_down_ends_the_import() -> None:
    with pytest.raises(ServiceUnavailable):
        imported(Fails(), [a_life("k")])


IN_ONE_FILE: dict[str, list[dict[str, Any]]] = {
    "a bad line": [a_life("k1"), a_life("bad", an_event("exploded", 6))],
    "the same again": [a_life("k1"), a_life("k2"), a_life("k1")],
    "the same in another zone": [
        a_life("k1"), a_life("k1") | {"created_at": "2024-05-01T14:00:00.000+02:00"}
    ],
    "more": [a_life("k1"), a_life("k1", an_event("shipped", 6))],
    "less": [a_life("k1", an_event("shipped", 6)), a_life("k1")],
    "more, then less, then more": [
        a_life("k1"), a_life("k1", an_event("shipped", 6)), a_life("k1"),
        a_life("k1", an_event("shipped", 6), an_event("delivered", 7)),
    ],
    "something else": [a_life("k1"), a_life("k1") | {"buyer_id": "else"}, a_life("k1")],
    "more, of something else": [
        a_life("k1"), a_life("k1", an_event("shipped", 6)) | {"buyer_id": "else"}
    ],
    "less, of something else": [a_life("k1"), a_history(an_event("processing"),
                                                        idempotency_key="k1")],
}  # fmt: skip


@pytest.mark.parametrize("histories", IN_ONE_FILE.values(), ids=IN_ONE_FILE)
def test_dry_run_finds_what_an_import_would_find(histories: list[dict[str, Any]]) -> None:
    *counts, bad = imported(DryRun(), histories)
    *expected, expected_bad = imported(BulkAppender(MemoryStore()), histories)
    assert counts == expected
    assert [number for number, _ in bad] == [number for number, _ in expected_bad]


def test_same_rows_in_every_process() -> None:
    line = json.dumps(a_life("k")).encode()
    assert [row.payment_id.hex[:8] for row in decide_line(line, psp="p")][:1] == ["8b2b008f"]


# -- the command ---------------------------------------------------------------------------------


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["import", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_dry_run_of_a_good_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_lines(tmp_path / "good.jsonl", [a_life("k1"), a_life("k2")])
    status, output, _ = run("--dry-run", str(path))
    assert status == 0
    assert "2 payments with 20 events would be appended" in output
    assert [each.name for each in tmp_path.iterdir()] == ["good.jsonl"]


def test_bad_lines_are_named_and_written_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_lines(tmp_path / "mixed.jsonl", [a_life("k1"), b'{"a"\xff', a_life("k2")])
    status, output, errors = run("--dry-run", str(path))
    assert status == 1
    assert "2 payments" in output
    assert "1 lines rejected" in output
    assert "line 2: line: is not JSON" in errors
    (record,) = map(json.loads, (tmp_path / "mixed.jsonl.rejected.jsonl").read_text().splitlines())
    assert (record["line"], record["field"], record["raw"]) == (2, "line", '{"a"\\xff')


def test_many_bad_lines_are_all_in_the_file_but_not_all_on_the_screen(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "bad.jsonl", [b"{"] * 100)
    rejects = tmp_path / "rejects.jsonl"
    status, _, errors = run("--dry-run", "--rejects", str(rejects), str(path))
    assert status == 1
    assert len(rejects.read_text().splitlines()) == 100
    assert errors.count("is not JSON") == 20


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.jsonl", None, "No such file"),
        ("empty.jsonl", b"", "is empty"),
        ("binary.jsonl", b"\x7fELF\0\0", "is binary"),
        ("", None, "Is a directory"),
    ],
)
def test_a_file_that_cannot_be_imported(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    result = CliRunner().invoke(app, ["import", "--dry-run", str(path)])
    assert result.exception is not None
    assert words in str(result.exception)
    assert getattr(result.exception, "exit_status", None) == 2
