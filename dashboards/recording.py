"""Recording rules: what alerts and long time ranges are computed from."""

BUDGET_LEFT = "job_trail:axon_memory_error_budget_left:ratio30d"
