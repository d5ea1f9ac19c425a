"""A commit in a work tree of its own.

Owns making one; what git may read and run is the package's.
"""

import subprocess
from collections.abc import Mapping
from typing import Final

from runner.commit import ask, environment, is_sha

_CHECKOUT: Final = 600.0
"""Seconds a checkout may take."""


def has(root: str, sha: str, environ: Mapping[str, str]) -> bool:
    """Whether the repository at ``root`` has the commit."""
    kind = ask(environment(root, environ), "cat-file", "-t", sha) if is_sha(sha) else ""
    return kind.strip() == "commit"


def make(root: str, sha: str, place: str, environ: Mapping[str, str]) -> str:
    """A work tree of its own at ``place`` (git-worktree(1)); why not, or empty. Runs no hook, and
    none of the filters that only a user's own configuration names (LFS leaves its pointers).
    """
    env = environment(root, environ)
    command = ("git", "worktree", "add", "--detach", "--force", place, sha)
    try:
        done = subprocess.run(
            command, env=env, cwd="/", capture_output=True, timeout=_CHECKOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr.decode("utf-8", "replace").strip() if done.returncode else ""
