"""What is wrong with Debezium's publication, in words, worst first."""

import pytest

from connectors.debezium.publication import OPERATIONS, TABLES, Publication, PublishedTable

RIGHT = tuple(PublishedTable(name=name) for name in TABLES)


def publication(**changes: object) -> Publication:
    values: dict[str, object] = {
        "name": "purser",
        "exists": True,
        "tables": RIGHT,
        "operations": OPERATIONS,
        "via_root": True,
    }
    return Publication(**{**values, **changes})  # type: ignore[arg-type]


def test_the_publication_of_the_migration_has_no_problem() -> None:
    assert publication().problems() == ()


@pytest.mark.parametrize(
    ("found", "loses"),
    [
        (publication(), False),
        (publication(tables=RIGHT[1:], operations=("insert",)), False),
        (publication(tables=(), all_tables=True), False),
        (publication(exists=False), True),
        (publication(tables=RIGHT[:1]), True),
        (publication(operations=("update",)), True),
        (publication(via_root=False), True),
        (publication(tables=(PublishedTable(name="public.payments", row_filter="(f)"),)), True),
        (publication(tables=(PublishedTable(name="public.payments", columns=("a",)),)), True),
    ],
)
def test_events_are_lost_unless_every_row_of_payments_is_published_whole(
    found: Publication, loses: bool
) -> None:
    assert found.loses_events is loses


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Publication(name="purser", exists=False), ["does not exist: no event leaves PostgreSQL"]),
        (publication(tables=RIGHT[:1]), ["lacks table public.payments: no event leaves"]),
        (publication(tables=RIGHT[1:]), ["lacks table public.heartbeat: an idle database"]),
        (publication(tables=()), ["lacks table public.payments", "lacks table public.heartbeat"]),
        (publication(operations=("update",)), ["does not publish inserts: no event leaves"]),
        (publication(operations=("insert",)), ["does not publish updates: an idle database"]),
        (publication(via_root=False), ["does not publish through the root"]),
        (
            publication(
                tables=(RIGHT[0], PublishedTable(name="public.payments", row_filter="(seq > 1)"))
            ),
            ["omits rows of public.payments: only those with (seq > 1)"],
        ),
        (
            publication(
                tables=(RIGHT[0], PublishedTable(name="public.payments", columns=("seq", "psp")))
            ),
            ["omits columns of public.payments: only seq, psp"],
        ),
        (
            publication(
                tables=(*RIGHT, PublishedTable(name="public.notes")),
                operations=(*OPERATIONS, "delete"),
                schemas=("audit",),
            ),
            ["also publishes public.notes, every table of schema audit, deletes"],
        ),
        (publication(tables=(), all_tables=True), ["also publishes every table"]),
    ],
)
def test_each_difference_from_the_migration_is_a_problem(
    found: Publication, words: list[str]
) -> None:
    problems = found.problems()
    assert len(problems) == len(words), problems
    for problem, expected in zip(problems, words, strict=True):
        assert problem.startswith("publication purser "), problem
        assert expected in problem
