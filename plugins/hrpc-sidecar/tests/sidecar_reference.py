"""The frames of a whole stream by the plainest reading of the rules, to compare the parser with."""

from __future__ import annotations

import re

from hrpc_sidecar.frames import Frame


def frames(stream: bytes) -> list[Frame]:
    """All frames, the last one also without its blank line."""
    text = stream.removeprefix(b"\xef\xbb\xbf")
    found: list[Frame] = []
    event, number, data = b"", b"", []
    for line in [*re.split(rb"\r\n|\r|\n", text), b""]:
        if line == b"":
            if event or data:
                joined = b"\n".join(data) if data else None
                found.append(Frame(event.decode(errors="replace"), number.decode(errors="replace"), joined))
            event, number, data = b"", b"", []
            continue
        match = re.fullmatch(rb"(event|data|id): ?(.*)", line, re.DOTALL)
        if match is None:
            continue
        if match[1] == b"event":
            event = match[2]
        elif match[1] == b"id":
            number = match[2]
        else:
            data.append(match[2])
    return found
