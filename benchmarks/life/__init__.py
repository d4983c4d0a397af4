"""What a life costs: its start, its stop, and the probes meanwhile: the tables of docs/life-performance.md."""
