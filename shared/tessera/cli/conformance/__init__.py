"""``tessera conformance``: whether an implementation of a service, whoever wrote it, keeps the contract."""
