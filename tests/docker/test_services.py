"""Services of a job: beside it, ready before it, gone after it, and their logs to be had."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from docker import APIClient

from runner.executors import Stop
from runner.executors.docker import labels, services
from runner.executors.docker.image import Images
from runner.executors.docker.services import Order, Services
from runner.executors.shell import NotStartedError
from runner.notice import Reason
from runner.pipeline import Service
from tests.conftest import Workspace, by_level, killed
from tests.container.engine import docker
from tests.docker.conftest import Jobs, left
from tests.intake_server import Server

pytestmark = pytest.mark.engine
SERVER = (
    "perl -MIO::Socket::INET -e '$SIG{PIPE} = q(IGNORE); $| = 1; print qq(hunter2hunter2\\n);"
    " my $s = IO::Socket::INET->new(LocalPort => 80, Listen => 5);"
    " while (my $c = $s->accept) { print $c qq(hello\\n); close $c }'"
)
LISTENS = "bash -c 'echo >/dev/tcp/127.0.0.1/80'"
ASK = "exec 3<>/dev/tcp/{host}; cat <&3"


@pytest.fixture
def wanted(base: str) -> Service:
    """A server that says hello to whoever comes."""
    return Service(image=base, command=SERVER, ready=LISTENS)


class Beside:
    """Services without a job, in the machine's engine."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.logs: dict[str, bytes] = {}
        self._opened: list[Services] = []

    def start(
        self, *, seconds: int = 60, keeper: str = "", limit: float = 60, **declared: Service
    ) -> Services:
        order = Order(
            services=declared,
            job="job",
            labels=labels.made(self.jobs.owner, job="job", expires=int(time.time()) + 3600),
            seconds=seconds,
            pull="never",
            keeper=keeper,
            keep=self.logs.__setitem__,
        )
        api = self.jobs.api
        made = Services(api, Images(api, {}), order, time.monotonic)
        self._opened.append(made)
        stop = Stop()
        try:
            made.start(stop, limit)
        finally:
            stop.close()
        return made

    def states(self) -> set[str]:
        found = self.jobs.api.containers(all=True, filters={"label": labels.JOB + "=job"})
        return {one["State"] for one in found if one["Labels"][labels.STATE] == self.state}

    @property
    def state(self) -> str:
        return self.jobs.owner.state

    def close(self) -> None:
        for made in self._opened:
            made.close()


@pytest.fixture
def beside(jobs: Jobs) -> Iterator[Beside]:
    made = Beside(jobs)
    yield made
    made.close()


def refused(beside: Beside, **declared: Any) -> NotStartedError:
    with pytest.raises(NotStartedError) as raised:
        beside.start(**declared)
    return raised.value


def test_a_job_reaches_its_services_by_name_and_their_logs_are_kept(
    jobs: Jobs, wanted: Service
) -> None:
    job = jobs.open(services={"db": wanted, "other": wanted})
    ran = job.run(f"{ASK.format(host='db/80')}; {ASK.format(host='other/80')}")
    assert (ran.exit.code, ran.output) == (0, b"hello\nhello\n")
    assert len(jobs.left()) == 5
    job.session.close()
    assert jobs.left() == []
    assert jobs.log("job.db.log") == "******\n"


def test_a_service_that_ends_is_the_jobs_failure_with_its_log(beside: Beside, base: str) -> None:
    command = "sh -c 'echo no disk >&2; exit 4'"
    exit_ = refused(beside, db=Service(image=base, command=command, ready="true")).exit
    assert exit_.reason is Reason.SERVICE_UNHEALTHY
    assert "db: it ended with 4" in exit_.message
    assert b"no disk" in exit_.output


def test_a_service_that_never_is_ready_is_waited_for_so_long_and_no_longer(
    beside: Beside, base: str
) -> None:
    slow = Service(image=base, command="sleep 60", ready="echo not yet; exit 2")
    exit_ = refused(beside, limit=0.5, db=slow).exit
    assert exit_.reason is Reason.SERVICE_UNHEALTHY
    assert exit_.message == "db: `echo not yet; exit 2` ended with 2: not yet"


def test_an_attempt_that_hangs_is_made_again(
    beside: Beside, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "ATTEMPT", 0.5)
    hangs = "test -e /once && exit; touch /once; sleep 60"
    beside.start(db=Service(image=base, command="sleep 60", ready=hangs))


def test_a_service_that_cannot_be_started_says_why(beside: Beside, base: str) -> None:
    exit_ = refused(beside, db=Service(image=base, command="nonsense")).exit
    assert exit_.reason is Reason.SERVICE_UNHEALTHY
    assert '"nonsense": executable file not found' in exit_.message


def test_K16_services_end_by_themselves_when_the_jobs_time_is_up(beside: Beside, base: str) -> None:
    beside.start(seconds=4, keeper=base, db=Service(image=base, command="sleep 60", ready="true"))
    assert beside.states() == {"running"}
    until = time.monotonic() + 10
    while beside.states() - {"exited"} and time.monotonic() < until:
        time.sleep(0.1)
    assert beside.states() == {"exited"}  # the keeper removed itself; the rest is for the next run


def test_T5_a_service_may_do_what_servers_need_and_no_more(beside: Beside, base: str) -> None:
    beside.start(keeper=base, db=Service(image=base, command="sleep 60", env={"A": "b c"}))
    ours = {"label": f"{labels.STATE}={beside.state}"}
    found = [
        beside.jobs.api.inspect_container(one["Id"])
        for one in beside.jobs.api.containers(filters=ours)
    ]
    for one in found:
        host = one["HostConfig"]
        assert host["CapDrop"] == ["ALL"]
        assert not {"SYS_ADMIN", "NET_ADMIN", "NET_RAW", "MKNOD"} & {*host["CapAdd"]}
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        given = [host["Privileged"], host["Binds"], host["PortBindings"], one["Mounts"]]
        assert not any(given)
        assert host["PidsLimit"] > 0
        assert not host["PidMode"] or host["PidMode"].startswith("container:")
    assert sum("A=b c" in (one["Config"]["Env"] or ()) for one in found) == 1


# ── as a person runs them ────────────────────────────────────────────────────────────────────────


def test_a_job_here_reaches_ports_on_localhost(workspace: Workspace, base: str) -> None:
    workspace.write(f"""
        name: P
        jobs:
          here:
            services:
              db:
                image: {base}
                command: {SERVER!r}
                ready: {LISTENS!r}
                ports: ["48080:80"]
            steps: ["{ASK.format(host="127.0.0.1/48080")}"]
    """)
    ended = workspace.run("run")
    assert ended.code == 0, ended.text
    assert "hello" in ended.text


@pytest.fixture
def own_network(docker_engine: None) -> Iterator[str]:
    made = docker("network", "create", f"tests-{os.getpid()}")
    yield made
    docker("network", "rm", made)


@pytest.mark.parametrize("on_host", [False, True], ids=["network", "host-network"])
def test_so_does_a_job_in_our_own_container(
    workspace: Workspace, image: str, base: str, own_network: str, on_host: bool
) -> None:
    network = "host" if on_host else own_network
    by_name = "echo hello" if on_host else ASK.format(host="db/80")
    workspace.write(f"""
        name: P
        jobs:
          here:
            services:
              db:
                image: {base}
                command: {SERVER!r}
                ready: {LISTENS!r}
                ports: ["48081:80"]
            steps: ["{ASK.format(host="127.0.0.1/48081")}", "{by_name}"]
    """)
    socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    shared = ["--volume", f"{socket}:/var/run/docker.sock", "--network", network]
    mount = ["--volume", f"{workspace.path}:/w", "--workdir", "/w"]
    done = subprocess.run(
        ["docker", "run", "--rm", *shared, *mount, image, "run"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("    hello\n") == 2


def test_an_unhealthy_service_is_the_providers_failure_all_of_it_queue(
    workspace: Workspace, server: Server, base: str
) -> None:
    workspace.write(f"""
        name: P
        secrets: [TOKEN]
        jobs:
          a:
            image: {base}
            services:
              db: {{ image: {base}, ready: "true", command: "sh -c 'echo abcdefgh123; exit 3'" }}
            steps: [touch ran]
    """)
    ended = workspace.to(server).run("run", TOKEN="abcdefgh123")
    assert ended.code == 1, ended.text
    (job,) = by_level(server.events, "job")
    assert (job["error"]["type"], job["error"]["domain"]) == ("ServiceUnhealthy", "provider")
    assert job["start"] == job["end"]
    assert job["queue_time"] > 100
    assert "***" in ended.text
    assert "abcdefgh123" not in ended.text
    assert not (workspace.path / "ran").exists()


def test_a_run_that_is_canceled_while_services_start_leaves_nothing(
    workspace: Workspace, base: str, api: APIClient
) -> None:
    workspace.write(f"""
        name: P
        jobs:
          a:
            image: {base}
            services: {{ db: {{ image: {base}, ready: "false", command: sleep 60 }} }}
            steps: [touch ran]
    """)
    with workspace.start("run") as process, killed(process):
        workspace.until(lambda: len(left(api, workspace.path)) == 3, within=20)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 130
    assert left(api, workspace.path) == []
