"""Rolls the totals up in the background of the views worker, beside the path of acknowledgement.

Totals are right without it, but the longer nothing is rolled up, the more a query adds up. So an
error here is logged and tried again; it never stops the worker.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from schemas.errors import PurserError
from sinks.roll_up import Rolled, RollUp
from sinks.settings import ClickHouseSettings

_log = logging.getLogger("purser.views")


class Rolling:
    """Calls `RollUp.step` again and again, in a thread, while `is_mine` says so.

    Of several workers one is enough. If two believe that it is theirs, nothing is harmed.
    """

    def __init__(
        self,
        settings: ClickHouseSettings,
        interval_seconds: float,
        is_mine: Callable[[], bool],
        on_rolled: Callable[[Rolled], None],
    ) -> None:
        self._settings = settings
        self._interval_seconds = interval_seconds
        self._is_mine = is_mine
        self._on_rolled = on_rolled
        self._roll_up: RollUp | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="roll-up")

    async def run(self) -> None:
        """Roll up until cancelled."""
        while True:
            await asyncio.sleep(self._interval_seconds)
            if self._is_mine():
                await asyncio.get_running_loop().run_in_executor(self._thread, self._step)

    def _step(self) -> None:
        try:
            if self._roll_up is None:
                self._roll_up = RollUp(self._settings)
            self._on_rolled(self._roll_up.step())
        except PurserError as error:
            _log.warning("totals could not be rolled up, queries are slower meanwhile: %s", error)
        except Exception:  # noqa: BLE001 - a mistake of ours must not stop the worker, either
            _log.exception("totals could not be rolled up, queries are slower meanwhile")
