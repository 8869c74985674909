"""Remove from shared libraries the symbols that nothing is linked by: ``strip.py SECONDS LIBRARY…``.

A library that a wheel's maker has edited (patchelf) may lie in its file such that ``strip`` moves its segments to where
no loader takes them. It stays as it is. All libraries are dated SECONDS.
"""

import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

_LOAD = 1


def loadable(library: bytes) -> bool:
    """Return whether each segment of a 64-bit little-endian ELF file lies at its address, modulo its alignment."""
    (start,), (size, count) = struct.unpack_from("<Q", library, 32), struct.unpack_from("<HH", library, 54)
    for at in range(start, start + size * count, size):
        kind, _, offset, address, _, _, _, align = struct.unpack_from("<IIQQQQQQ", library, at)
        if kind == _LOAD and (address - offset) % max(align, 1):
            return False
    return True


def main(seconds: int, libraries: list[str]) -> None:
    """Strip them."""
    with tempfile.TemporaryDirectory() as folder:
        for each in libraries:
            made = Path(folder, "stripped")
            command = ["strip", "--strip-unneeded", "-o", str(made), each]
            done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
            if done.returncode == 0 and loadable(made.read_bytes()):
                shutil.copyfile(made, each)
            os.utime(each, (seconds, seconds))


main(int(sys.argv[1]), sys.argv[2:])
