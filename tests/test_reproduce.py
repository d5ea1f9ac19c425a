"""The same step here: what is printed, and what happens when it is run."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.cli import recipe
from tests.conftest import Workspace
from tests.forks import Forks
from tests.test_travel import Desk

pytestmark = pytest.mark.usefixtures("forked")

SECRET = "hunter2hunter2"
PIPELINE = """
    name: Failing
    env: { COLOUR: blue }
    parameters: { TARGET: { default: staging } }
    secrets: [NPM_TOKEN]
    jobs:
      build:
        keep: [dist]
        steps: ['mkdir -p dist; echo made > dist/app; echo VERSION=7 >> "$SIGNALBOX_OUTPUT"']
      test:
        needs: [build]
        matrix: { PYTHON: ["3.11", "3.12"] }
        steps:
          - 'true'
          - name: Verify
            env: { WITH: step }
            run: |
              set -- "$COLOUR" "$TARGET" "$PYTHON" "$VERSION" "$WITH" $(cat dist/app source)
              echo "$@" ${NPM_TOKEN:+token}
              touch here
              exit 7
"""
SEEN = "blue production 3.11 7 step made first token"


class Failed(Workspace):
    """Where a run failed, at a commit that is no longer the one checked out."""

    box = ""


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Failed:
    place = tmp_path_factory.mktemp("failed")
    for name in ("work", "home"):
        (place / name).mkdir()
    made = Failed(place / "work", place / "home")
    made.forks = forks
    made.git("init", "-q", "-b", "main")
    made.git("remote", "add", "origin", "https://user:secret@git.example.test/team/app.git")
    made.write(PIPELINE)
    made.write("first\n", "source")
    made.commit()
    ended = made.run("run", "-p", "TARGET=production", NPM_TOKEN=SECRET)
    assert ended.code == 1
    assert SEEN in ended.err
    made.write("second\n", "source")
    (made.path / "here").unlink()
    made.commit()
    made.box = str(place / "run.tar")
    made.run("export", made.box)
    return made


@pytest.fixture
def desk(failed: Failed, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk.of(failed, tmp_path)
    assert desk.run("import", failed.box).code == 0
    yield desk
    assert desk.git("status", "--porcelain") == ""


def test_what_a_step_had_is_printed(failed: Failed) -> None:
    told = failed.run("reproduce")
    assert told.code == 0, told.err
    for line in (
        "# secret NPM_TOKEN is not set here",
        "# steps before it, which do not run with it: 1 true",
        "export COLOUR=blue",
        "export TARGET=production",
        "export PYTHON=3.11",
        "export VERSION=7",
        "export WITH=step",
        failed.git("rev-parse", "HEAD~").strip(),
    ):
        assert line in told.out
    assert not (failed.path / "here").exists()


def test_what_is_printed_does_the_same_as_its_lines_are_typed(failed: Failed) -> None:
    told = failed.run("reproduce")
    typed = subprocess.run(
        ["bash", "-c", told.out], cwd=failed.path, text=True, capture_output=True, check=False
    )
    failed.git("worktree", "remove", "--force", "../reproduce")
    last = typed.stdout.splitlines()[-1]
    assert (typed.returncode, last) == (7, SEEN.removesuffix(" token")), typed.stderr


def test_it_runs_at_its_commit_and_the_tree_is_not_touched(failed: Failed) -> None:
    (failed.path / "source").write_text("dirty\n")
    before = failed.git("status", "--porcelain")
    ended = failed.run("reproduce", "--run", NPM_TOKEN=SECRET)
    assert ended.code == 7, ended.text
    assert SEEN in ended.text
    assert SECRET not in ended.text
    assert failed.git("status", "--porcelain") == before
    assert len(failed.run("list", "--json").json) == 1
    assert (failed.path / "source").read_text() == "dirty\n"


def test_what_is_printed_makes_its_tree_beside_the_repository(failed: Failed) -> None:
    inside = failed.path / "deep" / "inside"
    inside.mkdir(parents=True, exist_ok=True)
    assert failed.forks
    told = failed.forks.run(inside, failed.environ, ("reproduce",))
    assert "git worktree add --detach ../../../reproduce " in told.out
    assert "cd ../../../reproduce\n" in told.out


def test_a_step_that_fails_here_is_said_to_be_run_again_here(failed: Failed) -> None:
    ended = failed.run("reproduce", "--run", NPM_TOKEN=SECRET)
    run = failed.run("list", "--json").json[0]["id"][:8]
    assert f"again: signalbox reproduce {run} --job 'test (3.11)' --run\n" in ended.err


def test_another_job_and_step_can_be_chosen(failed: Failed) -> None:
    ended = failed.run("reproduce", "--job", "test (3.12)", "--step", "Verify", "--run")
    assert ended.code == 7
    assert "blue production 3.12 7 step made" in ended.text
    assert failed.run("reproduce", "--job", "build", "--step", "1", "--run").code == 0
    told = failed.run("reproduce", "--job", "test", "--json").json
    assert (told["job"], told["steps"]) == ("test (3.11)", ["Verify"])
    assert failed.run("reproduce", "--job", "tset").code == 2


def test_a_step_goes_by_the_name_that_was_shown(workspace: Workspace) -> None:
    workspace.write("""
        name: P
        jobs:
          a:
            matrix: { V: ["1"] }
            steps:
              - 'true "$V"'
              - name: costs $$5 for $V and $S
                env: { S: s }
                run: echo $SIGNALBOX_STEP; exit 1
    """)
    workspace.commit()
    ended = workspace.run("run")
    assert "costs $5 for 1 and s" in ended.err
    told = workspace.run("reproduce")
    assert '# steps before it, which do not run with it: 1 true "$V"\n' in told.out
    assert "cd ../reproduce\n" in told.out
    ended = workspace.run("reproduce", "--step", "costs $5 for 1 and s", "--run")
    assert (ended.code, "    costs $5 for 1 and s\n" in ended.err) == (1, True)
    assert workspace.run("reproduce", "--job", "a", "--step", 'true "$V"', "--run").code == 0
    missing = workspace.run("reproduce", "--step", "costs")
    assert (missing.code, '1 true "$V"' in missing.err) == (2, True)


def test_a_run_of_a_ci_is_reproduced_at_a_desk(desk: Desk) -> None:
    ended = desk.run("reproduce", "--run", NPM_TOKEN=SECRET)
    assert ended.code == 7, ended.text
    assert SEEN in ended.text


def test_T20_commands_that_are_not_the_commits_do_not_run(
    workspace: Workspace, tmp_path: Path
) -> None:
    workspace.write("name: P\njobs: { a: { steps: [exit 1] } }\n")
    workspace.commit()
    box, desk = str(tmp_path / "run.tar"), Desk.of(workspace, tmp_path / "desk")
    workspace.write("name: P\njobs: { a: { steps: [exit 8] } }\n")
    workspace.run("run")
    assert workspace.run("reproduce", "--run").code == 8  # at home it is our own
    workspace.run("export", box)
    desk.run("import", box)
    refused = desk.run("reproduce", "--run")
    assert refused.code == 5
    assert "--accept-changed" in refused.err
    assert desk.run("reproduce", "--run", "--accept-changed").code == 8


def test_a_commit_that_is_not_here_is_asked_for(failed: Failed, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    stranger = Workspace(tmp_path, tmp_path / "home")
    stranger.git("init", "-q")
    assert stranger.run("import", failed.box).code == 0
    refused = stranger.run("reproduce", "--run")
    assert refused.code == 4
    assert "git fetch https://git.example.test/team/app.git" in refused.err


def test_an_image_is_told_with_digest_and_platform() -> None:
    had = recipe.Recipe(
        run="3f9c2a1e-5b1d-4e0a-9a53-0c4f6f1f7a11",
        pipeline="Docs",
        job="test",
        steps=("pytest",),
        commit="",
        repository="",
        directory=".",
        shell="",
        scripts=("pytest -k 'a or b'\x1b]0;owned\a",),
        variables={},
        missing=(),
        gone=("TOKEN",),
        image="python:3.12-slim",
        digest="sha256:1f3a",
        platform="linux/x86_64",
    )
    told = recipe.text(had)
    assert "# in a container of python:3.12-slim@sha256:1f3a, linux/x86_64" in told
    assert "# TOKEN held a secret and is in no file" in told
    assert """bash -eo pipefail -c 'pytest -k '"'"'a or b'"'"']0;owned'""" in told


@pytest.mark.parametrize("command", ["reproduce", "retry", "export run.tar"])
def test_of_one_command_only_the_command_can_be_run_again(
    workspace: Workspace, command: str
) -> None:
    assert workspace.run("exec", "--", "false").code == 1
    refused = workspace.run(*command.split())
    assert refused.code == 5
    assert "was one command, not a pipeline" in refused.err
    assert not (workspace.path / "run.tar").exists()
