"""Executions to look at: a repository, and pipelines that the real program ran in it.

Owns what they are; each run is a process of its own that delivers to an intake. ``pace`` stretches
the steps: tests have no time, pictures look better with some.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

DOCS: Final = """\
name: Documentation Build
service: docs
tags: { team: web }
parameters:
  TARGET: { default: staging, choices: [staging, production], description: Where to deploy }
jobs:
  lint:
    stage: check
    steps:
      - { name: Prose, run: "./work 0.6; echo '214 pages, no complaint'" }
      - { name: Links, run: "./work 1.4; echo '1,203 links are alive'" }
  test:
    stage: check
    matrix: { PYTHON: ["3.11", "3.12"] }
    steps:
      - { name: Install, run: "./work 0.5; echo 'installed 41 packages'" }
      - name: Examples
        run: |
          ./work 2.2
          for n in $(seq 1 12); do echo "examples/test_$n.py ......  [$((n * 8))%]"; done
          echo "72 passed"
          echo "coverage:87.5" >> "$SIGNALBOX_MEASURES"
  spelling:
    stage: check
    steps:
      - { name: Spelling, run: "./work 0.8; echo 'teh: the?'; exit 1", allow-failure: true }
  build:
    stage: build
    needs: [lint, test]
    steps:
      - { name: Render, run: "./work 2.6; echo '214 pages rendered'" }
      - { name: Search index, run: "./work 1.1; echo 'pages:214' >> $SIGNALBOX_MEASURES" }
  publish:
    stage: release
    needs: [build]
    steps:
      - { name: Upload to $TARGET, run: "./work 0.9; echo 'docs.example.com is fresh'" }
"""
API: Final = """\
name: API
service: api
tags: { team: platform }
jobs:
  compile:
    stage: build
    steps:
      - { name: Compile, run: "./work 1.2; echo 'compiled 318 files'" }
  unit:
    stage: test
    needs: [compile]
    steps:
      - name: pytest
        retry: 1
        run: |
          ./work 1.8
          if [ -n "$BROKEN" ]; then
          cat <<'END'
          ============================= test session starts ==============================
          collected 3 items

          tests/test_queue.py ..F                                                   [100%]

          =================================== FAILURES ===================================
          __________________________________ test_order __________________________________

              def test_order():
                  queue = Queue()
                  queue.push("a")
                  queue.push("b")
          >       assert queue.pop() == "a"
          E       AssertionError: assert 'b' == 'a'

          tests/test_queue.py:14: AssertionError
          =========================== short test summary info ============================
          FAILED tests/test_queue.py::test_order - AssertionError: assert 'b' == 'a'
          ========================= 1 failed, 2 passed in 0.12s ==========================
          END
          exit 1
          fi
          echo "3 passed in 0.11s"
  contract:
    stage: test
    needs: [compile]
    steps:
      - { name: Contract, run: "./work 1.1; echo '61 contracts hold'" }
  image:
    stage: release
    needs: [unit, contract]
    steps:
      - { name: Build the image, run: "./work 1.6; echo 'api:4f2a91c'" }
"""
RELEASE: Final = """\
name: Release
service: web
parameters:
  VERSION: { default: "2.4.0", description: What to release }
jobs:
  package:
    stage: build
    steps:
      - { name: Package $VERSION, run: "./work 1.3; echo packed" }
  approve:
    needs: [package]
    gate: Release $VERSION?
    expires: 7d
  ship:
    needs: [approve]
    stage: release
    steps:
      - { name: Ship, run: "./work 1.0; echo shipped" }
"""
WORK: Final = """\
#!/bin/sh
exec sleep "$(awk "BEGIN { print $PACE * $1 }")"
"""
FILES: Final = {"work": WORK, "docs.yml": DOCS, "api.yml": API, "release.yml": RELEASE}
GIT: Final = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada Lovelace",
    "GIT_AUTHOR_EMAIL": "ada@example.test",
    "GIT_COMMITTER_NAME": "Ada Lovelace",
    "GIT_COMMITTER_EMAIL": "ada@example.test",
}


class Workspace:
    """A repository with the pipelines, whose runs are delivered to ``intake``."""

    def __init__(self, folder: Path, intake: str, pace: str = "0") -> None:
        self._folder = folder
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PACE": pace,
            "SIGNALBOX_INTAKE_URL": intake,
            "SIGNALBOX_LOGS": "on",
            "NO_PROXY": "*",
            **GIT,
        }
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in FILES.items():
            (folder / name).write_text(text)
        (folder / "work").chmod(0o755)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("remote", "add", "origin", "https://example.com/acme/site.git")
        self.commit("Say what a gate is")

    def git(self, *words: str) -> None:
        """One git command in the repository."""
        subprocess.run(["git", *words], cwd=self._folder, env=self._environ, check=True)

    def commit(self, message: str, branch: str = "main") -> None:
        """A commit without content, on a branch that is made if need be."""
        self.git("checkout", "--quiet", "-B", branch)
        self.git("add", ".")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)

    def start(self, *words: str, extra: dict[str, str] | None = None) -> "subprocess.Popen[str]":
        """The program, running."""
        return subprocess.Popen(
            [sys.executable, "-m", "runner", *words],
            cwd=self._folder,
            env=self._environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | (extra or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str, code: int = 0, extra: dict[str, str] | None = None) -> str:
        """The program, ended with ``code``; what it printed."""
        return ended(self.start(*words, extra=extra), code)


def ended(process: "subprocess.Popen[str]", code: int = 0) -> str:
    """What a run printed, which ends with ``code``."""
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == code, printed
    return printed


def seed(workspace: Workspace) -> None:
    """A success, a failure and its retry, a gate that is approved, another branch. What runs at the
    same time has a state of its own, so that ``latest`` is what was waited for.
    """
    docs = workspace.start("run", "docs.yml", "--state", "../beside")
    workspace.run("run", "api.yml", code=1, extra={"BROKEN": "1"})
    workspace.run("retry", "latest", "--failed")
    ended(docs)
    workspace.commit("Queue: first in, first out")
    workspace.run("run", "release.yml", code=75)
    workspace.run("resume", "latest", "--approve", "approve", "--reason", "Numbers look good")
    workspace.commit("Render the search index in one pass", "feature/search")
    docs = workspace.start("run", "docs.yml", "-p", "TARGET=production", "--state", "../beside")
    workspace.run("run", "release.yml", code=75)
    ended(docs)
