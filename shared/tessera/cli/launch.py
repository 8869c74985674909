"""Start a program that ends with its parent: ``python launch.py PARENT_PID PROGRAM ARGUMENT…``.

Run as a plain file by a bare interpreter (``-I -S``), so it imports nothing of the project. The parent-death signal
survives exec, so that even a SIGKILL of ``tessera run`` ends its stack. Where the system has no such signal, our
programs watch their lifeline (stdin) instead, and leftovers are found through pids.json on the next start.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Arrange to die with the parent, then become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the line above
            sys.exit(1)
    os.execv(program[0], program)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main()
