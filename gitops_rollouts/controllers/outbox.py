"""Writes the outbox of a live Rollout: aborts and promotions that Git doesn't have yet (docs/decisions.md §4)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from gitops_rollouts.api.meta import Raw, format_time
from gitops_rollouts.controllers.authority import read_stamp
from gitops_rollouts.controllers.observe import LiveRollout
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.message import safe_text
from gitops_rollouts.decisions.planning.outbox import PROMOTE, asked_entry, read_outbox
from gitops_rollouts.engine.persist import REQUESTED
from gitops_rollouts.engine.plan import EmitEvent, ForgetPromotions, RecordAbort, RecordPromotion
from gitops_rollouts.errors import Conflict, KubeError

LIMIT: Final = 16
ASKED: Final = "PromotionAsked"

log = structlog.get_logger(__name__)


class Outbox:
    """Of one Rollout while one plan is carried out. ``write``: puts the annotation, None takes it away."""

    def __init__(self, live: LiveRollout, write: Callable[[str | None], Awaitable[None]]) -> None:
        self._live = live
        self._write = write
        self._entries = read_outbox(live.outbox)

    async def abort(self, action: RecordAbort) -> None:
        """Lay an abort down. Promotions that wait are of no interest any more."""
        entry: Raw = {
            "verb": "abort",
            "at": action.at,
            "abortedAt": format_time(action.aborted_at),
            "reason": action.reason,
            "message": action.message,
        }
        if action.reason == REQUESTED and self._live.asked_by:
            entry["actor"] = self._live.asked_by
        if action.run:
            entry["run"] = action.run
        if action.evidence:
            entry["evidence"] = [each.encode() for each in action.evidence]
        known = [each for each in self._entries if each.get("verb") != PROMOTE]
        if action.told:
            entry = next((e for e in known if e.get("abortedAt") == entry["abortedAt"]), entry) | {"told": action.told}
        # what an earlier abort was judged by would only fill the annotation: its commit is made, or never will be
        earlier = [e for e in known if e.get("abortedAt") != entry["abortedAt"]]
        entries = [{key: value for key, value in e.items() if key != "evidence"} for e in earlier]
        try:
            await self._put([*entries, entry])
        except KubeError as error:
            # it can be derived again from status.abort: going back to stable must not wait for it
            self._failed("abort not recorded", error)

    async def promotion(self, action: RecordPromotion) -> EmitEvent:
        """Lay down what a client asked for; the event tells what came of it. Raises Conflict: the next pass sees it."""
        stamp = read_stamp(self._live.stamp)
        subject = Subject(stamp.get("target", ""), *self._live.key)
        template, steps = stamp.get("template", ""), stamp.get("steps", "")
        actor = safe_text(self._live.promoted_by, 100)
        entry = asked_entry(subject, template, steps, action.intent, action.gate, actor)
        try:
            if not any(each.get("id") == entry["id"] for each in self._entries):
                await self._put([*self._entries, entry])
        except Conflict:
            raise
        except KubeError as error:
            self._failed("promotion not recorded", error)
            return action.failed
        return EmitEvent(ASKED, action.text.format(actor=entry["actor"]))

    async def forget(self, action: ForgetPromotions) -> None:
        """Take promotions out that need nothing more."""
        kept = [each for each in self._entries if each.get("verb") != PROMOTE or each.get("id") not in action.ids]
        try:
            if kept != self._entries:
                await self._put(kept)
        except KubeError as error:
            self._failed("promotions not taken out of the outbox", error)

    async def _put(self, entries: list[dict[str, Any]]) -> None:
        kept = entries[-LIMIT:]
        await self._write(json.dumps(kept, ensure_ascii=False, separators=(",", ":")) if kept else None)
        self._entries = kept

    def _failed(self, what: str, error: KubeError) -> None:
        namespace, name = self._live.key
        log.warning(what, namespace=namespace, name=name, error=str(error))
