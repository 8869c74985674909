"""CVAT: questions as annotations of its tasks, and its annotations as answers. Pure: bytes in, bytes out."""
