"""The views worker: writes rows and totals of change events to ClickHouse, then acknowledges.

Read the modules in the order of a batch's path. `agent` takes it from Faust, `coalescer` joins it
with others into a flush, `pipeline` folds, writes, parks, settles and acknowledges, and
`steps` implements these steps. `parking` stores records that cannot be folded. What every worker
has, such as its health, is in `streams.worker`.
"""
