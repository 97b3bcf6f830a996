"""Chaos for payments in: a shop buys while processes die and the PSP misbehaves."""
