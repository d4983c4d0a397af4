"""What hrpc does, on real servers: ``make demo``, or ``python -m examples.demo``."""
