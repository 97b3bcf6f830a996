"""PostgreSQL's schema: migrations, and the guards' generator, rules and codes.

`writer.migrate` applies the numbered `.sql` files in order, each once. A released file is never
edited: a change is a new file.
"""
