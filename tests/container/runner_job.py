"""A job of GitHub's runner that starts our image as an action.

Owns the command line, the mounts and the variables, as actions/runner has them
(``ContainerActionHandler.cs``, ``DockerCommandManager.cs``): values come from the client's
environment, no ``-t``, no ``--init``, no ``--user``. The network is the host's, because the tests'
intake listens on its loopback.
"""

import json
import os
import signal
import subprocess
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import yaml

from tests.container.build import ROOT

OWNER: Final = (1001, 1001)
"""Who the workspace belongs to: the user ``runner`` of a hosted machine."""
_IDENTITY: Final = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
}


class RunnerJob:
    """The files of one job, and the containers started for it."""

    def __init__(self, place: Path, image: str, pipeline: str) -> None:
        self.image = image
        self.place = place
        self.workspace = place / "workspace"
        self.commands = place / "file_commands"
        self.name = f"signalbox-tests-{uuid.uuid4().hex[:12]}"
        for name in ("workspace", "runner_temp", "home", "workflow", "file_commands"):
            (place / name).mkdir()
        for name in ("output", "env", "path", "state", "summary"):
            (self.commands / name).touch()
        (place / "workflow/event.json").write_text(json.dumps({"repository": {"fork": False}}))
        (self.workspace / "pipeline.yml").write_text(pipeline)
        self._git("init", "--quiet", "--initial-branch", "main")
        self._git("remote", "add", "origin", "https://github.com/octo/docs.git")
        self._git("add", ".")
        self._git("commit", "--quiet", "--message", "The first")
        self.sha = self._git("rev-parse", "HEAD")
        for path in (place, *place.rglob("*")):
            os.chown(path, *OWNER, follow_symlinks=False)

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.workspace), *arguments],
            env={**os.environ, **_IDENTITY},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def start(
        self, inputs: Mapping[str, str], *, post: bool = False, **environ: str
    ) -> subprocess.Popen[str]:
        """Start the action, or its ``post`` step; what it prints comes through the process's
        stdout, as in a log.
        """
        given = self.variables(inputs) | environ
        entrypoint = ["--entrypoint", _action()["runs"]["post-entrypoint"]] if post else []
        return subprocess.Popen(
            [*self.command(given, *entrypoint), self.image],
            env={**os.environ, **given},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def command(self, given: Iterable[str], *options: str) -> list[str]:
        """The runner's command line up to the image: these variables, from the environment."""
        mounts = {
            "/var/run/docker.sock": socket(),
            "/github/runner_temp": self.place / "runner_temp",
            "/github/home": self.place / "home",
            "/github/workflow": self.place / "workflow",
            "/github/file_commands": self.commands,
            "/github/workspace": self.workspace,
        }
        command = ["docker", "run", "--name", self.name, "--label", "signalbox-tests"]
        command += ["--workdir", "/github/workspace", "--rm", "--network", "host", *options]
        command += [word for name in given for word in ("-e", name)]
        return command + [word for to, at in mounts.items() for word in ("-v", f"{at}:{to}")]

    def variables(self, inputs: Mapping[str, str]) -> dict[str, str]:
        """The job's variables and the action's inputs, with the defaults of its description."""
        said = {name: one.get("default", "") for name, one in _action()["inputs"].items()}
        said["job-index"] = "0"  # an expression, which the runner evaluates
        given = {f"INPUT_{name.upper()}": value for name, value in (said | {**inputs}).items()}
        return self._variables() | given

    def run(
        self, inputs: Mapping[str, str], *, post: bool = False, **environ: str
    ) -> tuple[int, str]:
        """The action from start to end: its exit code and what it printed."""
        process = self.start(inputs, post=post, **environ)
        printed, _ = process.communicate(timeout=60)
        return process.returncode, printed

    def cancel(self, process: subprocess.Popen[str]) -> str:
        """Cancel the job as the runner does (``ProcessInvoker.cs``); what was printed meanwhile."""
        for number, patience in ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5)):
            process.send_signal(number)  # the client passes it on to PID 1
            with suppress(subprocess.TimeoutExpired):
                return process.communicate(timeout=patience)[0]
        process.kill()
        raise AssertionError("it had to be killed")

    def outputs(self) -> dict[str, str]:
        """The outputs, read as the runner reads them."""
        found, lines = {}, iter((self.commands / "output").read_text().splitlines())
        for line in lines:
            name, delimiter, end = line.partition("<<")
            if not delimiter or "=" in name:
                name, _, found[name] = line.partition("=")
                continue
            value = []
            while (text := next(lines)) != end:
                value.append(text)
            found[name] = "\n".join(value)
        return found

    def _variables(self) -> dict[str, str]:
        commands = {
            variable: f"/github/file_commands/{name}"
            for variable, name in (
                ("GITHUB_OUTPUT", "output"),
                ("GITHUB_ENV", "env"),
                ("GITHUB_PATH", "path"),
                ("GITHUB_STATE", "state"),
                ("GITHUB_STEP_SUMMARY", "summary"),
            )
        }
        return {
            "CI": "true",
            "HOME": "/github/home",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION": "pipeline",
            "GITHUB_ACTOR": "octocat",
            "GITHUB_TRIGGERING_ACTOR": "octocat",
            "GITHUB_API_URL": "https://api.github.com",
            "GITHUB_BASE_REF": "",
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_EVENT_PATH": "/github/workflow/event.json",
            "GITHUB_HEAD_REF": "",
            "GITHUB_JOB": "build",
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_REF_NAME": "main",
            "GITHUB_REF_TYPE": "branch",
            "GITHUB_REPOSITORY": "octo/docs",
            "GITHUB_REPOSITORY_OWNER": "octo",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_RUN_ID": "7340912",
            "GITHUB_RUN_NUMBER": "42",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_SHA": self.sha,
            "GITHUB_WORKFLOW": "Docs",
            "GITHUB_WORKSPACE": "/github/workspace",
            "RUNNER_ARCH": "X64",
            "RUNNER_ENVIRONMENT": "github-hosted",
            "RUNNER_NAME": "runner-1",
            "RUNNER_OS": "Linux",
            "RUNNER_TEMP": "/github/runner_temp",
            "RUNNER_WORKSPACE": str(self.place),
            "ACTIONS_RUNTIME_TOKEN": "canary-runtime-token-0123456789",
            **commands,
        }


def _action() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
    return found


def socket() -> str:
    """The engine's socket on this machine, which GitHub's runner hands to every action."""
    return os.environ.get("DOCKER_HOST", "").removeprefix("unix://") or "/var/run/docker.sock"
