"""HTTP and JSON for every method of an hrpc service, with an OpenAPI document and a page to try them.

::

    import hrpc
    import hrpc_tester

    server = hrpc.new_server(hrpc.with_server_name("orders"), hrpc_tester.with_tester())
    server.serve()                      # the page is on http://127.0.0.1:8080
"""

from hrpc_tester.errors import TesterRefused
from hrpc_tester.tester import Tester, with_tester

__all__ = ["Tester", "TesterRefused", "with_tester"]
