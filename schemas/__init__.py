"""The words of Purser: money, ids, lifecycles, events, the CDC envelope, view rows and errors.

Everything else imports this package; it imports nothing of ours and touches no clock, no socket,
no file outside itself.
"""
