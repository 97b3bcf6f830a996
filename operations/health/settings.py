"""Settings of `purser status`."""

from schemas.settings import Seconds, Settings


class HealthSettings(Settings):
    """When events that have not come out at the other end are called a problem."""

    status_visible_seconds: Seconds = 30.0
    """An event that was committed longer ago must be visible in ClickHouse. It takes half a second
    while all is well, and up to twenty after a kill.
    """
