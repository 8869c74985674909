"""From scores, embedding, budget and seed to an ordered list of regions."""
