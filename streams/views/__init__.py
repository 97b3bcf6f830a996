"""The views worker: batches of change events in, rows and totals in ClickHouse out, then the ack.

Reading order is the way of a batch: `agent` takes it from Faust, `coalescer` joins it with others
into a flush, `pipeline` folds, writes, parks, refreshes totals and acknowledges, `steps` does each
of these for real. `dead_letters` keeps what cannot be folded, `health`, `monitor` and `metrics`
tell how it goes, `startup` refuses to begin what cannot end well.
"""
