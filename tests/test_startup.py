"""What a command may load before it has done its first work: import budgets."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

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
    assert not BEFORE_A_STEP & loaded("import runner.cli.run, runner.cli.launch, runner.manifest")
