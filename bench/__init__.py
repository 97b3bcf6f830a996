"""Benchmarks: ratios against baselines in the same run, on the real servers.

    __main__.py    `python -m bench`, which `purser bench` executes
    command.py     the command and its options
    catalogue.py   the sections by name
    figures.py     one measured figure, and the table and JSON of many
    servers.py     CPU time per process, Kafka's end offsets, pausing and resuming Debezium
    orders.py      a history file of plain payments, of any size
    latency.py     a section: commit to visible at a steady rate
    load.py        a process that appends decided events at a fixed rate and looks for them
    consume.py     a process that reads the topic: batch transport or stock Faust
    append.py      the cost of one append in PostgreSQL, with and without guards
    callers.py     a process whose callers append at the same time, in groups or one by one
    groups.py      a section: what groups are worth
    sections.py    the sections that run by default, one function each
    queries.py     a section: the documented queries on millions of payments
    generated.py   makes those payments' rows in ClickHouse
    rebuild.py     a section: a replay of everything under live traffic
    analyst.py     queries the views meanwhile and reports every wrong answer
    day.py         a section: a full day against an empty one
    day_load.py    loads such a day into PostgreSQL and ClickHouse, past the pipeline
    day_questions.py  what an analyst asks of the day meanwhile
    day_verify.py  times `purser verify` of the day
    api.py         a section: payments through the HTTP API
    api_load.py    a process that pays through it at a fixed rate
    statements.py  counts what programs ask of PostgreSQL
    peers/         a section: the frameworks that people would otherwise choose
    elasticity.py  a section: stalls when workers join, leave, die and hang
    workers.py     a group of views workers for that section
    hanging.py     a worker that hangs on a signal
    run.py         runs all sections in order
    soak.py        live traffic and kills for minutes
    soak_report.py  what a soak saw, and how it is judged
    memory.py      judges for the soak whether memory is flat
    lag.py         measures how far the views are behind, for the soak and the chaos rounds
    stripe_calls.py  CPU of a charge at Stripe: the connector, the SDK, aiohttp
    survival.py    checks that the soak shares with the chaos rounds

Nothing imports this package.
"""
