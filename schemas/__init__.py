"""The vocabulary of Purser: money, ids, lifecycles, events, the CDC envelope, view rows and errors.

All other packages import this one. It imports no other package of Purser and uses no clock, no
socket, and no file outside itself. The exception is the frame around every program (`runtime`),
which meets signals, streams and unexpected errors.
"""
