"""Benchmarks: ratios against baselines in the same run, on the real servers.

    figures.py   one measured figure, and the table and JSON made of many
    servers.py   CPU time per process, Kafka's end offsets, Debezium paused and resumed
    orders.py    a history file of plain payments, as large as one likes
    load.py      a process that appends decided events at a fixed rate and looks for them
    consume.py   a process that reads the topic: batch transport or stock Faust
    append.py    what one append costs PostgreSQL, with guards and without
    sections.py  what is measured, one function each
    elasticity.py  one section more: stalls when workers join, leave, die and hang; with
    workers.py     a group of views workers to play with, and
    hanging.py     one that hangs when it is told to
    run.py       all of them in order
    soak.py      live traffic and kills for minutes; judged with
    memory.py    whether memory is flat,
    lag.py       how far the views are behind, and
    survival.py  what chaos rounds check as well

Nothing here is imported by the pipeline.
"""
