"""Faults D3, D5 and S3: no inodes, a quota, a disk that fails under the journal, a power cut.

Rigs: a tmpfs with few inodes; strace, which lets one system call on the journal's files fail; an
ext4 that writes nothing of its own accord for five minutes, on an image whose copy is what a power
cut leaves.
"""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import GIT, Ended, Workspace, by_level, killed
from tests.intake_server import Server

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
traced = pytest.mark.skipif(
    not shutil.which("strace"), reason="strace is not here; .ci/run installs it"
)
PIPELINE = """
name: Failing disk
jobs:
  job:
    steps: [echo one, echo two, echo three, echo four, echo five]
"""
FILES = ("journal.db", "journal.db-wal", "journal.db.tmp", "journal.db.tmp-wal")
STEPS = ["echo one", "echo two", "echo three", "echo four", "echo five"]


@pytest.fixture
def few_inodes(tmp_path: Path) -> Iterator[Path]:
    """A file system for 40 files."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,nr_inodes=40", "tmpfs", str(place)]
    subprocess.run(mount, check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def delivered(server: Server) -> list[str]:
    """The steps that the intake has; all it was sent is well."""
    assert server.findings() == []
    return [step["name"] for step in by_level(server.events, "step")]


def kept(state: Path) -> list[str]:
    """The steps that the journal has, which must be sound."""
    with sqlite3.connect(state / "journal.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = db.execute("SELECT body FROM event WHERE level = 'step' ORDER BY seq").fetchall()
    db.close()
    names = (re.search(rb'"name":"(echo \w+)"', bytes(row[0])) for row in found)
    return [match[1].decode() for match in names if match]


# ── D3 ───────────────────────────────────────────────────────────────────────────────────────────


@root_only
def test_D3_without_a_free_inode_the_build_runs_and_is_reported(
    workspace: Workspace, server: Server, few_inodes: Path
) -> None:
    workspace.write(PIPELINE)
    workspace.commit()
    workspace.to(server)
    ballast = few_inodes / "ballast"
    ballast.mkdir()
    subprocess.run(["bash", "-c", "touch {1..60} 2>/dev/null"], cwd=ballast, check=False)
    assert len(os.listdir(ballast)) < 40
    ended = workspace.run("run", "--state", str(few_inodes / "state"))
    assert ended.code == 0, ended.err
    assert "Events are kept in memory" in ended.err
    assert delivered(server) == STEPS
    shutil.rmtree(ballast)
    server.stored.clear()
    assert workspace.run("run", "--state", str(few_inodes / "state")).code == 0
    assert delivered(server) == kept(few_inodes / "state") == STEPS


@root_only
def test_D3_inodes_that_run_out_midway_stop_nothing(
    workspace: Workspace, server: Server, few_inodes: Path
) -> None:
    workspace.write(
        f"""
        name: Greedy
        jobs:
          job:
            steps:
              - echo one
              - seq 60 | sed 's,^,{few_inodes}/,' | xargs touch || true
              - echo two
        """
    )
    workspace.to(server)
    ended = workspace.run("run", "--state", str(few_inodes / "state"))
    assert ended.code == 0, ended.err
    assert [name for name in delivered(server) if name.startswith("echo")] == [
        "echo one",
        "echo two",
    ]


# ── a system call that fails ─────────────────────────────────────────────────────────────────────


def failing(
    workspace: Workspace, call: str, error: str, when: str, files: tuple[str, ...] = FILES
) -> tuple[Ended, list[str]]:
    """A run in which the ``when``-th ``call`` on the journal fails; what it did to its files."""
    state, log = workspace.path / ".signalbox", workspace.path.parent / "strace"
    done = subprocess.run(
        [
            *("strace", "-f", "--seccomp-bpf", "-y", "-qq", "-o", str(log)),
            *(f"-P{state / name}" for name in files),
            *("-e", f"trace={call},fdatasync,rename"),
            *("-e", f"inject={call}:error={error}:when={when}"),
            *(sys.executable, "-m", "runner", "run"),
        ],
        cwd=workspace.path,
        env=workspace.environ | GIT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr), log.read_text().splitlines()


@traced
@pytest.mark.parametrize(
    ("call", "when"),
    [("fdatasync", "3"), ("pwrite64", "30")],
)
def test_D5_after_an_error_of_the_disk_the_file_is_written_anew(
    workspace: Workspace, server: Server, call: str, when: str
) -> None:
    workspace.write(PIPELINE)
    workspace.commit()
    workspace.to(server)
    assert workspace.run("run", "--local").code == 0  # rows that are none of the next run's
    ended, calls = failing(workspace, call, "EIO", when)
    assert ended.code == 0, ended.err
    assert delivered(server) == STEPS
    state = workspace.path / ".signalbox"
    assert kept(state) == [*STEPS, *STEPS]
    assert len([name for name in os.listdir(state) if ".corrupt-" in name]) >= 1
    assert "the disk failed" in ended.err
    failed = next(number for number, line in enumerate(calls) if "INJECTED" in line)
    after = [line for line in calls[failed + 1 :] if "journal.db-wal" in line]
    first = next(iter(after), "rename")
    assert "rename" in first, f"nobody asks a second time: {first}"


@traced
@pytest.mark.parametrize(
    ("call", "error", "files"),
    [
        ("fdatasync", "EIO", FILES),
        ("pwrite64", "EDQUOT", FILES[:3]),  # the new file takes its WAL, and then no more
    ],
    ids=["fsync", "quota"],
)
def test_D3_D5_a_disk_that_goes_on_failing_stops_nothing_and_loses_nothing_older(
    workspace: Workspace, server: Server, call: str, error: str, files: tuple[str, ...]
) -> None:
    workspace.write(PIPELINE)
    workspace.commit()
    workspace.to(server)
    assert workspace.run("run", "--local").code == 0
    ended, _ = failing(workspace, call, error, "4+", files)
    assert ended.code == 0, ended.err
    assert "Events are kept in memory" in ended.err
    assert delivered(server) == STEPS
    assert kept(workspace.path / ".signalbox")[: len(STEPS)] == STEPS


# ── S3 ───────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """The ext4 in ``image``; what nobody syncs stays in memory for 300 s (ext4(5), commit)."""
    place.mkdir(exist_ok=True)
    mount = ["mount", "-t", "ext4", "-o", "loop,commit=300", str(image), str(place)]
    subprocess.run(mount, check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@root_only
@pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="mounting an image needs loop")
def test_S3_a_power_cut_takes_back_nothing_that_was_shown(
    workspace: Workspace, tmp_path: Path
) -> None:
    steps = [f"echo s{number}" for number in range(80)]
    workspace.write(f"name: P\njobs: {{ a: {{ steps: [{', '.join(steps)}] }} }}\n")
    image = tmp_path / "disk.img"
    subprocess.run(["mkfs.ext4", "-q", str(image), "24M"], check=True)
    shown: list[str] = []
    cuts: list[tuple[Path, list[str]]] = []
    with mounted(image, tmp_path / "disk") as disk:
        process = workspace.start("run", "--local", "--state", str(disk / "state"))
        with killed(process):
            assert process.stderr
            for line in process.stderr:
                if found := re.search(r"✓ (echo s\d+) ·", line):
                    shown.append(found[1])
                if found and len(shown) in {1, 7, 20, 41, 66}:
                    process.send_signal(signal.SIGSTOP)
                    shutil.copy(image, tmp_path / f"cut-{len(cuts)}.img")
                    cuts.append((tmp_path / f"cut-{len(cuts)}.img", list(shown)))
                    process.send_signal(signal.SIGCONT)
            assert process.wait(30) == 0
    assert len(cuts) == 5
    for cut, before in cuts:
        with mounted(cut, tmp_path / "after") as disk:
            assert kept(disk / "state")[: len(before)] == before
            assert workspace.run("clean", "--state", str(disk / "state")).code == 0
            shown_now = workspace.run("show", "latest", "--json", "--state", str(disk / "state"))
            assert shown_now.json["status"] == "error"
