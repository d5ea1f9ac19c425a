"""Executions to look at: a repository, and pipelines that the real program ran in it.

Owns what they are; each run is a process of its own that delivers to an intake. ``pace`` stretches
the steps: tests have no time, pictures look better with some.
"""

from pathlib import Path
from subprocess import Popen
from typing import Final

from tests.conftest import Workspace

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
BESIDE: Final = ("--state", "../beside")
"""For what runs at the same time: ``latest`` stays what was waited for."""


def site(folder: Path, intake: str, pace: str = "0") -> Workspace:
    """A repository with the pipelines, whose runs are delivered to ``intake``."""
    home = folder / "home"
    home.mkdir(parents=True)
    made = Workspace(folder / "site", home)
    made.environ |= {
        "PACE": pace,
        "SIGNALBOX_INTAKE_URL": intake,
        "SIGNALBOX_LOGS": "on",
        "NO_PROXY": "*",
    }
    for name, text in FILES.items():
        made.write(text, name)
    (made.path / "work").chmod(0o755)
    made.git("init", "--quiet", "--initial-branch=main")
    made.git("remote", "add", "origin", "https://git.example.test/team/site.git")
    made.commit("Say what a gate is")
    return made


def seed(made: Workspace) -> None:
    """A success, a failure and its retry, a gate that is approved, another branch."""
    docs = made.start("run", "docs.yml", *BESIDE)
    run(made, "run", "api.yml", code=1, BROKEN="1")
    run(made, "retry", "latest", "--failed")
    ended(docs)
    change(made, "Queue: first in, first out")
    run(made, "run", "release.yml", code=75)
    run(made, "resume", "latest", "--approve", "approve", "--reason", "Numbers look good")
    made.git("checkout", "--quiet", "-b", "feature/search")
    change(made, "Render the search index in one pass")
    docs = made.start("run", "docs.yml", "-p", "TARGET=production", *BESIDE)
    run(made, "run", "release.yml", code=75)
    ended(docs)


def change(made: Workspace, message: str) -> None:
    """A commit without content."""
    made.git("commit", "--quiet", "--allow-empty", "--message", message)


def run(made: Workspace, *arguments: str, code: int = 0, **environ: str) -> None:
    """A run that ends with ``code``."""
    done = made.run(*arguments, within=120, **environ)
    assert done.code == code, done


def ended(process: "Popen[str]") -> None:
    """Wait until a run is over."""
    with process:
        process.communicate(timeout=120)
