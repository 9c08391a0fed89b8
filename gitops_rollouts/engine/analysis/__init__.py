"""One pass over one AnalysisRun: pure, like the Rollout's engine (docs/behaviour.md §17.3)."""
