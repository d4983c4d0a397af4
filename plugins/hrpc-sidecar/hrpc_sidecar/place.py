"""Where the sidecar-agent is."""

from __future__ import annotations

from urllib.parse import urlsplit

from hrpc.errors import OptionError
from hrpc.option import checks
from hrpc_sidecar.errors import WatchUrlRequired

DEFAULT_BASE_URL = "http://127.0.0.1:15010"
DEFAULT_WATCH_PATH = "/watch"


def base_url(text: str) -> str:
    """A base URL without spaces around it and without a slash at its end; empty for none. Raises `OptionError`."""
    return _checked("base_url", text)


def watch_url(text: str | None, base: str) -> str:
    """That of the stream: `text`, or that below the base URL. Raises `WatchUrlRequired` and `OptionError`."""
    found = _checked("watch_url", text or "")
    if not found:
        base = base_url(base)
        found = base and base + DEFAULT_WATCH_PATH
    if not found:
        raise WatchUrlRequired
    return found


def _checked(name: str, text: str) -> str:
    option, url = f"hrpc_sidecar: {name}", text.strip().rstrip("/")
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, known = urlsplit(""), False
    if "@" in parts.netloc:
        raise OptionError(f"{option} takes no user and password")
    if not known or parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise OptionError(f"{option}={url!r} is no URL such as {DEFAULT_BASE_URL}")
    checks.host(option, parts.hostname)
    return url
