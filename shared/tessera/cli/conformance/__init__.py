"""``tessera conformance``: check that an implementation of a service keeps the contract."""
