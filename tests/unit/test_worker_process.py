"""A worker that has ended itself says by its status why; the supervisor starts it again anyway."""

import pytest

from schemas.errors import ConfigurationError, MalformedRecord, ServiceUnavailable, WriteRefused
from schemas.runtime import COULD_NOT, UNEXPECTED
from streams.worker.lag_monitor import WorkerStalled
from streams.worker.process import STOPPED, status_of


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (WorkerStalled("partition 0 has been stuck"), STOPPED),
        (MalformedRecord("not JSON"), STOPPED),
        (WriteRefused("a row was refused"), STOPPED),
        (ServiceUnavailable("ClickHouse does not answer"), COULD_NOT),
        (ConfigurationError("the port is taken"), COULD_NOT),
        (RuntimeError("a bug"), UNEXPECTED),
        (SystemError("a bug"), UNEXPECTED),
    ],
)
def test_the_status_of_a_worker_that_has_ended_itself(failure: BaseException, status: int) -> None:
    assert status_of(failure) == status
