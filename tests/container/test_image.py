"""What the image is: what answers in it, what is not in it, and our own init."""

import json
import time

import pytest

from tests.container.engine import EngineError, docker

pytestmark = pytest.mark.engine

_PYTHON = "/opt/venv/bin/python"
_CANARY = "c4n4ry-of-the-image"


def in_image(image: str, *command: str, options: str = "") -> str:
    """What a container of the image prints, started without the network."""
    return docker("run", "--rm", "--network", "none", *options.split(), image, *command)


def guarded(image: str, program: str, *, options: str = "") -> str:
    """What ``program`` prints when it runs behind our own init, as PID 1's child."""
    entry = f"--entrypoint {_PYTHON} {options}"
    code = f"from runner.cli import pid1; pid1.guard()\n{program}"
    return in_image(image, "-I", "-c", code, options=entry)


def test_it_is_no_larger_than_promised(image: str, slim: str) -> None:
    sizes = [int(docker("image", "inspect", "--format", "{{.Size}}", i)) for i in (image, slim)]
    assert sizes[0] <= 260_000_000
    assert sizes[1] <= 165_000_000


def test_an_option_or_a_subcommand_goes_to_signalbox(image: str) -> None:
    assert in_image(image, "--version").startswith("signalbox ")
    assert '"jobs"' in in_image(image, "schema")


def test_any_other_command_is_run_as_it_is(image: str) -> None:
    assert in_image(image, "sh", "-c", "echo $0 out", "it's") == "it's out"


def test_without_a_command_it_says_what_there_is(image: str) -> None:
    with pytest.raises(EngineError, match="run a pipeline"):
        in_image(image)


def test_P4_a_variable_with_a_hyphen_comes_through(image: str) -> None:
    assert f"INPUT_API-KEY={_CANARY}" in in_image(
        image, "env", options=f"-e INPUT_API-KEY={_CANARY}"
    )


def test_P9_every_module_is_compiled(image: str) -> None:
    count = "find /opt/venv/lib /opt/signalbox -name '*.py*' | sed 's/.*[.]//' | sort | uniq -c"
    lines = in_image(image, "sh", "-c", count).split()
    kinds = dict(zip(lines[1::2], map(int, lines[::2]), strict=True))
    assert kinds["pyc"] == kinds["py"]


def test_it_works_under_any_uid_with_nothing_to_write_to(image: str) -> None:
    options = "--read-only --user 4711:4711 --env HOME=/nonexistent"
    assert in_image(image, "signalbox", "--version", options=options).startswith("signalbox ")


def test_T24_the_image_carries_no_installer_and_says_what_it_is(image: str) -> None:
    found = json.loads(docker("image", "inspect", image))[0]["Config"]
    assert found["User"] == ""
    labels = {
        key.removeprefix("org.opencontainers.image."): v for key, v in found["Labels"].items()
    }
    assert (labels["licenses"], labels["version"]) == ("Apache-2.0", "0.0.0-test")
    assert {"title", "description", "source", "revision", "created", "base.digest"} <= {*labels}
    assert in_image(image, "sh", "-c", "ls -d /opt/venv/lib/*/*/pip /pip 2>/dev/null || true") == ""


def test_steps_find_debians_tools_but_not_our_python(image: str) -> None:
    tools = ("python3", "git", "bash", "curl", "make", "ssh", "tar", "gzip")
    found = in_image(image, "/bin/bash", "-c", f"type -P {' '.join(tools)} signalbox")
    assert found.split() == [*(f"/usr/bin/{tool}" for tool in tools), "/usr/local/bin/signalbox"]


def test_jenkins_keeps_it_open_with_cat_and_works_by_exec(image: str) -> None:
    options = "--detach --interactive --tty --network none --user 4711:4711 --workdir /tmp"
    container = docker("run", *options.split(), image, "cat")
    try:
        assert docker("exec", container, "signalbox", "--version").startswith("signalbox ")
    finally:
        docker("rm", "--force", container)


_LOOK = """
import os, subprocess
print(os.getpid())
print(subprocess.run(["sh", "-c", '''
  for process in /proc/[0-9]*; do
    grep -aq c4n4ry $process/environ && echo "environ ${process#/proc/}"
    head -c 1 $process/mem 2>&1 | grep -q 'Permission denied' || echo "mem ${process#/proc/}"
  done 2>/dev/null; true
'''], env={"PATH": "/usr/bin"}, stdout=subprocess.PIPE, text=True).stdout)
"""


def test_T3_what_we_were_given_cannot_be_read_by_root_in_the_container(image: str) -> None:
    given = f"--env DD_API_KEY={_CANARY}"
    ours, *seen = guarded(image, _LOOK, options=given).split("\n")
    assert ours != "1"
    assert not {"environ 1", "mem 1", f"environ {ours}", f"mem {ours}"} & {*seen}
    unguarded = in_image(image, "python3", "-c", _LOOK, options=given).split("\n")
    assert {"environ 1", "mem 1"} <= {*unguarded}


def test_P10_init_hands_on_the_exit_code_and_the_signal(image: str) -> None:
    for program, code in (("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)):
        with pytest.raises(EngineError, match=f"ended with {code}"):
            guarded(image, program)


def test_P10_docker_stop_reaches_the_program_at_once(image: str) -> None:
    program = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(11))
print("ready", flush=True)
signal.pause()
"""
    code = f"from runner.cli import pid1; pid1.guard()\n{program}"
    options = f"--detach --network none --entrypoint {_PYTHON}".split()
    container = docker("run", *options, image, "-I", "-c", code)
    try:
        while "ready" not in docker("logs", container):
            time.sleep(0.05)
        started = time.monotonic()
        docker("stop", "--time", "9", container)
        assert time.monotonic() - started < 5
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container) == "11"
    finally:
        docker("rm", "--force", container)


def test_orphans_are_reaped(image: str) -> None:
    program = """
import pathlib, subprocess, time
subprocess.run(["sh", "-c", "for i in 1 2 3; do (sleep 0.05 & ); done"])
time.sleep(0.4)
stats = [path.read_text() for path in pathlib.Path("/proc").glob("[0-9]*/stat")]
print("".join(sorted(stat.rpartition(")")[2].split()[0] for stat in stats)))
"""
    assert guarded(image, program) == "RS"  # the program itself, and init asleep
