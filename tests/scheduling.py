"""Which tests run together on one worker of a parallel run, and which of them begin first.

A unit of work is a file: its module fixtures are made once. A file that takes longer than its
share is split. Whoever finishes first takes the next unit, so the longest have to begin first:
else the last of them runs alone at the end.
"""

from typing import Any

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

WORKERS_PER_CORE = 2
"""Tests wait for servers for half of their time."""
BYTES_PER_WORKER = 3 * 1024**3
"""Two stacks: the one that a worker's tests share, and one that a test has for itself."""

LONGEST: tuple[str, ...] = (
    "tests/integration/replay/test_replay.py",
    "tests/chaos/test_chaos.py",
    "tests/integration/transport/test_transport_workers.py",
    "tests/integration/views/test_views_failures.py",
    "tests/integration/test_stack_lifecycle.py",
    "tests/integration/views/test_views_elasticity.py",
    "tests/integration/views/test_views_dead_letters.py",
    "tests/integration/transport/test_transport_elasticity.py",
    "tests/integration/test_stack.py",
    "tests/integration/test_added_column.py",
    "tests/integration/verify/test_verify_diverged.py",
    "tests/contract/clickhouse_http/test_own_server.py",
)
"""Units that take more than half a minute, the longest first. All others come in any order."""


def workers_for(*, cores: int, memory_bytes: int) -> int:
    """How many workers a machine can carry."""
    return max(1, min(cores * WORKERS_PER_CORE, memory_bytes // BYTES_PER_WORKER))


def unit_of(nodeid: str) -> str:
    """The unit that a test belongs to."""
    return nodeid.partition("::")[0]


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
