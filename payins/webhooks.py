"""Works off the inbox: each webhook until it is done, however long its processor is away.

A batch is acknowledged when every webhook in it is done. What can never be done becomes a dead
letter; the raw payload stays in the topic.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from payins.inbox import EVENT_HEADER, PSP_HEADER
from payins.notices import Notices, Reader
from payins.poller import Poller
from schemas.errors import InputError, ProcessorError, ServiceUnavailable

WAIT_SECONDS_FIRST = 1.0
WAIT_SECONDS_MOST = 60.0

_log = logging.getLogger("purser.payins")


class Webhooks:
    """Takes records of the inbox's topic; `readers` parses the bodies of each processor."""

    def __init__(
        self, notices: Notices, poller: Poller, readers: Mapping[str, Reader], *, at_once: int
    ) -> None:
        self._notices = notices
        self._poller = poller
        self._readers = readers
        self._slots = asyncio.Semaphore(at_once)

    async def handle(self, records: Sequence[Any]) -> None:
        """Return when every record is done; their order does not matter."""
        async with asyncio.TaskGroup() as group:
            for record in records:
                group.create_task(self._one(record))

    async def _one(self, record: Any) -> None:
        headers = {name: value.decode("utf-8", "replace") for name, value in record.headers or ()}
        psp, event_id = headers.get(PSP_HEADER, ""), headers.get(EVENT_HEADER, "")
        place = f"{record.topic}/{record.partition}/{record.offset}"
        wait_seconds = WAIT_SECONDS_FIRST
        async with self._slots:
            while True:
                try:
                    await self._handle(psp, event_id or place, record.value or b"")
                except (ProcessorError, ServiceUnavailable) as error:
                    _log.warning("webhook %s at %s is put off: %s", event_id, place, error)
                else:
                    return
                await asyncio.sleep(wait_seconds)
                wait_seconds = min(2 * wait_seconds, WAIT_SECONDS_MOST)

    async def _handle(self, psp: str, about: str, body: bytes) -> None:
        reader = self._readers.get(psp)
        if reader is None:
            problem = InputError("psp", f"webhooks of {psp!r} cannot be read; deploy its connector")
            await self._poller.refused(psp, about, problem)
            return
        try:
            event = reader(body)
        except InputError as error:
            await self._poller.refused(psp, about, error)
            return
        await self._notices.told(event)
