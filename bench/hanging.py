"""The views worker with two ways to hang on a signal, to measure how soon it is noticed.

`python -m bench.hanging` is `python -m streams.views.worker` with two additional signals. On
SIGRTMIN it stops fetching, while its event loop keeps running. On SIGRTMIN+1 its event loop stops,
while the consumer's thread keeps running and keeps its place in the group.
"""

import asyncio
import signal
import time
from types import FrameType
from typing import Any

from streams.transport import BatchConsumer
from streams.views.worker import main

NO_FETCH = signal.SIGRTMIN
BLOCKED_LOOP = signal.SIGRTMIN + 1
FOR_EVER_SECONDS = 86_400.0


async def _fetch_nothing(_consumer: BatchConsumer, timeout: float) -> Any:  # noqa: ASYNC109
    await asyncio.sleep(FOR_EVER_SECONDS)
    yield  # makes this a generator, like the method that it replaces


def _stop_fetching(_number: int, _frame: FrameType | None) -> None:
    setattr(BatchConsumer, "getmany", _fetch_nothing)  # noqa: B010 - a method


def _block(_number: int, _frame: FrameType | None) -> None:
    time.sleep(FOR_EVER_SECONDS)


if __name__ == "__main__":
    signal.signal(NO_FETCH, _stop_fetching)
    signal.signal(BLOCKED_LOOP, _block)
    main()
