"""However far away the engine is, a job has the workspace, and what it changes comes back."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.executors.docker.mapping import Mounted, outermost, translate
from tests.conftest import Workspace, by_level, tags
from tests.container.engine import docker
from tests.docker import tiny
from tests.docker.conftest import Jobs
from tests.docker.daemon import Daemon
from tests.intake_server import Server

BIND = Mounted(kind="bind", source="/home/ci/work", target="/w")
VOLUME = Mounted(kind="volume", source="/volumes/v/_data", target="/v", volume="v")


def as_pairs(mounts: object) -> list[tuple[str, str]]:
    assert isinstance(mounts, tuple), mounts
    return [(mount["Source"], mount["Target"]) for mount in mounts]


# ── what our own mounts mean for another container ───────────────────────────────────────────────


def test_a_directory_in_a_bind_is_where_the_bind_comes_from() -> None:
    assert as_pairs(translate([BIND], ["/w/app"])) == [("/home/ci/work/app", "/w/app")]


def test_of_a_volume_no_more_is_mounted_than_is_needed() -> None:
    whole = {"Type": "volume", "Source": "v", "Target": "/v", "ReadOnly": False}
    assert translate([VOLUME], ["/v"]) == (whole,)
    assert as_pairs(translate([VOLUME], ["/v/app"])) == [("/volumes/v/_data/app", "/v/app")]


def test_the_nearest_mount_counts_and_those_below_come_along() -> None:
    inner = Mounted(kind="bind", source="/cache", target="/w/app/cache", writable=False)
    sock = Mounted(kind="bind", source="/var/run/docker.sock", target="/var/run/docker.sock")
    found = translate([BIND, inner, sock], ["/w/app"])
    assert as_pairs(found) == [("/home/ci/work/app", "/w/app"), ("/cache", "/w/app/cache")]
    assert [mount["ReadOnly"] for mount in found] == [False, True]  # type: ignore[index]


@pytest.mark.parametrize("kind", ["tmpfs", "npipe"])
def test_what_no_other_container_can_have_is_named(kind: str) -> None:
    memory = Mounted(kind=kind, source="", target="/w/app")
    assert translate([BIND, memory], ["/w/app/x"]) == "/w/app/x"
    assert translate([BIND], ["/elsewhere"]) == "/elsewhere"


def test_a_directory_inside_another_needs_no_mount() -> None:
    assert outermost(["/w", "/w/.signalbox/runs/1", "/web"]) == ("/w", "/web")


# ── an engine on another machine ─────────────────────────────────────────────────────────────────


@pytest.fixture
def far(remote: Daemon, tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(remote.url, tmp_path, tiny.NAME)
    yield made
    made.close()


@pytest.mark.engine
def test_what_a_job_far_away_changes_comes_back(far: Jobs) -> None:
    here = far.workspace
    (here / "sub").mkdir()
    for name in ("kept", "changed", "sub/removed", "mine"):
        (here / name).write_text("old\n")
        os.utime(here / name, (1_000_000, 1_000_000))
    (here / "link").symlink_to("kept")
    (here / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (here / "run.sh").chmod(0o755)
    job = far.open()
    (here / "mine").write_text("changed here meanwhile\n")
    ran = job.run(
        "cat link; ./run.sh; echo new >changed; rm -r sub; mkdir -p a/b; echo deep >a/b/c;"
        " ln -s c a/b/l; ln a/b/c a/b/h"
    )
    assert (ran.exit.code, ran.output) == (0, b"old\nran\n")
    job.session.close()
    assert far.warnings == []
    assert (here / "changed").read_text() == "new\n"
    assert (here / "mine").read_text() == "changed here meanwhile\n"
    assert not (here / "sub").exists()
    assert (here / "a/b/l").read_text() == (here / "a/b/h").read_text() == "deep\n"
    assert (here / "run.sh").stat().st_mode & 0o777 == 0o755
    assert far.left() == []


@pytest.mark.engine
def test_what_comes_back_is_written_through_no_link(far: Jobs, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    job = far.open()
    assert job.run("mkdir trap; echo caught >trap/file").exit.ok
    (far.workspace / "trap").symlink_to(outside)
    job.session.close()
    assert list(outside.iterdir()) == []


@pytest.mark.engine
def test_another_directory_at_the_same_path_is_found_out(far: Jobs, remote: Daemon) -> None:
    for path in (far.workspace, far.workspace.parent / "state"):  # a bind makes what is not there
        remote.docker("run", "--rm", "--volume", f"{path}:/x", tiny.NAME, "true")
    ran = far.open().run("ls")
    assert ran.output == b"pipeline.yml\n"


@pytest.mark.engine
def test_what_a_step_far_away_says_is_heard_and_masked_in_time(
    workspace: Workspace, server: Server, remote: Daemon
) -> None:
    workspace.environ["DOCKER_HOST"] = remote.url
    workspace.write(f"""
        name: P
        jobs:
          far:
            image: {tiny.NAME}
            steps:
              - |
                A=fish-77; echo sword$A >>$SIGNALBOX_MASK
                echo it is sword$A
                echo "job color:red" >>$SIGNALBOX_TAGS
                echo ANSWER=42 >>$SIGNALBOX_OUTPUT
              - echo "answer $ANSWER"; test ! -s $SIGNALBOX_OUTPUT
          here:
            needs: [far]
            steps: ['echo "here $ANSWER"']
    """)
    ended = workspace.to(server).run("run")
    assert ended.code == 0, ended.text
    assert "it is ***" in ended.text
    assert "swordfish" not in ended.text
    assert "here 42" in ended.text
    assert {tags(job).get("color") for job in by_level(server.events, "job")} == {"red", None}


# ── we ourselves in a container ──────────────────────────────────────────────────────────────────

INSIDE = """
name: P
jobs:
  a: {{ image: "{base}", steps: ['echo "from a" >made; grep -c . pipeline.yml'] }}
  b: {{ needs: [a], steps: ["cat made"] }}
"""


@pytest.mark.engine
@pytest.mark.parametrize(
    ("options", "way"),
    [
        ("--volume {directory}:/elsewhere", "translated path: as mounted"),
        ("--volume {directory}:/elsewhere --network host", "translated path: as mounted"),
        ("--volume {volume}:/elsewhere", "translated path: as mounted"),
        ("", "copy: /elsewhere is in no mount"),
    ],
    ids=["bind", "host-network", "volume", "no-mount"],
)
def test_from_our_own_container_a_job_has_the_workspace(
    image: str, base: str, tmp_path: Path, options: str, way: str
) -> None:
    (tmp_path / "pipeline.yml").write_text(INSIDE.format(base=base))
    socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    volume = docker("volume", "create")
    where = options.format(directory=tmp_path, volume=volume).split()
    command = "signalbox plan && signalbox run && cat made"
    made = docker(
        *("create", "--workdir", "/elsewhere", "--volume", f"{socket}:/var/run/docker.sock"),
        *(*where, image, "sh", "-c", command),
    )
    try:
        if str(tmp_path) not in " ".join(where):
            docker("cp", f"{tmp_path}/pipeline.yml", f"{made}:/elsewhere/")
        done = subprocess.run(
            ["docker", "start", "--attach", made], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"workspace in containers: {way}" in done.stdout
        assert done.stdout.endswith("from a\n")
    finally:
        docker("rm", "--force", "--volumes", made)
        docker("volume", "rm", volume)
