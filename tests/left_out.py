"""Tests that this machine cannot run: they are left out, and the last lines say so.

Owns nothing of when that is so: each plugin that knows what a test needs asks for it here.
"""

import pytest

_LINES = pytest.StashKey[list[str]]()


def leave(
    config: pytest.Config, items: list[pytest.Item], mine: list[pytest.Item], why: str
) -> None:
    """Take ``mine`` out of ``items``. ``why`` goes on after their number: ``tests of X need Y``."""
    left = set(mine)
    items[:] = [item for item in items if item not in left]
    if mine:
        config.hook.pytest_deselected(items=mine)
        config.stash.setdefault(_LINES, []).append(f"{len(mine)} {why}")


def last(items: list[pytest.Item], mine: list[pytest.Item]) -> None:
    """Let ``mine`` run after all others."""
    items.sort(key=set(mine).__contains__)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what was left out, and what would bring it back."""
    if lines := config.stash.get(_LINES, []):
        terminalreporter.section("left out", yellow=True)
        for line in lines:
            terminalreporter.line(line)
