"""A place where the commands of an example run as the CI would run them: a repository with the
example's pipeline file, the CI's variables, and ``signalbox`` and ``docker`` on PATH.

``docker`` here knows ``run`` alone and starts no container: the program of this checkout runs with
the variables that the command line names, and with no other.
"""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from runner import __version__
from tests.conftest import ROOT, Ended, Workspace
from tests.forks import Forks

EXAMPLES: Final = ROOT / "examples"
IMAGE: Final = f"REGISTRY/OWNER/signalbox:{__version__}"
BASH: Final = ("bash", "-eo", "pipefail", "-c")
SH: Final = ("sh", "-e", "-c")

_SIGNALBOX = f"""#!{sys.executable} -IS
import json, os, socket, sys
here = os.path.dirname(os.path.realpath(__file__))
asked = {{
    "directory": os.getcwd(), "environ": dict(os.environ), "arguments": sys.argv[1:],
    "out": f"/proc/{{os.getpid()}}/fd/1", "err": f"/proc/{{os.getpid()}}/fd/2",
}}
with socket.socket(socket.AF_UNIX) as forks:
    forks.connect(os.path.join(here, "forks"))
    forks.sendall(json.dumps(asked).encode() + b"\\n")
    sys.exit(int(forks.makefile().readline()))
"""
_DOCKER = f"""#!/bin/bash
set -eu
[ "$1" = run ] && [ "$2" = --rm ]
shift 2
names=(PATH HOME LANG PYTHONPATH SIGNALBOX_INTAKE_URL)
here="$PWD"
while [ "$1" != {IMAGE} ]; do
  case "$1" in
    -v) [ "$2" = "$here:$here" ] ;;
    -w) [ "$2" = "$here" ] ;;
    -e) names+=("$2") ;;
    *) echo "docker: unknown: $1" >&2; exit 125 ;;
  esac
  shift 2
done
shift
known=()
for name in "${{names[@]}}"; do [ -z "${{!name+set}}" ] || known+=("$name=${{!name}}"); done
exec env -i "${{known[@]}}" signalbox "$@"
"""


def load(path: Path) -> Any:
    """The example's YAML; ``on`` is a word."""
    found = yaml.safe_load(path.read_text())
    if not isinstance(found, dict):
        return found
    return {"on" if key is True else key: value for key, value in found.items()}


def environment(name: str) -> dict[str, str]:
    """The variables of a CI, from its fixture."""
    path = ROOT / "tests" / "environments" / f"{name}.json"
    variables: dict[str, str] = msgspec.json.decode(path.read_bytes())["environ"]
    return variables


class Place:
    """The place; ``workspace`` holds the repository, ``forks`` runs ``signalbox``."""

    def __init__(
        self, workspace: Workspace, forks: Forks, pipeline: Path, environ: Mapping[str, str]
    ) -> None:
        self._workspace, self._forks = workspace, forks
        self.path = workspace.path
        (self.path / "pipeline.yml").write_bytes(pipeline.read_bytes())
        workspace.commit()
        programs = self.path.parent / "programs"
        programs.mkdir()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(programs / "forks"))
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()
        for name, text in (("signalbox", _SIGNALBOX), ("docker", _DOCKER)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        home = workspace.environ["HOME"]
        workspace.environ |= {**environ, "HOME": home}
        workspace.environ["PATH"] = f"{programs}:{workspace.environ['PATH']}"

    def _serve(self) -> None:
        """Hand on what ``signalbox`` is asked for, one run at a time."""
        with contextlib.suppress(OSError):  # the test is over
            while True:
                connection, _ = self._socket.accept()
                with connection, connection.makefile("rw") as asked:
                    asked.write(f"{self._forks.ask(asked.readline().rstrip())}\n")

    def close(self) -> None:
        """Nobody asks any more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def clone(self) -> None:
        """A fresh checkout in place of the old: another machine."""
        fresh = self.path.parent / "fresh"
        self._workspace.git("clone", "-q", str(self.path), str(fresh))
        self.path.rename(self.path.parent / f"old-{len(list(self.path.parent.iterdir()))}")
        fresh.rename(self.path)

    def run(self, command: str, shell: tuple[str, ...] = SH, **environ: str) -> Ended:
        """One command of the example."""
        done = subprocess.run(
            [*shell, command],
            cwd=self.path,
            env=self._workspace.environ | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)
