"""Measures the cost of this package as ratios: ``python -m benchmarks``. See README.md here."""

import os

# Importing axon puts a handler on stderr that reports every system that is made.
os.environ.setdefault("AXON_LOG_LEVEL", "WARNING")
