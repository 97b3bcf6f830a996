"""Asking a server of this machine over plain HTTP, as often as a wait wants."""

import httpx


def local_get(url: str, seconds: float) -> httpx.Response:
    """GET a URL of this machine.

    Raises what httpx raises. Nothing is encrypted, so no certificates are loaded: that would take
    forty times as long as the answer, and a stack that comes up is asked ten times a second.
    """
    return httpx.get(url, timeout=seconds, verify=False)
