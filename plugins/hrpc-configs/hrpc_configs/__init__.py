"""Typed settings of a service: defaults < a file < Consul KV < the environment, followed live.

::

    @dataclass(frozen=True)
    class Limits:
        per_order: int = 20
        token: hrpc_configs.Secret[str] = ""

    limits = hrpc_configs.Settings(Limits, key="limits", file="limits.toml", env="ORDERS_")
    server = hrpc.new_server(..., hrpc.with_plugins(limits))

    limits.get().per_order          # in a handler: the newest value
    print(limits.explain())         # where each value comes from
"""

from hrpc_configs.explaining import Explanation, Row
from hrpc_configs.fields import SECRET, Secret
from hrpc_configs.settings import Settings

__all__ = ["SECRET", "Explanation", "Row", "Secret", "Settings"]
