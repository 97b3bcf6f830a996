"""Stripe: takes payments by cards and by bank transfers, directly or on Stripe's own page.

`client` alone touches the network; `requests`, `translate`, `failures` and `webhook` are pure.
"""
