"""What every forge's tests share."""

from http_server import certificate

__all__ = ["certificate"]
