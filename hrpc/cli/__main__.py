"""``python -m hrpc.cli``: the same as ``hrpc``."""

from hrpc.cli import main

main()
