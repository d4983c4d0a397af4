"""Time zones for hrpc services, by the names that the team uses, also for the two times of the log.

::

    import hrpc
    import hrpc_location as location

    server = hrpc.new_server(
        ..., location.with_zones(office="Europe/Berlin", log=("office", "bjs"))
    )

    location.now("office")                  # in a handler, a job or a hook
    location.pst(), location.bjs()          # anywhere
"""

from hrpc_location.plugin import Location, with_zones
from hrpc_location.zones import UnknownZone, bjs, bjs_now, now, pst, pst_now, zone

__all__ = ["Location", "UnknownZone", "bjs", "bjs_now", "now", "pst", "pst_now", "with_zones", "zone"]
