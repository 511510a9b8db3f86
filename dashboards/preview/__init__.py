"""The dashboards, drawn by Grafana's own components from a real Prometheus, in Chromium."""
