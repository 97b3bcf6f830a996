"""A simulator of Stripe: its API, its hosted pages, its webhooks, its test cards, its money."""
