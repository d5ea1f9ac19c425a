"""``signalbox serve`` as people run it: a process, a free port and a state of its own.

Owns its start and end. Not what is in it: that is ``seed``'s.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


@contextmanager
def serving(state: Path) -> Iterator[str]:
    """The address under which it serves ``state``."""
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", "serve", "--port", "0", "--state", str(state)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"},
        cwd=state.parent,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        first = process.stderr.readline()
        assert "http://" in first, first + process.stderr.read()
        yield first.split()[-1]
    finally:
        process.terminate()
        process.wait(10)
        process.stderr.close()
