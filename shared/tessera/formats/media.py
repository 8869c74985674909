"""Media types of what the services write."""

from __future__ import annotations

PARQUET = "application/vnd.apache.parquet"
PNG = "image/png"
SAFETENSORS = "application/vnd.safetensors"
