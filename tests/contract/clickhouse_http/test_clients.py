"""Official drivers of other languages, with their defaults, as the writer and as the reader.

Each is a program that walks through checks and says how each of them went; they run side by side
against one server. `docs/reference/clickhouse-clients.md` says which versions these are.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from stack.clickhouse_http.testing import READER
from tests.contract.clickhouse_clients.programs import Program, programs
from tests.contract.clickhouse_http.reader_world import World, ask

pytestmark = pytest.mark.timeout(1800)  # the first one may have to fetch and build programs

DATABASE = "clients"
METHODS = ("none", "lz4", "zstd", "gzip")
CHECKS = {
    ("java", "writer"): """
        defaults prepared_statement big_result error error_in_the_middle cancel time_limit metadata
        insert_batch insert_compressed_body types metadata_of_a_table other_users_queries""",
    ("java", "reader"): """
        defaults prepared_statement big_result error error_in_the_middle cancel time_limit metadata
        views writing_is_refused""",
    ("node", "writer"): """
        defaults big_result big_result_compressed parameters error error_in_the_middle cancel
        query_id insert insert_compressed session""",
    ("node", "reader"): """
        defaults big_result big_result_compressed parameters error error_in_the_middle cancel
        query_id writing_is_refused""",
    ("go", "writer"): " ".join(
        ["defaults types parameters error error_in_the_middle cancel query_id"]
        + [f"big_result_{method} insert_batch_{method}" for method in METHODS]
    ),
    ("go", "reader"): " ".join(
        ["defaults types parameters error error_in_the_middle cancel query_id writing_is_refused"]
        + [f"big_result_{method}" for method in METHODS]
    ),
}
PROGRAMS = programs()
Said = dict[tuple[str, str], Future[dict[str, str]]]


@pytest.fixture(scope="module")
def said(world: World) -> Iterator[Said]:
    """What each program says, as each user."""
    address = f"127.0.0.1:{world.server.port}"
    addresses = {
        "java": f"jdbc:clickhouse://{address}",
        "node": f"http://{address}",
        "go": address,
    }
    users = {
        "writer": [world.server.user, world.server.password, DATABASE],
        "reader": [READER, world.server.reader_password, world.server.database],
    }

    def run(name: str, program: Program, who: str) -> dict[str, str]:
        return program.run([addresses[name], *users[who], who])

    with world.admin() as admin:
        ask(admin, f"CREATE DATABASE {DATABASE}")
        with ThreadPoolExecutor(len(PROGRAMS)) as threads:
            yield {
                (name, who): threads.submit(run, name, program, who)
                for name, program in PROGRAMS.items()
                for who in users
            }
        ask(admin, f"DROP DATABASE {DATABASE}")


@pytest.mark.parametrize(
    ("name", "who", "check"),
    [
        (name, who, check)
        for (name, who), checks in CHECKS.items()
        if name in PROGRAMS
        for check in [*checks.split(), "nothing else"]
    ],
)
def test_driver(said: Said, name: str, who: str, check: str) -> None:
    found = said[name, who].result()
    if check == "nothing else":
        assert set(found) == set(CHECKS[name, who].split()), found
    else:
        assert found.get(check) == "ok"
