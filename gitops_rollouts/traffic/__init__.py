"""Traffic routers: what makes a share of the requests go to the canary (docs/behaviour.md §15)."""
