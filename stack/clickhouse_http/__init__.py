"""ClickHouse's HTTP interface in front of chDB: the local stack's analytical database.

It stands at the end of the live path, in place of a production ClickHouse server: the sinks write
the views through it, analysts and `purser verify` read them. It must never acknowledge an insert
that the engine has not confirmed, and one request's settings must never affect another.

Read the modules in this order: `request` and `parameters` (what was asked) -> `auth` -> `body`,
`compression` and `blocks` (the data) -> `statement` (the kind of SQL) -> `statement_gate` and
`harmless` (what analysts may run) -> `handler` and `job` (one query) -> `marks` and `running` (its
id) -> `engine` and `connection` (chDB) -> `results`, `formats` and `native` (the answer) -> `app`
(the routes).
"""
