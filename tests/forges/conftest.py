"""What every forge's tests share."""

import pytest

pytest.register_assert_rewrite("forges.contract")

from gitea_program import gitea, gitea_repository  # noqa: E402 - after its line above
from http_server import certificate  # noqa: E402

__all__ = ["certificate", "gitea", "gitea_repository"]
