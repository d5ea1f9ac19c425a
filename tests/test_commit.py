"""The commit under test: every shape of repository, every source, every form of URL."""

import os
import shutil
import string
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner.commit import MESSAGE_LIMIT, Pin, pin, read, safe_directory, top_level
from runner.commit.address import clean_url
from runner.event import Git, encode
from runner.execution import Commit

URL = "https://github.com/acme/docs.git"
NOTHING = Commit()


class Repository:
    """A real repository in a directory of its own, with an environment of its own."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = path
        home = path.parent / "home"
        home.mkdir(exist_ok=True)
        self.environ: Mapping[str, str] = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        if not path.exists():
            self("init", "-q", "-b", "main", "--template=", *options, str(path))

    def __call__(self, *command: str, **env: str) -> str:
        person = {
            "GIT_AUTHOR_NAME": "The Author",
            "GIT_AUTHOR_EMAIL": "author@example.com",
            "GIT_AUTHOR_DATE": "2026-03-02T09:15:00+0530",
            "GIT_COMMITTER_NAME": "The Committer",
            "GIT_COMMITTER_EMAIL": "committer@example.com",
            "GIT_COMMITTER_DATE": "2026-03-02T10:15:00-0330",
        }
        done = subprocess.run(
            ("git", "-c", "protocol.file.allow=always", *command),
            cwd=self.path if self.path.exists() else self.path.parent,
            env={**self.environ, **person, **env},
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
        )
        return done.stdout.strip()

    def commit(self, message: str = "Mend the docs\n\nAll of them.", **env: str) -> str:
        self("commit", "-q", "--allow-empty", "--allow-empty-message", "-m", message, **env)
        return self("rev-parse", "HEAD")

    def pin(self) -> Pin:
        found = pin(str(self.path), self.environ)
        assert found is not None
        return found

    def read(self, ci: Commit = NOTHING, overrides: Commit = NOTHING) -> Git:
        git, warnings = read(self.pin(), ci, overrides, self.environ)
        assert warnings == ()
        assert git is not None
        encode(git)
        return git

    def refused(self, ci: Commit = NOTHING, overrides: Commit = NOTHING) -> str:
        git, warnings = read(self.pin(), ci, overrides, self.environ)
        assert git is None
        (warning,) = warnings
        return warning


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Repository(tmp_path_factory.mktemp("template") / "work")
    made("remote", "add", "origin", URL)
    made.commit()
    return made.path


@pytest.fixture
def repo(template: Path, tmp_path: Path) -> Repository:
    shutil.copytree(template, tmp_path / "work")
    return Repository(tmp_path / "work")


def test_a_commit_is_pinned_and_read(repo: Repository) -> None:
    sha = repo("rev-parse", "HEAD")
    assert repo.pin() == Pin(root=str(repo.path), sha=sha, branch="main", remote=URL)
    assert repo.read() == Git(
        repository_url=URL,
        sha=sha,
        branch="main",
        message="Mend the docs\n\nAll of them.",
        author_name="The Author",
        author_email="author@example.com",
        author_time="2026-03-02T09:15:00+05:30",
        committer_name="The Committer",
        committer_email="committer@example.com",
        commit_time="2026-03-02T10:15:00-03:30",
    )


def test_what_is_pinned_does_not_move_with_the_repository(repo: Repository) -> None:
    before = repo.pin()
    repo("checkout", "-q", "-b", "other")
    repo.commit("Another")
    repo("remote", "set-url", "origin", "https://example.com/else.git")
    git, _ = read(before, NOTHING, NOTHING, repo.environ)
    assert git is not None
    assert (git.sha, git.branch, git.repository_url) == (before.sha, "main", URL)
    assert git.message == "Mend the docs\n\nAll of them."


def test_the_fallback_reads_what_gitpython_reads(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = repo.read()
    monkeypatch.setitem(sys.modules, "git", None)  # import git: ImportError
    assert repo.read() == expected


def test_the_default_branch_is_the_one_of_origin(repo: Repository, tmp_path: Path) -> None:
    repo("clone", "-q", str(repo.path), str(tmp_path / "clone"))
    clone = Repository(tmp_path / "clone")
    clone("checkout", "-q", "-b", "topic")
    assert (clone.pin().default_branch, clone.pin().branch) == ("main", "topic")
    assert clone.read().default_branch == "main"
    assert clone.read().repository_url == f"file://{repo.path}"


def test_a_subdirectory_has_the_top_of_its_work_tree(repo: Repository) -> None:
    deep = repo.path / "a" / "b"
    deep.mkdir(parents=True)
    assert top_level(str(deep)) == str(repo.path)
    assert pin(str(deep), repo.environ) == repo.pin()


# ── G: the shapes of a repository ────────────────────────────────────────────────────────────────


def test_G1_no_repository_and_no_directory(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()  # left over and empty: git does not take it for a repository
    for directory in (tmp_path, tmp_path / "gone"):
        assert top_level(str(directory)) is None
        assert pin(str(directory), {}) is None
    git, (warning,) = read(None, NOTHING, NOTHING, {})
    assert git is None
    assert "this is no git repository" in warning


def test_G1_without_a_repository_the_ci_can_say_it_all(tmp_path: Path) -> None:
    ci = Commit(repository_url=URL, sha="a" * 40, author_email="author@example.com", branch="main")
    git, warnings = read(None, ci, NOTHING, {})
    assert warnings == ()
    assert git == Git(
        repository_url=URL, sha="a" * 40, author_email="author@example.com", branch="main"
    )


def test_G2_no_commits(tmp_path: Path) -> None:
    empty = Repository(tmp_path / "work")
    empty("remote", "add", "origin", URL)
    assert empty.pin().sha == ""
    assert "there is no commit" in empty.refused()


def test_G3_detached_head_has_no_branch(repo: Repository) -> None:
    repo("checkout", "-q", "--detach")
    assert repo.pin().branch == ""
    git = repo.read()
    assert (git.branch, git.tag) == (None, None)
    assert repo.read(ci=Commit(branch="refs/heads/topic")).branch == "topic"


def test_G4_a_bare_repository_has_no_work_tree(tmp_path: Path) -> None:
    bare = Repository(tmp_path / "bare.git", "--bare")
    assert pin(str(bare.path), bare.environ) is None


def test_G5_remotes(repo: Repository) -> None:
    repo("remote", "rename", "origin", "second")
    repo("remote", "add", "upstream", "https://github.com/upstream/docs.git")
    assert repo.pin().remote == URL
    repo("remote", "add", "origin", "git@github.com:acme/fork.git")
    assert repo.pin().remote == "git@github.com:acme/fork.git"
    for name in ("origin", "second", "upstream"):
        repo("remote", "remove", name)
    assert "no repository URL" in repo.refused()
    assert repo.read(overrides=Commit(repository_url=URL)).repository_url == URL


def test_G6_worktree(repo: Repository, tmp_path: Path) -> None:
    repo("worktree", "add", "-q", "-b", "topic", str(tmp_path / "tree"))
    tree = Repository(tmp_path / "tree")
    tree.commit("In the tree")
    assert (tree.pin().root, tree.read().branch) == (str(tmp_path / "tree"), "topic")
    assert (tree.read().message, tree.read().repository_url) == ("In the tree", URL)


def test_G6_submodule(repo: Repository, tmp_path: Path) -> None:
    outer = Repository(tmp_path / "outer")
    outer("submodule", "--quiet", "add", str(repo.path), "inner")
    inner = Repository(tmp_path / "outer" / "inner")
    assert inner.pin().root == str(tmp_path / "outer" / "inner")
    assert inner.read().sha == repo("rev-parse", "HEAD")


def test_G6_shallow_and_partial_clones(repo: Repository, tmp_path: Path) -> None:
    repo("config", "uploadpack.allowFilter", "true")
    repo.commit("Second")
    for number, option in enumerate(("--depth=1", "--filter=tree:0")):
        path = tmp_path / f"clone{number}"
        repo("clone", "-q", "--no-checkout", option, f"file://{repo.path}", str(path))
        git = Repository(path).read()
        assert (git.message, git.author_email) == ("Second", "author@example.com")


def test_G6_grafts_and_replacements_change_nothing(repo: Repository) -> None:
    first = repo("rev-parse", "HEAD")
    second = repo.commit("Second", GIT_AUTHOR_EMAIL="other@example.com")
    repo("checkout", "-q", "--detach", first)
    repo("replace", first, second)
    assert repo.read().author_email == "author@example.com"


def test_G6_a_sha256_repository_is_left_out(tmp_path: Path) -> None:
    repo = Repository(tmp_path / "work", "--object-format=sha256")
    repo("remote", "add", "origin", URL)
    repo.commit()
    assert len(repo.pin().sha) == 64
    assert "64 characters" in repo.refused()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_G7_a_foreign_owner(repo: Repository) -> None:
    assert safe_directory(str(repo.path), repo.environ) == {}
    expected = repo.read()
    for path in (repo.path, *repo.path.rglob("*")):
        os.chown(path, 1001, 1001)
    with pytest.raises(subprocess.CalledProcessError):
        repo("log", "-1")
    assert repo.read() == expected

    env = safe_directory(str(repo.path), repo.environ)
    assert expected.sha in repo("log", "-1", **env)
    before = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "a.b", "GIT_CONFIG_VALUE_0": "kept"}
    env = {**before, **safe_directory(str(repo.path), before)}
    assert expected.sha in repo("log", "-1", **env)
    assert repo("config", "a.b", **env) == "kept"


def test_G8_no_git_binary(repo: Repository, tmp_path: Path) -> None:
    found = pin(str(repo.path), {"PATH": str(tmp_path)})
    assert found is not None
    assert "git cannot be run" in found.problem
    git, (warning,) = read(found, NOTHING, NOTHING, {"PATH": str(tmp_path)})
    assert git is None
    assert "No such file" in warning
    ci = Commit(repository_url=URL, sha="a" * 40, author_email="author@example.com")
    git, warnings = read(found, ci, NOTHING, {"PATH": str(tmp_path)})
    assert git is not None
    assert warnings == ()


def test_G9_no_author_email_and_nothing_is_made_up(repo: Repository) -> None:
    repo.commit(GIT_AUTHOR_EMAIL="")
    assert repo.refused() == (
        "the events carry no git: no author email (DD_GIT_COMMIT_AUTHOR_EMAIL)"
    )
    given = repo.read(overrides=Commit(author_email="author@example.com"))
    assert (given.author_email, given.author_name) == ("author@example.com", "The Author")


def test_G10_bytes_of_other_encodings_are_replaced(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = repo("rev-parse", "HEAD^{tree}")
    raw = f"tree {tree}\nauthor Äuthor <a@example.com> 1700000000 +0000\n"
    raw += "committer Äuthor <a@example.com> 99999999999999 +0000\nencoding ISO-8859-1\n\nGrüße\n"
    sha = subprocess.run(
        ("git", "hash-object", "-t", "commit", "-w", "--stdin", "--literally"),
        cwd=repo.path,
        input=raw.encode("latin-1"),
        env=repo.environ,
        check=True,
        capture_output=True,
    ).stdout.decode()
    repo("checkout", "-q", "--detach", sha.strip())
    git = repo.read()
    assert (git.author_name, git.message) == ("\ufffduthor", "Gr\ufffd\ufffde")
    assert git.author_time == "2023-11-14T22:13:20+00:00"
    assert git.commit_time is None  # the year 3,170,843
    monkeypatch.setitem(sys.modules, "git", None)
    assert repo.read() == git


def test_G10_long_and_odd_texts_are_trimmed(repo: Repository) -> None:
    branch = "a" * 190 + "'\"$(x)"
    repo("checkout", "-q", "-b", branch)
    message = repo.path / "message"
    message.write_text("word " * 200_000)
    repo("commit", "-q", "--allow-empty", "-F", str(message))
    git = repo.read(overrides=Commit(author_name="The\n\x1b[31m\udcff Author"))
    assert git.branch == branch
    assert git.message == ("word " * 200_000)[:MESSAGE_LIMIT]
    assert git.author_name == "The [31m Author"


def test_G14_branch_or_tag_but_never_both(repo: Repository) -> None:
    repo("tag", "v1", GIT_COMMITTER_DATE="2026-01-01T00:00:00Z")
    repo("tag", "-a", "-m", "x", "v2", GIT_COMMITTER_DATE="2026-06-01T00:00:00Z")
    assert (repo.read().branch, repo.read().tag) == ("main", None)
    repo("checkout", "-q", "--detach")
    assert (repo.read().branch, repo.read().tag) == (None, "v2")
    both = repo.read(ci=Commit(branch="main", tag="v9"))
    assert (both.branch, both.tag) == (None, "v9")


# ── who is believed ──────────────────────────────────────────────────────────────────────────────


def test_overrides_win_over_the_ci_and_the_ci_over_git(repo: Repository) -> None:
    ci = Commit(repository_url="https://ci.example/x.git", message="ci", branch="ci", tag="")
    overrides = Commit(message="mine", author_time="2020-01-01T00:00:00Z", default_branch="trunk")
    git = repo.read(ci, overrides)
    assert (git.repository_url, git.branch) == ("https://ci.example/x.git", "ci")
    assert (git.message, git.author_time) == ("mine", "2020-01-01T00:00:00Z")
    assert (git.default_branch, git.author_email) == ("trunk", "author@example.com")


def test_a_commit_that_the_ci_names_is_read_though_it_is_not_checked_out(repo: Repository) -> None:
    first = repo("rev-parse", "HEAD")
    repo.commit("Second", GIT_AUTHOR_EMAIL="else@example.com")
    git = repo.read(ci=Commit(sha=first.upper()))
    assert (git.sha, git.author_email, git.branch) == (first, "author@example.com", None)
    assert "no author email" in repo.refused(ci=Commit(sha="0" * 40))


def test_what_the_ci_says_of_one_commit_is_not_said_of_another(repo: Repository) -> None:
    ci = Commit(sha="b" * 40, message="of b", author_email="b@example.com", branch="topic")
    git = repo.read(ci, Commit(sha=repo("rev-parse", "HEAD")))
    assert (git.message, git.author_email) == (
        "Mend the docs\n\nAll of them.",
        "author@example.com",
    )
    assert git.branch == "topic"


def test_the_head_of_a_pull_request_that_was_checked_out_is_what_is_reported(
    repo: Repository,
) -> None:
    head = repo("rev-parse", "HEAD")
    ci = Commit(sha="c" * 40, head_sha=head, branch="topic")
    assert (repo.read(ci).sha, repo.read(ci).branch) == (head, "topic")


@pytest.mark.parametrize(
    ("ref", "branch", "tag"),
    [
        ("main", "main", None),
        ("refs/heads/feature/one", "feature/one", None),
        ("refs/remotes/origin/main", "main", None),
        ("origin/main", "main", None),
        ("feature/origin/x", "feature/origin/x", None),
        ("feature/refs/heads/tags/x", "feature/refs/heads/tags/x", None),
        ("refs/pull/7/merge", "pull/7/merge", None),
        ("refs/tags/v1", None, "v1"),
        ("origin/tags/0.1.0", None, "0.1.0"),
        ("refs/heads/tags/0.1.0", None, "0.1.0"),
        ("tags/v1/tags/x", None, "v1/tags/x"),
        ("HEAD", None, None),
        (" topic\n", "topic", None),
    ],
)
def test_refs_lose_their_prefix_at_the_beginning_only(
    ref: str, branch: str | None, tag: str | None
) -> None:
    told = Commit(repository_url=URL, sha="a" * 40, author_email="author@example.com")
    git, _ = read(None, msgspec.structs.replace(told, branch=ref), NOTHING, {})
    assert git is not None
    assert (git.branch, git.tag) == (branch, tag)
    if tag:
        git, _ = read(None, msgspec.structs.replace(told, tag=ref), NOTHING, {})
        assert git is not None
        assert (git.branch, git.tag) == (None, tag)


# ── G11: URLs without credentials ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://github.com/acme/docs.git", "https://github.com/acme/docs.git"),
        ("https://github.com/acme/docs/", "https://github.com/acme/docs/"),
        ("HTTPS://user:HUSH@github.com/acme/docs", "https://github.com/acme/docs"),
        ("https://HUSH@github.com/acme/docs", "https://github.com/acme/docs"),
        ("https://x-access-token:HUSH@github.com/a/b.git", "https://github.com/a/b.git"),
        (
            "https://gitlab-ci-token:HUSH@git.example:8443/a/b.git",
            "https://git.example:8443/a/b.git",
        ),
        ("https://user:p@HUSH@host/a", "https://host/a"),
        ("https://user:p%40HUSH@host/a", "https://host/a"),
        ("https://user:HUSH@[2001:db8::1]:8443/a", "https://[2001:db8::1]:8443/a"),
        ("https://host/a/b.git?private_token=HUSH", "https://host/a/b.git"),
        ("https://host/a/b.git#HUSH", "https://host/a/b.git"),
        ("ssh://git@github.com:22/acme/docs.git", "ssh://git@github.com:22/acme/docs.git"),
        ("ssh://HUSH@github.com/acme/docs.git", "ssh://github.com/acme/docs.git"),
        ("ssh://git:HUSH@github.com/acme/docs.git", "ssh://github.com/acme/docs.git"),
        ("git@github.com:acme/docs.git", "git@github.com:acme/docs.git"),
        ("github.com:acme/docs.git", "github.com:acme/docs.git"),
        ("HUSH@github.com:acme/docs.git", "github.com:acme/docs.git"),
        ("user:HUSH@github.com:acme/docs.git", "github.com:acme/docs.git"),
        ("user:HU@SH/x@github.com:acme/docs.git", "github.com:acme/docs.git"),
        ("git@[::1]:acme/docs.git", "git@[::1]:acme/docs.git"),
        ("user:HUSH@github.com/acme/docs.git", "github.com/acme/docs.git"),
        ("github.com/acme/docs", "github.com/acme/docs"),
        ("/srv/git/a b.git", "file:///srv/git/a%20b.git"),
        ("file:///srv/git/a.git", "file:///srv/git/a.git"),
        ("file://user:HUSH@host/a.git", "file://host/a.git"),
        # It cannot be told what is what, or there is no address in it: nothing is said.
        ("https://user:p/HUSH@host/a", ""),
        ("https://user:1/HUSH@host/a", ""),
        ("https://host/a/re@po", ""),
        ("https://user:p?HUSH@host/a", ""),
        ("https://user:p#HUSH@host/a", ""),
        ("https://host:HUSH/a", ""),
        ("https://user:HUSH%40host/a", ""),
        ("https://host", ""),
        ("https:///a", ""),
        ("//user:HUSH@host/a", ""),
        ("ext::sh -c HUSH", ""),
        ("ext::HUSH", ""),
        ("codecommit://HUSH@repo", ""),
        ("https://host/a\nHUSH", ""),
        ("../elsewhere", ""),
        ("", ""),
    ],
)
def test_G11_a_url_loses_its_credentials_or_is_left_out(url: str, clean: str) -> None:
    assert clean_url(url) == clean
    assert "HUSH" not in clean


_WORD = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
_SECRET = st.text(string.printable + "@/:?#%[]\\é", max_size=12).map(lambda s: f"HUSH{s}HUSH")


@settings(max_examples=300)
@given(
    form=st.sampled_from(
        [
            "https://{user}:{secret}@{host}/{path}",
            "https://{secret}@{host}/{path}",
            "https://{secret}:@{host}:8443/{path}",
            "http://{user}:{secret}@[::1]:80/{path}?a={secret}",
            "ssh://{user}:{secret}@{host}:22/{path}",
            "ssh://{secret}@{host}/{path}",
            "git+ssh://{secret}@{host}/{path}",
            "file://{user}:{secret}@{host}/{path}",
            "ftp://{user}:{secret}@{host}/{path}",
            "{user}:{secret}@{host}:{path}",
            "{secret}@{host}:{path}",
            "{user}:{secret}@{host}/{path}",
            "{secret}@{host}.com/{path}",
            "//{user}:{secret}@{host}/{path}",
            "https:/{user}:{secret}@{host}.com/{path}",
            "https://{host}/{path}?token={secret}",
            "https://{host}/{path}#{secret}",
        ]
    ),
    user=_WORD,
    secret=_SECRET,
    host=_WORD,
    path=_WORD,
)
def test_G11_no_part_of_a_credential_is_ever_left(
    form: str, user: str, secret: str, host: str, path: str
) -> None:
    assert "HUSH" not in clean_url(form.format(user=user, secret=secret, host=host, path=path))


@settings(max_examples=50)
@given(url=st.text(max_size=40))
@example(url="/")
def test_G11_cleaning_never_raises_and_is_final(url: str) -> None:
    clean = clean_url(url)
    assert clean_url(clean) == clean


def test_G11_credentials_are_not_even_pinned(repo: Repository) -> None:
    repo("remote", "set-url", "origin", "https://user:HUSH@github.com/acme/docs.git")
    assert "HUSH" not in repr(repo.pin())
    assert repo.read().repository_url == URL
    dirty = Commit(repository_url="https://HUSH@github.com/acme/docs.git")
    assert repo.read(ci=dirty).repository_url == URL
    assert "HUSH" not in repo.refused(overrides=Commit(repository_url="https://a/HUSH@b/c"))


def test_times_are_rfc3339(repo: Repository) -> None:
    git = repo.read()
    assert git.commit_time is not None
    assert datetime.fromisoformat(git.commit_time).utcoffset() is not None
