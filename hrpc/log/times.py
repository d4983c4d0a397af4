"""The times of a log line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from json.encoder import encode_basestring_ascii as quoted
from zoneinfo import ZoneInfo

TIME = "%Y-%m-%d %H:%M:%S"
ZONES: Mapping[str, tzinfo] = {"pst_time": ZoneInfo("America/Los_Angeles"), "bj_time": ZoneInfo("Asia/Shanghai")}
"""Those of the Go framework, by the fields that they are in."""


class Times:
    """The times as text, made once per second."""

    def __init__(self, zones: Mapping[str, tzinfo] = ZONES) -> None:
        """`zones`: those of the fields of a JSON object, by name."""
        self._zones = zones
        self._second = -1
        self._json = ""
        self._local = ""

    def json(self, when: float) -> str:
        """The members of a JSON object that say the time, for seconds of ``time.time``."""
        second = int(when)
        if second != self._second:
            self._turn(second)
        return self._json

    def local(self, when: float) -> str:
        """Hours, minutes, seconds and milliseconds where this process runs."""
        second = int(when)
        if second != self._second:
            self._turn(second)
        return f"{self._local}.{int((when - second) * 1000):03}"

    def _turn(self, second: int) -> None:
        times = {name: datetime.fromtimestamp(second, zone).strftime(TIME) for name, zone in self._zones.items()}
        self._json = ",".join(f'{quoted(name)}:"{time}"' for name, time in times.items())
        self._local = datetime.fromtimestamp(second).strftime("%H:%M:%S")
        self._second = second
