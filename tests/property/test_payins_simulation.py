"""Whatever happens in whatever order, no money is lost or doubled: seeded runs, audited."""

import pytest

from tests.payins_auditor import audit
from tests.payins_simulation import Simulation

SEEDS = range(60)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_cent_is_lost_or_doubled_and_nothing_stays_in_doubt(seed: int) -> None:
    simulation = Simulation(seed=seed)
    problems = simulation.run()
    assert [*problems, *audit(simulation)] == []
