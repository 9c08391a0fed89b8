"""What the routers' tests on the cluster share with those of the engine."""

from controllers.conftest import client, settings, site, web

__all__ = ["client", "settings", "site", "web"]
