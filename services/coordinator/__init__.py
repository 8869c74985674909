"""Coordinator: owns runs. An event log and a pure reducer decide; this service reads, appends, and queues jobs."""
