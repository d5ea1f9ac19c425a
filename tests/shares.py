"""Tests dealt out to several processes: ``--share 1/2`` runs every second one.

Owns the dealing, one by one, so that long ones that stand together go to different processes. Tests
share nothing but the machine: each may run beside any other.
"""

import signal

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option."""
    parser.addoption("--share", default="1/1", metavar="I/N", help="run the I-th of N shares")


def pytest_configure() -> None:
    """Whoever starts us in the background (``&``) has us ignore Ctrl-C, and what we start, too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.hookimpl(trylast=True)  # of what the others have left
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep this share."""
    share, shares = map(int, config.getoption("--share").split("/"))
    items[:] = items[share - 1 :: shares]
