"""Moving over: from Deployments, and from another controller of this API (docs/migration.md)."""
