"""``make bench``: every figure of the README, one after the other; with an engine, containers, too.

``python -m bench.NAME`` measures one part; so each has a process of its own here, too: the peak
memory that the kernel tells of a child is its parent's, where that is larger. The exit code is 1
when a figure is over its bound.
"""

import subprocess
import sys
from typing import Final

from tests.container import engine

PARTS: Final = ("flush", "masker", "spawn", "figures", "logs", "live", "report", "serve")
IN_CONTAINERS: Final = ("docker", "image")


def over(part: str) -> bool:
    """Whether a part ended by saying that something is over its bound."""
    print(f"── bench.{part}", flush=True)
    return bool(subprocess.run([sys.executable, "-m", f"bench.{part}"], check=False).returncode)


if __name__ == "__main__":
    parts = list(PARTS)
    if engine.answers():
        parts += IN_CONTAINERS
    else:
        print("no Docker engine answers: bench.docker and bench.image are left out")
    found = [over(part) for part in parts]  # all of them, whatever the first says
    sys.exit(any(found))
