"""Rounds of questions to people: their state in NATS, their answers in the store, and the calls about them."""
