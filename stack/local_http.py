"""Plain HTTP requests to servers of this machine, cheap enough for polling."""

import httpx


def local_get(url: str, seconds: float) -> httpx.Response:
    """GET a URL of this machine.

    Raises what httpx raises. Nothing is encrypted, so no certificates are loaded. Loading them
    takes forty times as long as the answer, and a starting stack is polled ten times a second.
    """
    return httpx.get(url, timeout=seconds, verify=False)
