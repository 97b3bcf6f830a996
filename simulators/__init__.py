"""Servers that speak the protocols of other companies, so that every part of Purser can be tried.

A simulator keeps books of its own and shares nothing with us but the vocabulary of money: what
Purser learns from it, Purser could learn from the real one.
"""
