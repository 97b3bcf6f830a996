"""A simulated outside world: a seeded marketplace of buyers, sellers and banks."""
