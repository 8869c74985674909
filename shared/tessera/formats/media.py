"""Media types of objects that the services write."""

from __future__ import annotations

PARQUET = "application/vnd.apache.parquet"
PNG = "image/png"
SAFETENSORS = "application/vnd.safetensors"
