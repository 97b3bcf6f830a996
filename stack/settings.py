"""Settings of the local stack, such as its folder and ports: one frozen object.

Every server module reads these settings; nothing here touches a file, a socket or a process.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from schemas.settings import CHECKOUT as CHECKOUT
from schemas.settings import PORT_HIGHEST, Folder, Settings, Text
from stack.topology import PORTS_RESERVED, VIEWS_WORKERS, Port

HOST = "127.0.0.1"
PORT_LOWEST = 1024

PositiveMegabytes = Annotated[int, Field(gt=0, le=1_048_576)]


VIEWS_WORKERS_MAX = len(VIEWS_WORKERS)


class StackSettings(Settings):
    """Settings of one local stack; two stacks differ in `home` and `port_base`."""

    home: Folder = CHECKOUT / ".purser"
    port_base: int = Field(default=15_400, ge=PORT_LOWEST, le=PORT_HIGHEST - PORTS_RESERVED + 1)
    cache: Folder = CHECKOUT / "build" / "stack"
    postgres_os_user: Text = "nobody"
    postgres_root_folder: Folder = Path("/var/lib/purser")
    postgres_slot_wal_megabytes: PositiveMegabytes = 4096
    disk_low_megabytes: PositiveMegabytes = 2048
    """With less free space than this, `purser status` reports a problem."""
    java_heap_megabytes: PositiveMegabytes = 512
    views_workers: int = Field(default=1, ge=1, le=VIEWS_WORKERS_MAX)
    """Number of views workers, which share the topic's partitions."""
    stack_start_timeout_seconds: float = Field(default=120.0, gt=0, le=3600)
    """How long a process may take until it answers."""
    stack_stop_timeout_seconds: float = Field(default=60.0, gt=0, le=3600)
    """How long a process may take to stop before it is killed."""

    def port(self, port: Port) -> int:
        """The number of one of this stack's ports."""
        return self.port_base + list(Port).index(port)
