"""What a life set out to reach."""

from __future__ import annotations

from benchmarks.life import lives, probes
from benchmarks.targets import Target

TARGETS = (
    Target(f"{lives.FULL}: start beyond imports, ms", "lives", lives.FULL, lives.START, at_most=600),
    Target("the same: stop beyond `drain_delay`, ms", "lives", lives.FULL, lives.STOP, at_most=200),
    *(
        Target(f"{probes.probed(kind)}, whole process, ms", "probes", probes.probed(kind), probes.WHOLE, at_most=150)
        for kind in probes.KINDS
    ),
)
