"""Jobs with an image, started by our own container through the engine's socket."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import KEY, by_level
from tests.container.engine import docker
from tests.container.runner_job import OWNER, RunnerJob, socket
from tests.container.test_action_in_container import in_container, reporting
from tests.intake_server import Server

pytestmark = pytest.mark.engine

PIPELINE = """
name: Inside
jobs:
  build:
    image: IMAGE
    pull: never
    steps:
      - cp given made && id -u > who && echo "key:${{DD_API_KEY:-none}}"
      - run: test -S /var/run/docker.sock && echo socket || echo "no socket"
  after: {{ needs: [build], steps: [cat made who] }}
"""


def pipeline(base: str) -> str:
    return PIPELINE.replace("IMAGE", base).replace("{{", "{").replace("}}", "}")


def test_from_an_action_a_job_gets_the_workspace_which_the_host_has_elsewhere(
    image: str, base: str, tmp_path: Path, server: Server
) -> None:
    runner = RunnerJob(tmp_path, image, pipeline(base))
    (runner.workspace / "given").write_text("from the host\n")
    code, printed = runner.run(reporting(server))
    assert code == 0, printed
    assert "from the host" in printed
    assert "key:none" in printed
    assert "no socket" in printed
    made = runner.workspace / "made"
    assert (made.read_text(), made.stat().st_uid) == ("from the host\n", OWNER[0])
    assert {event["status"] for event in by_level(server.events, "job")} == {"success"}
    assert KEY not in printed


@pytest.fixture
def volume(docker_engine: None) -> Iterator[str]:
    """A volume of the engine's own, as CIs in containers keep their workspaces in."""
    name = f"signalbox-tests-{uuid.uuid4().hex[:12]}"
    docker("volume", "create", "--label", "signalbox-tests", name)
    yield name
    docker("volume", "rm", "--force", name)


def test_from_a_container_whose_workspace_is_a_volume_a_job_gets_that_volume(
    image: str, base: str, volume: str
) -> None:
    mounts = ["--volume", f"{volume}:/builds", "--volume", f"{socket()}:/var/run/docker.sock"]
    place = ["--network", "none", "--workdir", "/builds/app", *mounts]
    writer = ["--entrypoint", "/bin/sh", *place, "--env", f"PIPELINE={pipeline(base)}"]
    write = 'printf %s "$PIPELINE" > pipeline.yml; echo of the volume > given'
    docker("run", "--rm", *writer, image, "-c", write)
    done = in_container(image, *place, command="run --local")
    assert done.returncode == 0, done.stdout
    assert "of the volume" in done.stdout


@pytest.fixture
def neighbour(base: str) -> Iterator[str]:
    """A network that somebody made, with a service of the name ``greeter``."""
    name = f"tests-{uuid.uuid4().hex[:12]}"  # those of our own jobs' services begin otherwise
    docker("network", "create", "--label", "signalbox-tests", name)
    options = ["--detach", "--rm", "--network", name, "--network-alias", "greeter"]
    served = docker("run", *options, base, "sleep", "60")
    yield name
    docker("rm", "--force", served)
    docker("network", "rm", name)


def test_a_job_finds_the_services_of_the_network_that_we_are_on(
    image: str, base: str, neighbour: str, tmp_path: Path
) -> None:
    found = pipeline(base).replace("id -u > who", "touch who && getent hosts greeter")
    (tmp_path / "pipeline.yml").write_text(found)
    (tmp_path / "given").touch()
    mounts = ["--volume", f"{tmp_path}:/w", "--volume", f"{socket()}:/var/run/docker.sock"]
    options = ["--network", neighbour, "--workdir", "/w", *mounts]
    done = in_container(image, *options, command="run --local")
    assert done.returncode == 0, done.stdout
    assert "greeter" in done.stdout
