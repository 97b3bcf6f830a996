"""ClickHouse's HTTP interface in front of chDB: the local stack's analytical database.

It stands at the end of the way of the data, where a ClickHouse server stands in production: the
sinks write views through it, analysts and `purser verify` read them. It must never acknowledge an
insert that the engine has not confirmed, and never let one request's settings reach another.

Reading order: `request` (what was asked) -> `auth` -> `body` and `compression` (the data) ->
`statement` (what kind of SQL) -> `reader` (what analysts may say) -> `handler` (one query) ->
`engine` and `connection` (chDB) -> `results` (the answer) -> `app` (the routes).
"""
