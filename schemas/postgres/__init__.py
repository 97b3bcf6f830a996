"""PostgreSQL's side of the words: migrations, the guards' generator, and what refusals mean.

Numbered `.sql` files are applied in order, once, by `writer.migrate`, and are never edited after a
release: a change is a new file.
"""
