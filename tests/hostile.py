"""Hostile text in every field of an execution, for whatever draws it."""

import itertools
from typing import Any

import msgspec

from runner.report import Told

EVIL = (
    "</script><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>' onmouseover=alert(1) x='",
    "</style></title></pre></textarea></summary></details><h1>&lt;b&gt;<!-- ]]> {{ 7*7 }}{% raw %}",
    "\u202egnp.exe\u2066\u2028\u2029\x00\x08\x1b]0;owned\x07\x1b[2J\u200b\ufeff\U0001f600 \ud800",
    "<svg onload=alert(1)><math><mtext></form><base href=//evil><meta http-equiv=refresh>",
    "a\n\n<!--\r\n<iframe srcdoc='<script>alert(1)</script>'>" + "A" * 300,
)
_FIXED = {"status", "start", "end", "expires", "at", "domain", "url", "repository_url"}
"""Not text: words of ours, times, and addresses, which have a test of their own."""


def filled(told: Told, text: str) -> Told:
    """``told`` with ``text`` in every field that takes text; no two the same, as ids must be."""
    number = itertools.count()

    def fill(value: Any, key: str = "") -> Any:
        match value:
            case dict():
                renamed = key == "parameters"
                return {
                    f"{k}{text}" if renamed else k: fill(v, "" if renamed else k)
                    for k, v in value.items()
                }
            case list() | tuple():
                return [fill(one, key) for one in value]
            case str() if value and key not in _FIXED:
                return f"{text}{next(number)}{text}"
            case _:
                return value

    return msgspec.convert(fill(msgspec.to_builtins(told)), Told)
