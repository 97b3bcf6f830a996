"""The world outside, simulated: a seeded marketplace of buyers, sellers and banks."""
