"""What can be measured: sections in order, by where they are, so that naming costs nothing."""

SECTIONS = {
    # Before anything large: what a bulk load leaves behind, vacuum and merges, would be in it.
    "latency": "bench.sections:latency",
    "throughput": "bench.sections:throughput",
    "transport": "bench.sections:transport",
    "elasticity": "bench.elasticity:elasticity",
    "storage": "bench.sections:storage",
    "queries": "bench.queries:queries",
    "replay": "bench.rebuild:rebuild",
    "peers": "bench.peers.run:peers",
}
ON_REQUEST = ("elasticity", "queries", "replay", "peers")
"""Only when they are named: they take minutes each, and the peers are installed by `make peers`."""
