"""The way to an intake through the machine's own settings: proxies and certificate authorities.

Owns how the environment is read, from the mapping it is given: the libraries would read the
process's own, and ``.netrc`` beside it. Connects to nothing.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit


def authorities(environ: Mapping[str, str]) -> bool | str:
    """The file or folder of certificate authorities; True for the built-in ones. There is no way
    to switch the check off.
    """
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
    return next((environ[name] for name in names if environ.get(name)), True)


def proxies(url: str, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The proxy for this URL, by its scheme; empty for none. Loopback is never reached by one: the
    key would leave the machine in clear.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    names = (f"{parts.scheme}_proxy", "all_proxy")
    found = next((value for name in names if (value := _either(name, environ))), "")
    if not found or _loopback(host) or _excepted(host, port, _either("no_proxy", environ)):
        return {}
    return {parts.scheme: found if "://" in found else f"http://{found}"}


def _either(name: str, environ: Mapping[str, str]) -> str:
    return environ.get(name, "").strip() or environ.get(name.upper(), "").strip()


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _excepted(host: str, port: int | None, listed: str) -> bool:
    """Whether NO_PROXY names this host: ``*``, a name and all under it, an address, a network."""
    for entry in (item.strip().lower() for item in listed.split(",")):
        name = entry.removesuffix(f":{port}").removeprefix("*.").lstrip(".")
        if entry == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
        if "/" in entry and _inside(host, entry):
            return True
    return False


def _inside(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
