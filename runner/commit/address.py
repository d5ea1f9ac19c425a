"""A remote's URL as it may be reported.

Owns what of it is a credential: when that cannot be told for sure, nothing is reported.
"""

from typing import Final

_HEX: Final = frozenset("0123456789abcdef")
_SCHEMES: Final = ("https", "http", "ssh", "git+ssh", "ssh+git", "git", "file")
_HOST: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")


def clean_url(url: str) -> str:
    """A remote's URL without credentials, query and fragment; empty when it cannot be told for
    sure what is a credential. The user ``git`` of the ssh forms is none and stays.
    """
    url = url.strip()
    if not url.isprintable() or url.startswith("//"):
        return ""
    if url.startswith("/"):
        from urllib.parse import quote  # noqa: PLC0415  # 5 ms, for a remote that is a directory

        return "" if "@" in url or url == "/" else f"file://{quote(url)}"
    scheme, mark, rest = url.partition("://")
    if mark:
        return _clean_address(scheme.lower(), rest)
    user, _, place = url.rpartition("@")
    if set(place) & set(" ?#"):
        return ""
    host, _, path = place.rpartition(":")
    if _is_host(host) and path:
        return f"git@{place}" if user == "git" else place
    host, _, path = place.partition("/")  # no scheme: only what looks like a host is one
    return place if _is_host(host) and "." in host.strip(".") and path else ""


def _clean_address(scheme: str, rest: str) -> str:
    """An ``@`` after the first slash may end a password that holds a slash: nothing is told."""
    address = rest.partition("#")[0].partition("?")[0]
    authority, _, path = address.partition("/")
    user, _, place = authority.rpartition("@")
    named, bracket, port = place.rpartition("]")
    host, colon, port = port.partition(":")
    host = named + bracket + host
    if colon and not (port.isascii() and port.isdecimal()):
        return ""
    if not _is_host(host) and (place or scheme != "file"):
        return ""
    if scheme not in _SCHEMES or "@" in rest[len(authority) :] or " " in address or not path:
        return ""
    return f"{scheme}://{'git@' if 'ssh' in scheme and user == 'git' else ''}{place}/{path}"


def _is_host(text: str) -> bool:
    if text.startswith("[") and text.endswith("]"):
        return _HEX.issuperset(text[1:-1].lower().replace(":", "").replace(".", ""))
    return bool(text) and _HOST.issuperset(text)
