"""Jobs that name an image, as a person runs them: real runs, a real engine, a real intake."""

import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.executors.docker import labels
from tests.conftest import Workspace, by_level, tags
from tests.docker import tiny
from tests.docker.registry import Registry, registry
from tests.intake_server import Server

pytestmark = pytest.mark.engine


@pytest.fixture(scope="session")
def small(docker_engine: None) -> str:
    return tiny.build()


@pytest.fixture
def there(workspace: Workspace) -> Workspace:
    """A workspace whose program finds the engine of the tests."""
    if host := os.environ.get("DOCKER_HOST"):
        workspace.environ["DOCKER_HOST"] = host
    return workspace


@pytest.fixture
def held(small: str) -> Iterator[Registry]:
    with registry() as running:
        yield running


def containers(workspace: Workspace) -> list[str]:
    """The ids of the containers that jobs of this workspace have."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    try:
        whose = labels.identify(str(workspace.path / ".signalbox"), boot)
    except FileNotFoundError:
        return []
    command = ["docker", "ps", "--no-trunc", "--quiet", "--filter"]
    command.append(f"label={labels.STATE}={whose}")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def inspect(container: str) -> dict[str, Any]:
    command = ["docker", "inspect", container]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found


def of_job(workspace: Workspace) -> str:
    """The container of the one running job, once it has one."""
    workspace.until(lambda: bool(containers(workspace)), within=30)
    return containers(workspace)[0]


def job_of(server: Server, name: str) -> dict[str, Any]:
    (found,) = [event for event in by_level(server.events, "job") if event["name"] == name]
    return found


# ── what a step finds ────────────────────────────────────────────────────────────────────────────


def test_a_job_runs_in_its_image_and_is_reported_with_it(
    there: Workspace, server: Server, small: str
) -> None:
    there.write("""
        name: P
        env: { FROM_FILE: one }
        parameters: { TARGET: { default: staging } }
        secrets: [NPM_TOKEN]
        jobs:
          inside:
            image: signalbox-tests/$KIND:1
            matrix: { KIND: [tiny] }
            steps:
              - echo "$FROM_FILE $TARGET $KIND ${CALLER-unset} ${HOME} $NPM_TOKEN"
              - printf '%s' "${NPM_TOKEN%???}"; sleep 0.1; printf '%s' "${NPM_TOKEN#????????}"
              - |
                echo "job color:red" >>$SIGNALBOX_TAGS
                echo "speed:3" >>$SIGNALBOX_MEASURES
                echo "ANSWER=42" >>$SIGNALBOX_OUTPUT
                echo made >made-inside
              - test "$ANSWER" = 42
          after:
            needs: [inside]
            steps: ['test "$ANSWER $(cat made-inside)" = "42 made"']
    """)
    ended = there.to(server).run("run", CALLER="leaks", NPM_TOKEN="abcdefgh123")
    assert ended.code == 0, ended.text
    assert "one staging tiny unset /root ***" in ended.text
    assert "abcdefgh" not in ended.text
    job = job_of(server, "inside (tiny)")
    assert tags(job)["image.name"] == small
    assert tags(job)["image.platform"].startswith("linux/")
    assert tags(job)["color"] == "red"
    assert job["queue_time"] > 0
    assert containers(there) == []


def test_the_place_of_a_job_is_waited_for_in_the_queue(
    there: Workspace, server: Server, small: str
) -> None:
    there.write(f"name: P\njobs: {{ a: {{ image: '{small}', steps: ['true'] }} }}")
    assert there.to(server).run("run").code == 0
    job, (step,) = job_of(server, "a"), by_level(server.events, "step")
    assert job["queue_time"] > 0
    assert job["start"] <= step["start"]


def test_output_is_merged_in_order_and_masked_across_pieces(there: Workspace, small: str) -> None:
    there.write(f"""
        name: P
        jobs:
          a:
            image: {small}
            steps:
              - i=0; while [ $i -lt 300 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done
    """)
    ended = there.run("run")
    said = [line.strip() for line in ended.text.splitlines()]
    expected = [f"{kind}{number}" for number in range(300) for kind in "oe"]
    assert [line for line in said if line[1:].isdigit() and line[0] in "oe"] == expected


def test_K13_what_the_image_says_of_entrypoint_directory_and_health_is_of_no_matter(
    there: Workspace, docker_engine: None
) -> None:
    more = 'ENTRYPOINT ["/no/such"]\nWORKDIR /etc\nCMD ["-x"]\nHEALTHCHECK CMD /no/such'
    image = tiny.build("signalbox-tests/odd:1", more)
    there.write(f"name: P\njobs: {{ a: {{ image: '{image}', steps: [pwd] }} }}")
    ended = there.run("run")
    assert ended.code == 0, ended.text
    assert str(there.path) in ended.text


def test_K13_an_image_without_a_shell_says_so(there: Workspace, small: str) -> None:
    recipe = f"FROM {small} AS t\nFROM scratch\nCOPY --from=t /bin/sleep /bin/sleep\n"
    command = ["docker", "build", "--quiet", "--tag", "signalbox-tests/bare:1", "-"]
    subprocess.run(command, input=recipe.encode(), capture_output=True, check=True)
    there.write("name: P\njobs: { a: { image: 'signalbox-tests/bare:1', steps: ['true'] } }")
    ended = there.run("run")
    assert ended.code == 1
    assert "ContainerStart" in ended.text
    assert "/bin/sh" in ended.text


# ── images ───────────────────────────────────────────────────────────────────────────────────────


def test_an_image_is_pulled_once_and_its_digest_is_on_the_job(
    there: Workspace, server: Server, held: Registry, small: str
) -> None:
    digest = held.hold("app:1", small)
    there.write(f"""
        name: P
        defaults: {{ image: "{held.at}/app:1" }}
        jobs: {{ a: {{ steps: ['true'] }}, b: {{ steps: ['true'] }} }}
    """)
    ended = there.to(server).run("run")
    assert ended.code == 0, ended.text
    assert tags(job_of(server, "a"))["image.digest"] == digest
    assert held.asked.count("app:1") <= 2  # HEAD and GET of one pull
    assert "pulled" in ended.text


def test_K5_a_pull_that_fails_is_all_queue_and_says_why(
    there: Workspace, server: Server, held: Registry
) -> None:
    there.write(f"name: P\njobs: {{ a: {{ image: '{held.at}/app:9', steps: ['true'] }} }}")
    ended = there.to(server).run("run")
    assert ended.code == 1
    assert "manifest unknown" in ended.text
    job = job_of(server, "a")
    assert job["start"] == job["end"]
    assert job["queue_time"] > 0
    assert (job["error"]["type"], job["error"]["domain"]) == ("ImagePull", "provider")
    assert by_level(server.events, "step") == []


def test_K5_a_registry_that_stumbles_is_asked_again(
    there: Workspace, held: Registry, small: str
) -> None:
    held.hold("app:1", small)
    held.failures = 1
    there.write(f"name: P\njobs: {{ a: {{ image: '{held.at}/app:1', steps: ['true'] }} }}")
    assert there.run("run").code == 0


@pytest.mark.parametrize(
    ("policy", "asked"), [("always", True), ("missing", False), ("never", False)]
)
def test_pull_says_when_a_registry_is_asked(
    there: Workspace, held: Registry, small: str, policy: str, asked: bool
) -> None:
    held.hold("app:1", small)
    name = f"{held.at}/app:1"
    there.write(f"name: P\njobs: {{ a: {{ image: '{name}', pull: {policy}, steps: [id] }} }}")
    assert f"image {name}, pull {policy}" in there.run("plan").out
    first = there.run("run")
    assert first.code == (1 if policy == "never" else 0), first.text
    assert ("may not be pulled" in first.text) == (policy == "never")
    held.asked.clear()
    there.run("run")
    assert bool(held.asked) == asked


@pytest.mark.parametrize("helper", [False, True])
def test_credentials_are_those_of_dockers_configuration(
    there: Workspace, held: Registry, small: str, tmp_path: Path, helper: bool
) -> None:
    held.hold("app:1", small)
    held.users = {"ada": "hunter2hunter2"}
    there.write(f"name: P\njobs: {{ a: {{ image: '{held.at}/app:1', steps: ['true'] }} }}")
    refused = there.run("run")
    assert refused.code == 1
    assert "ImagePull" in refused.text
    known = tmp_path / "docker"
    known.mkdir()
    if helper:
        program = tmp_path / "docker-credential-tests"
        program.write_text(
            '#!/bin/sh\ncat >/dev/null\necho \'{"Username":"ada","Secret":"hunter2hunter2"}\'\n'
        )
        program.chmod(0o755)
        there.environ["PATH"] = f"{tmp_path}:{there.environ['PATH']}"
        config: dict[str, Any] = {"credHelpers": {held.at: "tests"}}
    else:
        config = {"auths": {held.at: {"auth": "YWRhOmh1bnRlcjJodW50ZXIy"}}}
    (known / "config.json").write_text(json.dumps(config))
    ended = there.run("run", DOCKER_CONFIG=str(known))
    assert ended.code == 0, ended.text
    assert "hunter2" not in ended.text


def test_a_retry_runs_in_the_image_that_the_run_before_had(
    there: Workspace, server: Server, held: Registry, small: str
) -> None:
    digest = held.hold("app:1", small)
    there.write(f"""
        name: P
        jobs: {{ a: {{ image: "{held.at}/app:1", pull: always, steps: [test -e there] }} }}
    """)
    there.commit()
    assert there.to(server).run("run").code == 1
    held.hold("app:1", small, Labels={"moved": "yes"})
    (there.path / "there").touch()
    ended = there.run("retry")
    assert ended.code == 0, ended.text
    jobs = by_level(server.events, "job")
    assert [tags(job)["image.digest"] for job in jobs] == [digest, digest]
    printed = there.run("reproduce", "--job", "a", "--step", "1", "--run")
    assert f"app:1@{digest}, linux/" in printed.text
    assert printed.code == 1, "the file is in no commit"


# ── who a step is ────────────────────────────────────────────────────────────────────────────────


def test_a_user_of_the_image_can_say_what_every_step_can_and_passes_no_further(
    there: Workspace, docker_engine: None
) -> None:
    image = tiny.build("signalbox-tests/tester:1", "USER tester")
    there.path.chmod(0o777)
    there.write(f"""
        name: P
        jobs:
          a:
            image: {image}
            steps:
              - id; echo ANSWER=42 >>$SIGNALBOX_OUTPUT; echo "a:b" >>$SIGNALBOX_TAGS
              - test "$ANSWER" = 42; touch mine; ls -a .signalbox
    """)
    ended = there.run("run")
    assert ended.code == 0, ended.text
    assert f"uid={tiny.USER}" in ended.text
    assert "journal" not in ended.text
    assert (there.path / "mine").stat().st_uid == there.path.stat().st_uid
    assert stat.S_IMODE((there.path / ".signalbox").stat().st_mode) == 0o700


@pytest.mark.parametrize(("user", "expected"), [("owner", 1234), ("4321", 4321), ("root", 0)])
def test_user_says_who_a_step_is_and_the_owner_gets_what_it_leaves(
    there: Workspace, small: str, user: str, expected: int
) -> None:
    for path in (there.path, *there.path.rglob("*")):
        os.chown(path, 1234, 1234)
    there.path.chmod(0o777)
    there.write(f"""
        name: P
        jobs:
          a: {{ image: '{small}', user: "{user}", steps: ["id; touch 'a file'; ls -ln"] }}
    """)
    ended = there.run("run")
    assert ended.code == 0, ended.text
    assert f"uid={expected}" in ended.text
    assert (there.path / "a file").stat().st_uid == 1234


# ── what it may do ───────────────────────────────────────────────────────────────────────────────


def test_T5_a_container_is_bounded_whatever_the_file_says(there: Workspace, small: str) -> None:
    there.write(f"""
        name: P
        secrets: [NPM_TOKEN]
        jobs:
          a: {{ image: '{small}', cpus: 0.5, memory: 64m, pids: 50, steps: [sleep 30] }}
    """)
    with there.start("run", NPM_TOKEN="abcdefgh123") as process:
        found = inspect(of_job(there))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 143
    host = found["HostConfig"]
    assert {name: host[name] for name in sorted(GOLDEN)} == GOLDEN
    assert set(host["CapAdd"]) <= {f"CAP_{one}" for one in CAPABILITIES} | CAPABILITIES
    assert [mount["Destination"] for mount in found["Mounts"]] == [str(there.path)]
    assert "abcdefgh123" not in json.dumps(found)
    assert containers(there) == []


CAPABILITIES = {
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETUID",
}
GOLDEN: dict[str, Any] = {
    "AutoRemove": True,
    "CapDrop": ["ALL"],
    "CgroupParent": "",
    "Devices": None,
    "Init": True,
    "IpcMode": "private",
    "Memory": 64 * 1024 * 1024,
    "MemorySwap": 64 * 1024 * 1024,
    "NanoCpus": 500_000_000,
    "NetworkMode": "default",
    "PidMode": "",
    "PidsLimit": 50,
    "Privileged": False,
    "SecurityOpt": ["no-new-privileges:true"],
    "UTSMode": "",
    "UsernsMode": "",
    "VolumesFrom": None,
}


def test_P10_a_fork_bomb_ends_at_its_bound_and_the_next_step_runs(
    there: Workspace, small: str
) -> None:
    there.write(f"""
        name: P
        jobs:
          a:
            image: {small}
            pids: 40
            steps:
              - {{ run: "bomb() {{ bomb | bomb & }}; bomb; sleep 1", timeout: 3s }}
              - {{ run: echo went on, if: always }}
    """)
    ended = there.run("run", within=60)
    assert "went on" in ended.text


def test_P11_K6_a_hog_is_out_of_memory_and_no_success(
    there: Workspace, server: Server, base: str
) -> None:
    there.write(f"""
        name: P
        jobs: {{ a: {{ image: '{base}', memory: 24m, steps: ["head -c 200m /dev/zero | tail"] }} }}
    """)
    ended = there.to(server).run("run")
    assert ended.code == 1
    (step,) = by_level(server.events, "step")
    assert (step["error"]["type"], step["error"]["domain"]) == ("OutOfMemory", "unknown")


# ── how it ends ──────────────────────────────────────────────────────────────────────────────────


def test_K7_a_container_removed_by_others_is_lost_and_no_success(
    there: Workspace, server: Server, small: str
) -> None:
    there.write(f"""
        name: P
        jobs:
          a: {{ image: '{small}', steps: [sleep 30, {{ run: echo after, if: always }}] }}
    """)
    with there.to(server).start("run") as process:
        subprocess.run(["docker", "rm", "--force", of_job(there)], capture_output=True, check=True)
        process.communicate(timeout=30)
    assert process.returncode == 1
    first, *_ = by_level(server.events, "step")
    assert (first["error"]["type"], first["error"]["domain"]) == ("ContainerLost", "provider")


def test_a_signal_cancels_the_job_and_leaves_nothing(
    there: Workspace, server: Server, small: str
) -> None:
    there.write(f"""
        name: P
        jobs:
          a:
            image: {small}
            steps: ["trap 'echo heard; exit 0' TERM; echo up; sleep 30 & wait"]
    """)
    with there.to(server).start("run") as process:
        of_job(there)
        log = there.path / ".signalbox/runs"
        there.until(lambda: any(b"up" in one.read_bytes() for one in log.glob("*/*.log")), 30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "heard" in out + err
    assert job_of(server, "a")["status"] == "canceled"
    assert containers(there) == []


def test_after_the_limit_of_a_job_its_always_steps_run_in_the_same_container(
    there: Workspace, small: str
) -> None:
    there.write(f"""
        name: P
        jobs:
          a:
            image: {small}
            timeout: 1s
            steps:
              - echo kept >/tmp/kept; sleep 30
              - {{ run: cat /tmp/kept, if: always }}
    """)
    ended = there.run("run")
    assert ended.code == 1
    assert "kept" in [line.strip() for line in ended.text.splitlines()]
    assert "limit" in ended.text
