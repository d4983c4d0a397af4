"""The times of a log line."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

TIME = "%Y-%m-%d %H:%M:%S"
PACIFIC = ZoneInfo("America/Los_Angeles")
BEIJING = ZoneInfo("Asia/Shanghai")


class Times:
    """The times as text, made once per second."""

    def __init__(self) -> None:
        self._second = -1
        self._json = ""
        self._local = ""

    def json(self, when: float) -> str:
        """The members ``pst_time`` and ``bj_time`` of a JSON object, for seconds of ``time.time``."""
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
        pacific = datetime.fromtimestamp(second, PACIFIC).strftime(TIME)
        beijing = datetime.fromtimestamp(second, BEIJING).strftime(TIME)
        self._json = f'"pst_time":"{pacific}","bj_time":"{beijing}"'
        self._local = datetime.fromtimestamp(second).strftime("%H:%M:%S")
        self._second = second
