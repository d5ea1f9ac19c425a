"""``make bench``: every figure of the README, one after the other; with an engine, containers, too.

``python -m bench.NAME`` measures one part. The exit code is 1 when a figure is over its bound.
"""

import sys
from collections.abc import Callable

from bench import docker, figures, flush, image, live, logs, masker, report, serve, spawn
from tests.container import engine


def over(main: Callable[[], object]) -> bool:
    """Whether a part ended by saying that something is over its bound."""
    try:
        main()
    except SystemExit as ended:
        print(ended.code or "")
        return bool(ended.code)
    return False


if __name__ == "__main__":
    parts = [flush, masker, spawn, figures, logs, live, report, serve]
    if engine.answers():
        parts += [docker, image]
    else:
        print("no Docker engine answers: bench.docker and bench.image are left out")
    found = []
    for part in parts:
        print(f"── {part.__name__}", flush=True)
        found.append(over(part.main))
    sys.exit(any(found))
