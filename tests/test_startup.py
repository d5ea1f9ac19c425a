"""What a command may load before it has done its first work: import budgets."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT, Workspace

HEAVY = {"requests", "urllib3", "git", "docker", "yaml", "sqlite3", "jinja2", "asyncio", "msgspec"}
BEFORE_A_STEP = {"requests", "urllib3", "git", "docker", "jinja2", "asyncio", "importlib.metadata"}


def loaded(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_and_version_load_click_alone(arguments: list[str]) -> None:
    assert not HEAVY & loaded(f"from runner.cli import run\nrun({arguments})")


def test_the_command_of_exec_waits_for_little() -> None:
    before = loaded(
        "from runner.cli import _load_msgspec\n_load_msgspec()\nimport runner.cli.ahead"
    )
    reporting = {f"runner.{name}" for name in ("engine", "journal", "recorder", "plan", "console")}
    assert not (HEAVY - {"msgspec"} | reporting | {"click", "typing_extensions"}) & before


def test_nothing_heavy_is_loaded_before_the_first_step() -> None:
    of_exec = {"runner.cli.ahead", "runner.executors.foreground"}
    assert not (BEFORE_A_STEP | of_exec) & loaded(
        "import runner.cli.run, runner.cli.launch, runner.manifest"
    )


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("schema > /dev/full", 4, "standard output cannot be written"),
        ("--help > /dev/full", 4, "standard output cannot be written"),
        ("schema >&-", 0, ""),
        ("schema >&- 2>&- <&-", 0, ""),
        ("frobnicate 2> /dev/full", 2, ""),
        ("show --state /nowhere 2> /dev/full", 2, ""),
        ("exec sh -c 'echo lost; exit 7' > /dev/full", 7, ""),
        ("exec sh -c 'exit 7' >&- 2>&- <&-", 7, ""),
    ],
)
def test_streams_that_take_nothing_are_no_defect(
    workspace: Workspace, line: str, code: int, said: str
) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m runner {line}"],
        cwd=workspace.path,
        env=workspace.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert said in done.stderr
    assert "defect" not in done.stderr


def test_a_run_goes_on_without_its_streams(workspace: Workspace) -> None:
    workspace.write("name: P\njobs: { a: { steps: ['echo out; echo err >&2; touch ran'] } }\n")
    for line in ("2> /dev/full", "2>&-", ">&- 2>&- <&-"):
        (workspace.path / "ran").unlink(missing_ok=True)
        done = subprocess.run(
            ["sh", "-c", f"{sys.executable} -m runner run {line}"],
            cwd=workspace.path,
            env=workspace.environ,
            check=False,
        )
        assert done.returncode == 0
        assert (workspace.path / "ran").exists()


def test_a_command_misspelt_leads_to_the_right_one(workspace: Workspace) -> None:
    ended = workspace.run("chekc")
    assert (ended.code, ended.out) == (2, "")
    assert "did you mean 'check'?" in ended.err


def test_nothing_said_is_answered_with_all_that_can_be_said(workspace: Workspace) -> None:
    ended = workspace.run()
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == workspace.run("--help").out
