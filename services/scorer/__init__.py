"""Score regions: the current model over the pool, one fused pass per image."""
