"""PostgreSQL's side of the words: migrations, and the guards' generator, rules and codes.

Numbered `.sql` files are applied in order, once, by `writer.migrate`, and are never edited after a
release: a change is a new file.
"""
