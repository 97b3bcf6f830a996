"""An error in the middle of an answer: what was sent stays, and nothing is sent twice."""

from contextlib import suppress

import httpx

from tests.contract.clickhouse_http.reader_world import World

LATE = (
    "SELECT number, formatQuery(if(number < 150000, 'SELECT 1', 'SELEC')) FROM numbers(200000)"
    " SETTINGS max_threads = 1"
)
"""The engine answers 62, as for a text that is no statement, when many rows have left."""


def test_a_statement_that_fails_late_is_not_run_again(world: World) -> None:
    seen = b""
    with world.admin() as admin, admin.stream("POST", "/", content=LATE) as answer:
        assert answer.status_code == 200
        with suppress(httpx.RemoteProtocolError):  # cut off: so a client knows that more is missing
            for chunk in answer.iter_bytes():
                seen += chunk
    numbers = [line.split(b"\t")[0] for line in seen.splitlines() if line[:1].isdigit()]
    assert len(numbers) > 1000
    assert len(numbers) == len(set(numbers))
