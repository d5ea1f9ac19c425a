"""``signalbox serve`` as people run it: a process, a free port and a state of its own.

Owns its start and end, and a request to it. Not what is in it: that is ``seed``'s.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import requests

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


def post(address: str, body: object) -> None:
    """Have it take ``body``."""
    answer = requests.post(
        address,
        data=json.dumps(body).encode(),
        headers={"DD-API-KEY": "k" * 32, "Content-Type": "application/json"},
        timeout=10,
    )
    assert answer.ok, answer.text
