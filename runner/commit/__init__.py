"""The commit under test: which one it is, before any step can change it, and what it says.

Owns every call of git, and what may be said of a repository (no credentials in a URL, a branch or
a tag but not both, no guess instead of an author's address). Does not know which CI we are in: its
facts come in as a ``Commit``. Never raises for anything a repository holds or lacks.

The repository is not trusted: its configuration can name programs (fsmonitor, hooks, filters, gpg,
remote helpers). So git gets the exact ``.git`` directory, no configuration but the repository's
with the settings below over it, no transport, no secret in its environment, and only commands that
read objects, refs and configuration: rev-parse, config, cat-file, for-each-ref. Never status, diff
or log (``log.showSignature`` runs ``gpg.program``).
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

import msgspec

from runner.commit.address import clean_url
from runner.event import Git
from runner.execution import Commit

LIMIT: Final = 2.0
"""Seconds one call of git may take."""
MESSAGE_LIMIT: Final = 1500
"""Characters of a commit message; the API names no limit, Datadog's own plugins cut here."""

SHA: Final = 40
"""Hex digits of an id that the API takes; a SHA-256 repository has 64."""

_SETTINGS: Final = (
    ("core.fsmonitor", ""),
    ("core.hooksPath", os.devnull),
    ("safe.bareRepository", "explicit"),
    ("protocol.ext.allow", "never"),
)
_FIXED: Final = {
    "GIT_ALLOW_PROTOCOL": "none",  # the names that may be fetched by; git has none of this name
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}
_HEX: Final = frozenset("0123456789abcdef")
_SAID_BY_THE_COMMIT: Final = (
    *("message", "author_name", "author_email", "author_time"),
    *("committer_name", "committer_email", "commit_time"),
)


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """What HEAD was when the run began. Holds no credentials: it may be kept."""

    root: str
    """The top of the work tree."""
    sha: str = ""
    branch: str = ""
    """Empty when HEAD is detached."""
    remote: str = ""
    default_branch: str = ""
    problem: str = ""
    """Why there is no sha."""


def top_level(directory: str) -> str | None:
    """The top of the work tree around ``directory``, links resolved, found without git."""
    here = os.path.realpath(directory)
    while not _is_top(here):
        here, below = os.path.dirname(here), here
        if here == below:
            return None
    return here


def _is_top(directory: str) -> bool:
    dot = os.path.join(directory, ".git")  # a file in a worktree and in a submodule
    return os.path.isfile(dot) or os.path.lexists(os.path.join(dot, "HEAD"))


def safe_directory(
    workspace: str, environ: Mapping[str, str], *, always: bool = False
) -> Mapping[str, str]:
    """The variables that let a step's git work in a repository of another owner: for exactly this
    one, after whatever the environment sets already, and in no file. ``always``: whoever owns it
    here, for in a container the step is somebody else.
    """
    root = top_level(workspace)
    if root is None:
        return {}
    with suppress(OSError):
        owners = {os.stat(path).st_uid for path in (root, os.path.join(root, ".git"))}
        if owners == {os.geteuid()} and not always:
            return {}
    given = environ.get("GIT_CONFIG_COUNT", "")
    index = int(given) if given.isascii() and given.isdecimal() else 0
    return _settings((("safe.directory", root),), index)


def _settings(settings: tuple[tuple[str, str], ...], index: int = 0) -> dict[str, str]:
    """git-config(1), "GIT_CONFIG_COUNT": configuration for one process and its children."""
    env = {"GIT_CONFIG_COUNT": str(index + len(settings))}
    for number, (key, value) in enumerate(settings, index):
        env[f"GIT_CONFIG_KEY_{number}"] = key
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    return env


def environment(root: str, environ: Mapping[str, str]) -> dict[str, str]:
    """All that git is given. The ``.git`` is named, so nothing is searched for: a bare repository
    lying in the tree is not found, and whose it is does not matter (git asks that of what it found
    itself). A relative entry of PATH could be a ``git`` of the repository.
    """
    path = environ.get("PATH", os.defpath).split(os.pathsep)
    env = {name: environ[name] for name in ("HOME", "LD_LIBRARY_PATH") if name in environ}
    env |= _FIXED | _settings(_SETTINGS)
    env["PATH"] = os.pathsep.join(entry for entry in path if os.path.isabs(entry))
    env["GIT_DIR"] = os.path.join(root, ".git")
    return env


class _Calls:
    """Commands of git, running side by side from when this is made. Raises ``OSError``."""

    def __init__(self, env: Mapping[str, str], *commands: tuple[str, ...]) -> None:
        with ExitStack() as stack:
            self._running = [stack.enter_context(_start(env, command)) for command in commands]
            self._held = stack.pop_all()

    def said(self) -> list[str]:
        """What each has printed, whatever the exit codes were; raises ``TimeoutExpired``."""
        with self._held:
            return [
                process.communicate(timeout=LIMIT)[0].decode("utf-8", "replace")
                for process in self._running
            ]


@contextmanager
def _start(env: Mapping[str, str], command: tuple[str, ...]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        ("git", *command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=env,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def ask(env: Mapping[str, str], *command: str) -> str:
    """What git printed for one command; empty when it could not be run."""
    with suppress(OSError, subprocess.TimeoutExpired):
        return _Calls(env, command).said()[0]
    return ""


class Look:
    """A look at HEAD and what belongs to it, by two calls of git side by side. It begins when this
    is made: git takes its time while others load theirs.
    """

    def __init__(self, directory: str, environ: Mapping[str, str]) -> None:
        self._root, self._problem = top_level(directory), ""
        self._calls: _Calls | None = None
        self._pin: Pin | None = None
        if self._root is None:
            return
        try:
            self._calls = _Calls(
                environment(self._root, environ),
                ("rev-parse", "HEAD", "--symbolic-full-name", "HEAD", "refs/remotes/origin/HEAD"),
                ("config", "-z", "--get-regexp", r"^remote\..*\.url$"),
            )
        except OSError as error:
            self._problem = f"git cannot be run ({error.strerror})"

    def pin(self) -> Pin | None:
        """What it found, once it has; None: there is no repository."""
        if self._pin is None and self._root is not None:
            self._pin = self._found(self._root)
        return self._pin

    def _found(self, root: str) -> Pin:
        if self._calls is None:
            return Pin(root=root, problem=self._problem)
        try:
            names, urls = self._calls.said()
        except subprocess.TimeoutExpired:
            return Pin(root=root, problem=f"git did not answer within {LIMIT:g} s")
        return _pinned(root, names.split("\n"), _remote(urls))


def pin(directory: str, environ: Mapping[str, str]) -> Pin | None:
    """HEAD, and what belongs to it; None: no repository here."""
    return Look(directory, environ).pin()


def _pinned(root: str, names: list[str], remote: str) -> Pin:
    """A name that does not exist is printed as it was given, one that is ambiguous not at all: so
    the lines after the first are told by what they begin with.
    """
    if len(names[0]) < SHA or not _HEX.issuperset(names[0]):
        return Pin(root=root, remote=remote, problem="there is no commit that git can read")
    origin = _after("refs/remotes/origin/", names)
    return Pin(
        root=root,
        sha=names[0],
        branch=_after("refs/heads/", names),
        remote=remote,
        default_branch="" if origin == "HEAD" else origin,
    )


def _after(prefix: str, names: list[str]) -> str:
    return next((name.removeprefix(prefix) for name in names if name.startswith(prefix)), "")


def _remote(config: str) -> str:
    """The URL of ``origin``, else of the first remote. An entry is the key, a newline, the URL."""
    pairs = [entry.partition("\n") for entry in config.split("\0")]
    urls = [url for key, _, url in pairs if url and key == "remote.origin.url"]
    urls += [url for _, _, url in pairs if url]
    return clean_url(urls[0]) if urls else ""


def read(
    pin: Pin | None, ci: Commit, overrides: Commit, environ: Mapping[str, str]
) -> tuple[Git | None, tuple[str, ...]]:
    """The commit as events carry it, and warnings. A field comes from ``overrides``, else from
    ``ci``, else from the commit itself, read by its id. Without URL, sha or author's address there
    is no Git at all: the API wants all three, and an invented address would be billed.
    """
    pin = pin or Pin(root="", problem="this is no git repository")
    sha = _chosen(pin, ci, overrides)
    if ci.sha.strip().lower() not in ("", sha):  # what it says of a commit, it says of another one
        ci = msgspec.structs.replace(ci, **dict.fromkeys(_SAID_BY_THE_COMMIT, ""))
    known = _merged(overrides, ci, _local(pin, sha, environ))
    known |= {"sha": sha, "repository_url": clean_url(known["repository_url"])}
    if missing := _missing(pin, known):
        return None, (missing,)
    known |= _ref(overrides) or _ref(ci) or (_pinned_ref(pin, environ) if pin.sha == sha else {})
    return msgspec.convert({name: text for name, text in known.items() if text}, Git), ()


def _chosen(pin: Pin, ci: Commit, overrides: Commit) -> str:
    """The id that is reported. Where a CI names a pull request's merge commit and its head was
    checked out instead, what was built is the head.
    """
    checked_out = pin.sha if pin.sha == ci.head_sha.strip().lower() else ""
    return (overrides.sha or checked_out or ci.sha or pin.sha).strip().lower()


def is_sha(text: str) -> bool:
    """Whether it is an id that the API takes."""
    return len(text) == SHA and _HEX.issuperset(text)


def _local(pin: Pin, sha: str, environ: Mapping[str, str]) -> Commit:
    """What the repository says of itself and of one commit."""
    own = _object(pin.root, sha, environ) if pin.root and is_sha(sha) else Commit()
    return msgspec.structs.replace(
        own, repository_url=pin.remote, default_branch=pin.default_branch
    )


def _merged(*sources: Commit) -> dict[str, str]:
    """Each field from the first source that has it, but for the ref: one thing in two fields."""
    known = {}
    for name in Commit.__struct_fields__:
        texts: list[str] = [getattr(source, name).strip() for source in sources]
        found = next(filter(None, texts), "")
        known[name] = found if name == "message" else _line(found)
    message = known["message"][:MESSAGE_LIMIT].encode("utf-8", "replace").decode("utf-8")
    default = _name(known["default_branch"])[1]
    return known | {"message": message, "default_branch": default, "branch": "", "tag": ""}


def _missing(pin: Pin, known: Mapping[str, str]) -> str:
    """The warning that names what is missing and how to give it; empty if nothing is."""
    reasons, sha = [], known["sha"]
    if not known["repository_url"]:
        reasons.append("no repository URL that is free of credentials (DD_GIT_REPOSITORY_URL)")
    if not sha:
        reasons.append(f"no commit: {pin.problem} (DD_GIT_COMMIT_SHA)")
    elif not is_sha(sha):
        reasons.append(f"a commit id of {len(sha)} characters, where Datadog takes 40 hex digits")
    if not known["author_email"]:
        reasons.append("no author email (DD_GIT_COMMIT_AUTHOR_EMAIL)")
    return f"the events carry no git: {'; '.join(reasons)}" if reasons else ""


_REF: Final = r"(?:refs/heads/|refs/remotes/origin/|refs/|origin/)?(tags/)?(.*)"


def _name(ref: str) -> tuple[bool, str]:
    """Whether a ref, as a CI names it, is a tag, and its name. Prefixes go at the beginning only:
    ``feature/origin/x`` stays what it is.
    """
    match = re.fullmatch(_REF, _line(ref))
    kind, name = match.groups() if match else (None, "")
    return bool(kind), "" if name == "HEAD" else name


def _ref(source: Commit) -> dict[str, str]:
    """The branch or the tag that a source names; of both, the tag."""
    if tag := _name(source.tag)[1]:
        return {"tag": tag}
    is_tag, name = _name(source.branch)
    return {"tag" if is_tag else "branch": name} if name else {}


def _pinned_ref(pin: Pin, environ: Mapping[str, str]) -> dict[str, str]:
    """The branch that was checked out, else the newest tag at its commit."""
    if pin.branch:
        return {"branch": pin.branch}
    newest = ("--sort=-creatordate", "--count=1", "--format=%(refname:strip=2)")
    env = environment(pin.root, environ)
    return {"tag": _line(ask(env, "for-each-ref", f"--points-at={pin.sha}", *newest, "refs/tags"))}


def _object(root: str, sha: str, environ: Mapping[str, str]) -> Commit:
    """What the commit says, with GitPython; where that fails, from git's own bytes."""
    try:
        return _by_gitpython(root, sha, environ)
    except Exception:  # noqa: BLE001  # whatever its parsers meet in hostile bytes
        return _by_git(root, sha, environ)


def _by_gitpython(root: str, sha: str, environ: Mapping[str, str]) -> Commit:
    """GitPython starts its git with the whole environment of the process and what we set over it:
    what must not get there is set to nothing.
    """
    import git  # noqa: PLC0415  # 50 ms, which are spent while the first step runs

    hidden = dict.fromkeys((name for name in environ if not name.startswith("GIT_")), "")
    repo = git.Repo(root, expand_vars=False)
    try:
        repo.git.update_environment(**(hidden | environment(root, environ)))
        commit = git.Commit(repo, bytes.fromhex(sha))  # by its id: nothing is to be looked up
        return Commit(
            message=str(commit.message),
            author_name=commit.author.name or "",
            author_email=commit.author.email or "",
            author_time=_moment(commit.authored_date, -int(commit.author_tz_offset)),
            committer_name=commit.committer.name or "",
            committer_email=commit.committer.email or "",
            commit_time=_moment(commit.committed_date, -int(commit.committer_tz_offset)),
        )
    finally:
        repo.close()


_PERSON: Final = r"(?m)^(author|committer) (.*?) ?<([^>\n]*)>(?: (\d+) ([+-])(\d\d)(\d\d))?$"


def _by_git(root: str, sha: str, environ: Mapping[str, str]) -> Commit:
    """The same from the object's own bytes: gitformat-commit, headers, an empty line, message."""
    raw = ask(environment(root, environ), "cat-file", "commit", sha)
    head, _, message = raw.partition("\n\n")
    said = {"message": message}
    for role, name, email, at, sign, hours, minutes in re.findall(_PERSON, head):
        said |= {f"{role}_name": name, f"{role}_email": email}
        if at:
            offset = int(f"{sign}{int(hours) * 3600 + int(minutes) * 60}")
            said["author_time" if role == "author" else "commit_time"] = _moment(int(at), offset)
    return Commit(**said)


def _moment(at: int, offset: int) -> str:
    """RFC 3339 in the zone the commit names; in UTC, or empty, if it names one that cannot be."""
    try:
        zone = timezone(timedelta(seconds=offset)) if offset else UTC
        return datetime.fromtimestamp(at, zone).isoformat()
    except (ValueError, OverflowError, OSError):
        return _moment(at, 0) if offset else ""


def _line(text: str) -> str:
    """One line; what does not print is a space."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
