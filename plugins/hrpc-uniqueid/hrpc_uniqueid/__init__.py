"""Snowflake ids for a fleet: node ids leased through Consul, so that no two instances share one.

::

    import hrpc
    import hrpc_uniqueid

    server = hrpc.new_server(..., hrpc.with_consul(), hrpc_uniqueid.with_leased_node_id())

    hrpc.uniqueid.next_id()                 # in a handler, a job or a hook
"""

from hrpc_uniqueid.plugin import UniqueID, with_leased_node_id

__all__ = ["UniqueID", "with_leased_node_id"]
