"""Benchmarks: ratios against baselines in the same run, on the real servers.

    figures.py   one measured figure, and the table and JSON made of many
    servers.py   CPU time per process, Kafka's end offsets, Debezium paused and resumed
    orders.py    a history file of plain payments, as large as one likes
    load.py      a process that appends decided events at a fixed rate and looks for them
    consume.py   a process that reads the topic: batch transport or stock Faust
    append.py    what one append costs PostgreSQL, with guards and without
    sections.py  what is measured, one function each
    run.py       all of them in order

Nothing here is imported by the pipeline.
"""
