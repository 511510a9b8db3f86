"""Generates the Grafana dashboards and the Prometheus rules: ``python -m dashboards``."""
