"""Which tests run together on one worker of a parallel run, and which of them begin first.

A unit of work is a file: its module fixtures are made once. A file that takes longer than its
share is split. Whoever finishes first takes the next unit, so the longest have to begin first:
else the last of them runs alone at the end.
"""

from typing import Any

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

WORKERS_PER_CORE = 1.5
"""Tests wait for servers a third of their time. With two workers per core the run takes as long,
and each test a third longer: every worker's servers use the processor even while idle."""
BYTES_PER_WORKER = 3 * 1024**3
"""Two stacks: the one that a worker's tests share, and one that a test has for itself."""

REPLAY = "tests/integration/replay/test_replay.py"

PARTS: dict[str, tuple[frozenset[str], ...]] = {
    REPLAY: (
        frozenset(
            {
                "test_it_goes_on_after_kill_9_at_every_step",
                "test_a_dry_run_tells_equal_from_damaged_and_swaps_nothing",
                "test_damaged_views_are_mended_under_live_traffic",
                "test_history_comes_from_postgresql_when_the_topic_has_lost_it",
                "test_the_old_tables_come_back_up_to_date",
            }
        ),
    ),
}
"""Files that are units of their own in parts, by the names of tests; what is left is one more."""

LONGEST = (
    f"{REPLAY} 0",
    "tests/integration/views/test_views_failures.py",
    f"{REPLAY} 1",
    "tests/integration/transport/test_transport_workers.py",
    "tests/chaos/test_chaos.py",
    "tests/chaos/test_payins_chaos.py",
    "tests/integration/payments/test_outage.py",
    "tests/integration/test_stack_lifecycle.py",
    "tests/integration/test_repair.py",
    "tests/integration/test_documented_commands.py",
    "tests/integration/test_health.py",
    "tests/integration/test_disk_full.py",
    "tests/integration/views/test_views_elasticity.py",
    "tests/integration/verify/test_verify_diverged.py",
    "tests/integration/verify/test_verify_command.py",
    "tests/integration/test_stack.py",
    "tests/integration/verify/test_verify_live.py",
    "tests/contract/clickhouse_http/test_clients.py",
    "tests/integration/verify/test_verify_sums.py",
    "tests/integration/views/test_views_dead_letters.py",
    "tests/integration/transport/test_transport_elasticity.py",
    "tests/integration/test_added_column.py",
    "tests/integration/test_hanging_transactions.py",
    "tests/integration/views/test_views_redrive.py",
    "tests/integration/views/test_views_startup.py",
    "tests/integration/views/test_views_flow.py",
    "tests/integration/verify/test_verify_dead_letters.py",
    "tests/contract/clickhouse_http/test_own_server.py",
    "tests/integration/service/test_redis.py",
    "tests/integration/service/test_api.py",
    "tests/integration/test_debezium.py",
)
"""Units that take longer than the others, by and large the longest first; all others come in any
order. Those that keep the processor busy stand apart: side by side each only takes longer."""


def workers_for(*, cores: int, memory_bytes: int) -> int:
    """How many workers a machine can carry."""
    return max(1, min(int(cores * WORKERS_PER_CORE), memory_bytes // BYTES_PER_WORKER))


def unit_of(nodeid: str) -> str:
    """The unit that a test belongs to: its file, or a part of it."""
    file, _, name = nodeid.partition("::")
    if (parts := PARTS.get(file)) is None:
        return file
    name = name.partition("[")[0]
    return f"{file} {next((n for n, names in enumerate(parts) if name in names), len(parts))}"


def longest_first(nodeid: str) -> int:
    """A key to sort tests by."""
    unit = unit_of(nodeid)
    return LONGEST.index(unit) if unit in LONGEST else len(LONGEST)


class LongestFirst(LoadScopeScheduling):
    """Hands out units in the order of collection."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        self.config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)
