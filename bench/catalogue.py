"""The sections in order, by module name, so that listing them imports nothing."""

SECTIONS = {
    # First, because vacuum and merges after a bulk load would distort it.
    "latency": "bench.latency:latency",
    "groups": "bench.groups:groups",
    "throughput": "bench.sections:throughput",
    "transport": "bench.sections:transport",
    "elasticity": "bench.elasticity:elasticity",
    "storage": "bench.sections:storage",
    "queries": "bench.queries:queries",
    "replay": "bench.rebuild:rebuild",
    "day": "bench.day:day",
    "api": "bench.api:api",
    "peers": "bench.peers.run:peers",
    "trickle": "bench.peers.trickle:trickle",
}
ON_REQUEST = ("elasticity", "queries", "replay", "day", "api", "peers", "trickle")
"""Run only when named: they take minutes each, and `make peers` installs the peers."""
