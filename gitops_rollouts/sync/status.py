"""What a GitSync's status says: conditions, problems, and a sentence: what happens, why, what comes next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from gitops_rollouts.api import gitsync as api
from gitops_rollouts.api.gitsync import GitSync, GitSyncStatus
from gitops_rollouts.api.meta import format_time
from gitops_rollouts.api.status import Condition
from gitops_rollouts.errors import GorError, SecretUnusable
from gitops_rollouts.render.objects import Identity, Problem
from gitops_rollouts.sync.inventory import Entry, written
from gitops_rollouts.sync.poller import Seen
from gitops_rollouts.sync.prune import PrunePlan

READY, FETCHED, RENDERED, APPLIED, PRUNED, WRITE_BACK = (
    "Ready",
    "Fetched",
    "Rendered",
    "Applied",
    "Pruned",
    "WriteBack",
)
SECRETS: Final = "Secrets"
_ORDER: Final = (READY, FETCHED, RENDERED, APPLIED, PRUNED, WRITE_BACK, SECRETS)
REFRESH: Final = timedelta(seconds=60)
"""``lastFetched`` alone is written no more often than this: an answer with nothing new is no news."""
_MAX_TEXT: Final = 1000


@dataclass(frozen=True, slots=True)
class Facts:
    """What a pass found out. Empty fields: it didn't come that far."""

    seen: Seen
    config_error: GorError | None = None
    rendered: bool | None = None
    """Whether the tree could be rendered; None: there was none to render."""
    commit: str = ""
    total: int = 0
    unapplied: int = 0
    """Objects of the tree that aren't in the cluster as Git has them."""
    stuck: GorError | None = None
    """Why the pass ended half-way: the API server didn't answer."""
    rebuilding: tuple[str, ...] = ()
    prune: PrunePlan = field(default_factory=PrunePlan)
    allowance_over: bool = False
    """What a person allowed to prune is pruned."""
    problems: tuple[Problem, ...] = ()
    inventory: Mapping[Identity, Entry] | None = None
    complete: bool = False
    """Everything of the commit is in the cluster."""
    secrets: tuple[str, ...] | None = None
    """Which Secrets can't be used while the rest goes on, and what became of it; None: they weren't looked at."""
    write_back: Condition | None = None
    holds: tuple[api.Hold, ...] | None = None
    requests: tuple[api.OpenRequest, ...] | None = None
    proposals: tuple[api.Proposal, ...] | None = None


def compose(sync: GitSync, facts: Facts, now: datetime) -> GitSyncStatus:
    """The new status. Pure; equal facts give an equal status but for ``lastFetched``."""
    old = sync.status
    found = {one.type: one for one in _conditions(sync, facts)}
    merged = tuple(
        _dated(old.condition(kind), condition, now)
        for kind in _ORDER
        if (condition := found.get(kind) or old.condition(kind)) is not None
    )
    update: dict[str, object] = {
        "observed_generation": sync.metadata.generation,
        "conditions": merged,
        "message": found[READY].message,
        "problems": tuple(_problem(one) for one in facts.problems[: api.MAX_PROBLEMS]),
        "problem_count": len(facts.problems),
    }
    if facts.seen.at is not None:
        update["last_fetched"] = facts.seen.at.replace(microsecond=0)
    if facts.seen.head:
        update["last_fetched_commit"] = facts.seen.head
    if facts.complete and facts.commit != old.last_applied_commit:
        update["last_applied_commit"] = facts.commit
        update["last_applied_time"] = now.replace(microsecond=0)
    if facts.inventory is not None:
        update["inventory"] = written(facts.inventory)
    if facts.allowance_over:
        update["allowed_prune"] = ""
    if facts.holds is not None:
        update["holds"] = facts.holds
    if facts.requests is not None:
        update["requests"] = facts.requests
    if sync.spec.promotion is None:
        update["proposals"] = ()
    elif facts.proposals is not None:
        update["proposals"] = facts.proposals
    return old.model_copy(update=update)


def worth_writing(old: GitSyncStatus, new: GitSyncStatus) -> bool:
    """Whether a client would see a difference that matters."""
    if old.last_fetched is not None and new.last_fetched is not None:
        if new.last_fetched - old.last_fetched >= REFRESH:
            return True
        old = old.model_copy(update={"last_fetched": new.last_fetched})
    return old != new


def _conditions(sync: GitSync, facts: Facts) -> Iterable[Condition]:
    parts = [_fetched(facts)]
    if facts.rendered is not None:
        parts.append(_rendered(facts))
    if facts.rendered:
        parts += [_applied(sync, facts), _pruned(facts)]
    if facts.write_back is not None:
        yield facts.write_back
    if facts.secrets:
        yield _condition(SECRETS, "False", SecretUnusable.__name__, "; ".join(facts.secrets))
    elif facts.secrets is not None and sync.status.condition(SECRETS) is not None:
        yield _condition(SECRETS, "True", "Usable", "every Secret that is named can be used")
    yield from parts
    yield _ready(sync, facts, parts)


def _fetched(facts: Facts) -> Condition:
    seen = facts.seen
    if facts.config_error is not None:
        return _condition(FETCHED, "False", "BadSpec", str(facts.config_error))
    if seen.error is not None:
        return _condition(FETCHED, "False", type(seen.error).__name__, str(seen.error))
    if seen.head is None:
        return _condition(FETCHED, "Unknown", "NotYet", "the branch hasn't been read yet")
    return _condition(FETCHED, "True", "Fetched", f"the branch is at {seen.head[:12]}")


def _rendered(facts: Facts) -> Condition:
    if not facts.rendered:
        why = str(facts.problems[0]) if facts.problems else "the tree can't be rendered"
        return _condition(RENDERED, "False", "RenderFailed", f"{facts.commit[:12]}: {why}")
    return _condition(RENDERED, "True", "Rendered", f"{_objects(facts.total)} at {facts.commit[:12]}")


def _applied(sync: GitSync, facts: Facts) -> Condition:
    if facts.stuck is not None:
        return _condition(APPLIED, "False", type(facts.stuck).__name__, str(facts.stuck))
    if not sync.spec.apply:
        return _condition(APPLIED, "True", "AppliedElsewhere", "spec.apply is false: something else applies")
    if facts.rebuilding:
        names = ", ".join(facts.rebuilding[:3]) + (", …" if len(facts.rebuilding) > 3 else "")
        message = f"{names}: the recorded stable version is brought up first, then {facts.commit[:12]}"
        return _condition(APPLIED, "False", "Rebuilding", message)
    if facts.unapplied:
        message = f"{facts.unapplied} of {_objects(facts.total)} at {facts.commit[:12]} can't be applied"
        return _condition(APPLIED, "False", "Problems", message)
    return _condition(APPLIED, "True", "Applied", f"{_objects(facts.total)} at {facts.commit[:12]}")


def _pruned(facts: Facts) -> Condition:
    plan = facts.prune
    if plan.reason:
        remedy = f"; to allow it: gor allow-prune {facts.commit[:12]}" if plan.reason == "PruneBlocked" else ""
        return _condition(PRUNED, "False", plan.reason, plan.message + remedy)
    return _condition(PRUNED, "True", "Pruned", "the cluster has nothing of this GitSync that Git has not")


def _ready(sync: GitSync, facts: Facts, parts: list[Condition]) -> Condition:
    """The sum of the others, and the sentence."""
    by_kind = {one.type: one for one in parts}
    again = f"looking again every {sync.spec.interval}"
    if facts.config_error is not None:
        return _condition(READY, "False", "BadSpec", f"Nothing happens: {facts.config_error}.")
    if sync.spec.suspend:
        return _condition(
            READY, "False", "Suspended", "Suspended: nothing is read, applied or written until spec.suspend is false."
        )
    if facts.seen.error is not None:
        since = f" since {format_time(facts.seen.at)}" if facts.seen.at else ""
        message = (
            f"Git can't be read{since}: {facts.seen.error}. What runs goes on running and nothing is pruned; after "
            f"{sync.spec.max_staleness} without an answer no update moves forward; {again}."
        )
        return _condition(READY, "False", by_kind[FETCHED].reason, message)
    if facts.seen.head is None:
        return _condition(READY, "Unknown", "NotYet", "The branch is being read for the first time.")
    return _ready_after_fetch(sync, facts, by_kind, again)


def _ready_after_fetch(sync: GitSync, facts: Facts, by_kind: Mapping[str, Condition], again: str) -> Condition:
    head = (facts.commit or facts.seen.head or "")[:12]
    if facts.rendered is False:
        last = sync.status.last_applied_commit[:12]
        stays = f"{last} stays applied" if last else "nothing is applied"
        why = by_kind[RENDERED].message.removeprefix(f"{head}: ")
        message = f"{head} can't be rendered: {why}. {stays[0].upper()}{stays[1:]}; push a correction."
        return _condition(READY, "False", "RenderFailed", message)
    applied = by_kind.get(APPLIED)
    if applied is None or applied.status != "True":
        said = applied.message if applied else "not applied yet"
        first = f" The first problem: {facts.problems[0]}." if facts.problems and facts.unapplied else ""
        rest = " All other objects are applied; what ran of these stays." if facts.unapplied else ""
        return _condition(READY, "False", applied.reason if applied else "NotYet", f"{said.rstrip('.')}.{first}{rest}")
    if facts.prune.reason in ("PruneBlocked", "EmptyRender", "ProblemsFirst"):
        return _condition(READY, "False", facts.prune.reason, f"{by_kind[PRUNED].message}.")
    what = "is what runs" if sync.spec.apply else "is read; something else applies it"
    if facts.problems:
        count = "1 problem that stops" if len(facts.problems) == 1 else f"{len(facts.problems)} problems that stop"
        message = f"{head} {what}, with {count} nothing: {facts.problems[0]}."
        return _condition(READY, "True", "SyncedWithProblems", message)
    return _condition(READY, "True", "Synced", f"{head} {what}: {_objects(facts.total)}; {again}.")


def _condition(kind: str, status: str, reason: str, message: str) -> Condition:
    text = message if len(message) <= _MAX_TEXT else message[: _MAX_TEXT - 1] + "…"
    return Condition(type=kind, status=status, reason=reason, message=text)


def _dated(old: Condition | None, new: Condition, now: datetime) -> Condition:
    if old is not None and (old.status, old.reason, old.message) == (new.status, new.reason, new.message):
        return old
    at = now.replace(microsecond=0)
    since = old.last_transition_time if old is not None and old.status == new.status else at
    return new.model_copy(update={"last_update_time": at, "last_transition_time": since or at})


def _problem(problem: Problem) -> api.Problem:
    about = f"{problem.identity}: " if problem.identity else ""
    text = (about + problem.message)[:_MAX_TEXT]
    return api.Problem(
        path=problem.path, line=problem.line, field=problem.field[:_MAX_TEXT], message=text, remedy=problem.remedy
    )


def _objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count} objects"
