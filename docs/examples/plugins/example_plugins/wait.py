"""A step that waits for time to pass, or for a word from outside.

- plugin:
    name: example/wait
    config:
      seconds: 20                     # Successful after so long
      annotation: example.com/smoke   # or once this annotation of the Rollout says "passed"; "failed" aborts
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from gitops_rollouts.plugins import Context, Phase, Result


class Wait:
    """Begun by its first call, which remembers in the status when that was."""

    def run(self, context: Context) -> Result:
        """Look whether it is over."""
        config: dict[str, Any] = context.config or {}
        now = datetime.now(UTC)
        # a call may come twice: the moment of the first one stands
        since = datetime.fromisoformat(context.status["since"]) if context.status else now
        status = {"since": since.isoformat()}
        said = (context.rollout["metadata"].get("annotations") or {}).get(config.get("annotation", ""), "")
        if said == "failed":
            return Result(Phase.FAILED, f"annotation {config['annotation']} says failed", status=status)
        if said == "passed":
            return Result(Phase.SUCCESSFUL, f"annotation {config['annotation']} says passed", status=status)
        if "seconds" in config and now - since >= timedelta(seconds=config["seconds"]):
            return Result(Phase.SUCCESSFUL, f"waited {config['seconds']} s", status=status)
        return Result(Phase.RUNNING, "waiting", requeue_after=timedelta(seconds=11), status=status)

    def abort(self, context: Context) -> Result:
        """Nothing was begun that would have to be taken back."""
        return Result(Phase.SUCCESSFUL, "nothing to take back")

    def terminate(self, context: Context) -> Result:
        """Nobody waits any more."""
        return Result(Phase.SUCCESSFUL, "no longer waiting")
