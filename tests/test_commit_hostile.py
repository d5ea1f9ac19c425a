"""T6: a repository names programs in every place git knows; none of them runs when it is read.

Each trap is shown to be one: ``control`` is a command of plain git that it catches.
"""

import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from runner.commit import pin, read, safe_directory, top_level
from runner.event import Git
from runner.execution import Commit

NOTHING = Commit()


class Trap(msgspec.Struct, frozen=True, kw_only=True):
    config: Mapping[str, str] = {}
    control: tuple[str, ...] = ()
    sha: str = ""


class Field:
    """A repository with a marker that appears as soon as anything of it runs."""

    def __init__(self, path: Path) -> None:
        self.root = path / "work"
        self.marker = path / "marker"
        self.program = path / "program"
        self.program.write_text(f"#!/bin/sh\ntouch '{self.marker}'\n")
        self.program.chmod(0o755)
        (path / "home").mkdir()
        self.environ: Mapping[str, str] = {
            "PATH": os.environ["PATH"],
            "HOME": str(path / "home"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
        }

    def make(self) -> None:
        self.root.mkdir()
        self.git("init", "-q", "-b", "main", "--template=")
        self.git("remote", "add", "origin", "https://github.com/acme/docs.git")
        (self.root / "file").write_text("a\n")
        self.git("add", "file")
        self.git(
            *("-c", "user.name=Author", "-c", "user.email=author@example.com"),
            *("commit", "-q", "-m", "Mend the docs"),
        )

    def git(self, *command: str) -> str:
        done = subprocess.run(
            ("git", *command),
            cwd=self.root,
            env=self.environ,
            input="protocol=https\nhost=example.com\n\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
        return done.stdout.strip()

    def configure(self, config: Mapping[str, str]) -> None:
        for key, value in config.items():
            self.git("config", key, value.replace("PROGRAM", str(self.program)))

    def sign(self) -> None:
        """HEAD as a signed commit, so that whoever checks signatures calls ``gpg.program``."""
        raw = self.git("cat-file", "commit", "HEAD")
        head, _, message = raw.partition("\n\n")
        armour = "-----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----"
        signed = f"{head}\ngpgsig {armour}\n\n{message}\n"
        made = subprocess.run(
            ("git", "hash-object", "-t", "commit", "-w", "--stdin"),
            cwd=self.root,
            env=self.environ,
            input=signed.encode(),
            capture_output=True,
            check=True,
        )
        self.git("update-ref", "HEAD", made.stdout.decode().strip())

    def read(self, ci: Commit = NOTHING, environ: Mapping[str, str] | None = None) -> Git | None:
        environ = environ or self.environ
        found = pin(str(self.root), environ)
        assert found is not None
        return read(found, ci, NOTHING, environ)[0]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Field(tmp_path_factory.mktemp("template"))
    made.make()
    return made.root


@pytest.fixture
def field(template: Path, tmp_path: Path) -> Field:
    shutil.copytree(template, tmp_path / "work")
    return Field(tmp_path)


TRAPS = {
    "fsmonitor": Trap(config={"core.fsmonitor": "PROGRAM"}, control=("status",)),
    "included": Trap(config={"includeIf.gitdir:**.path": "trap"}, control=("status",)),
    "filter": Trap(
        config={"filter.trap.clean": "PROGRAM", "filter.trap.process": "PROGRAM"},
        control=("add", "--renormalize", "."),
    ),
    "textconv": Trap(config={"diff.trap.textconv": "PROGRAM"}, control=("show",)),
    "external diff": Trap(config={"diff.external": "PROGRAM"}, control=("diff", "--ext-diff")),
    "signature": Trap(
        config={"log.showSignature": "true", "gpg.program": "PROGRAM"}, control=("log", "-1")
    ),
    "hooks": Trap(config={"core.hooksPath": ".githooks"}, control=("checkout", "-q", "HEAD")),
    "alias": Trap(
        config={
            f"alias.{name}": "!PROGRAM"
            for name in ("st", "rev-parse", "config", "cat-file", "for-each-ref", "log")
        },
        control=("st",),
    ),
    "ext remote": Trap(
        config={"remote.origin.url": "ext::PROGRAM", "protocol.ext.allow": "always"},
        control=("ls-remote", "origin"),
    ),
    "ssh command": Trap(
        config={"remote.origin.url": "ssh://host/x.git", "core.sshCommand": "PROGRAM"},
        control=("ls-remote", "origin"),
    ),
    "lazy fetch": Trap(
        config={
            "core.repositoryFormatVersion": "1",
            "extensions.partialClone": "origin",
            "remote.origin.promisor": "true",
            "remote.origin.url": "ext::PROGRAM",
            "protocol.ext.allow": "always",
            "protocol.allow": "always",
        },
        control=("cat-file", "-p", "b" * 40),
        sha="b" * 40,
    ),
    "pager, editor, credentials": Trap(
        config={
            "core.pager": "PROGRAM",
            "core.editor": "PROGRAM",
            "core.askPass": "PROGRAM",
            "credential.helper": "!PROGRAM",
            "core.alternateRefsCommand": "PROGRAM",
        },
        control=("credential", "fill"),
    ),
}


@pytest.mark.parametrize("name", TRAPS)
def test_T6_nothing_of_the_repository_runs(field: Field, name: str) -> None:
    trap = TRAPS[name]
    (field.root / ".git" / "trap").write_text(f"[core]\nfsmonitor = {field.program}\n")
    (field.root / ".gitattributes").write_text("* filter=trap diff=trap\n")
    hooks = field.root / ".githooks"
    hooks.mkdir()
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        shutil.copy(field.program, hooks / hook)
    field.sign()
    field.configure(trap.config)

    field.marker.unlink(missing_ok=True)
    field.read(ci=Commit(sha=trap.sha))
    field.read()
    assert not field.marker.exists()

    (field.root / "file").write_text("b\n")
    field.git(*trap.control)
    assert field.marker.exists(), "the trap is none: this test proves nothing"


def test_T6_a_bare_repository_in_the_tree_is_not_found(field: Field) -> None:
    bare = field.root / "vendor" / "lib"
    field.git("init", "-q", "--bare", str(bare))
    (bare / "config").write_text(
        f"[core]\nrepositoryformatversion = 0\nbare = false\nworktree = ..\n"
        f"fsmonitor = {field.program}\n"
    )
    assert top_level(str(bare)) == str(field.root)
    inside = pin(str(bare), field.environ)
    assert inside is not None
    assert (inside.root, inside.sha) == (str(field.root), field.git("rev-parse", "HEAD"))
    assert read(inside, NOTHING, NOTHING, field.environ)[0] is not None
    assert not field.marker.exists()


@pytest.mark.parametrize("name", ["--upload-pack=PROGRAM", "-x", "$(PROGRAM)", "'\";&|"])
def test_T6_names_are_never_options_or_scripts(field: Field, name: str) -> None:
    name = name.replace("PROGRAM", field.program.name)
    sha = field.git("rev-parse", "HEAD")
    (field.root / ".git" / "HEAD").write_text(f"ref: refs/heads/{name}\n")
    (field.root / ".git" / "refs" / "heads" / name).write_text(f"{sha}\n")
    git = field.read()
    assert git is not None
    assert git.branch == name

    (field.root / ".git" / "HEAD").write_text(f"{sha}\n")
    (field.root / ".git" / "refs" / "tags" / name).write_text(f"{sha}\n")
    git = field.read()
    assert git is not None
    assert git.tag == name
    assert not field.marker.exists()


def test_T6_names_that_are_taken_twice_confuse_nothing(field: Field) -> None:
    sha = field.git("rev-parse", "HEAD")
    for ref in ("tags/HEAD", "heads/HEAD"):
        field.git("update-ref", f"refs/{ref}", sha)
    found = pin(str(field.root), field.environ)
    assert found is not None
    assert (found.sha, found.default_branch) == (sha, "")
    assert found.branch in {"main", ""}


def test_T6_a_git_in_the_work_tree_is_not_run(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(field.program, field.root / "git")
    monkeypatch.chdir(field.root)
    environ = {**field.environ, "PATH": f".::{field.environ['PATH']}:"}
    assert field.read(environ=environ) is not None
    assert not field.marker.exists()


def test_T6_a_caller_inside_a_hook_reads_its_own_repository(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks run with GIT_DIR and GIT_INDEX_FILE set, of whichever repository it is in."""
    other = field.root.parent / "other"
    field.git("init", "-q", str(other))
    inherited = {"GIT_DIR": str(other / ".git"), "GIT_INDEX_FILE": "x", "GIT_WORK_TREE": "/"}
    for variable, value in inherited.items():
        monkeypatch.setenv(variable, value)
    git = field.read(environ={**field.environ, **inherited})
    assert git is not None
    assert git.sha == field.git("rev-parse", "HEAD")


def test_T2_git_is_given_no_secret(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    """What GitPython starts inherits the environment of the whole process: that one too."""
    real = shutil.which("git")
    shadow = field.root.parent / "bin"
    shadow.mkdir()
    seen = field.root.parent / "seen"
    (shadow / "git").write_text(f'#!/bin/sh\n(echo "$@"; env) >>{seen}\nexec {real} "$@"\n')
    (shadow / "git").chmod(0o755)
    secrets = ("DD_API_KEY", "INPUT_API-KEY", "NPM_TOKEN", "ACTIONS_RUNTIME_TOKEN")
    for name in secrets:
        monkeypatch.setenv(name, f"HUSH-{name}")
    environ = {**os.environ, **field.environ, "PATH": f"{shadow}:{os.environ['PATH']}"}
    assert field.read(environ=environ) is not None
    text = seen.read_text()
    assert {"rev-parse", "config", "cat-file"} <= set(text.split())
    assert "HUSH" not in text


def test_a_git_that_hangs_is_given_up(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.commit.LIMIT", 0.2)
    shadow = field.root.parent / "bin"
    shadow.mkdir()
    (shadow / "git").write_text("#!/bin/sh\nexec sleep 30\n")
    (shadow / "git").chmod(0o755)
    found = pin(str(field.root), {**field.environ, "PATH": f"{shadow}:/usr/bin:/bin"})
    assert found is not None
    assert found.problem == "git did not answer within 0.2 s"


def test_a_repository_of_noise_raises_nothing(field: Field) -> None:
    inside = field.root / ".git"
    for name in ("config", "HEAD", "packed-refs"):
        kept = (inside / name).read_bytes() if (inside / name).exists() else None
        for noise in (b"", b"\0\xff" * 50, b"[", b"ref: refs/heads/../../x", b"f" * 5000):
            (inside / name).write_bytes(noise)
            field.read()
            safe_directory(str(field.root), field.environ)
        if kept is None:
            (inside / name).unlink()
        else:
            (inside / name).write_bytes(kept)
    (field.root.parent / "pipe").mkdir()
    os.mkfifo(field.root.parent / "pipe" / ".git")
    assert stat.S_ISFIFO((field.root.parent / "pipe" / ".git").stat().st_mode)
    assert pin(str(field.root.parent / "pipe"), field.environ) is None
