"""Partitioner: cuts every image of a shard into regions."""
