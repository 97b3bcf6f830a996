"""What every worker of the payments topic has, whatever it does with the events.

`topic_worker` is the worker itself, to be derived from; `process` runs it and gives the process its
exit status. `startup` waits for the servers first. `health` judges the worker by the work done,
`lag_monitor` measures that, and `operators` serves both beside the `metrics`.
"""
