"""One look at a forge: its pull requests are made to show what stands as a request (docs/decisions.md §2). Blocks.

Each call starts from what the forge says now, so whatever was lost in a crash is found and done again: opened is found
by its branch, closed by its state, and what we wrote by the line that only machines read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from gitops_rollouts.api.meta import format_time
from gitops_rollouts.decisions.requests.body import closing, fenced, merge_body, read_marker, title, too_late
from gitops_rollouts.decisions.requests.view import MERGED, PROMOTED, RequestView, Standing
from gitops_rollouts.errors import ForgeDenied, ForgeMissing, ForgeRefused
from gitops_rollouts.forges.forge import Forge, PullRequest

log = structlog.get_logger(__name__)

PREFIX: Final = "rollouts/"
MERGE_LEAST: Final = timedelta(seconds=15)
MERGE_MOST: Final = timedelta(hours=1)
"""Between two questions to merge what a forge has refused to."""
RENEW_EVERY: Final = timedelta(seconds=60)
"""A body that differs in its numbers alone isn't written more often than that."""


LOST_AFTER: Final = timedelta(minutes=2)
"""A merge that Git doesn't show for so long, and so many looks, was pushed away again."""
_LOST_LOOKS: Final = 3


@dataclass(slots=True)
class MergeAsked:
    """What was asked of the forge for a request that states a fact: to merge this head once its rules are met."""

    head: str = ""
    granted: bool = False
    tries: int = 0
    not_before: datetime | None = None


@dataclass(slots=True)
class Known:
    """What was learnt of one branch's request, so that it isn't asked again while nothing changes."""

    request: PullRequest | None
    seen: datetime
    edited: datetime | None = None
    wrote: str = ""
    """Our part of the body as it was written last: what a forge makes of it is no reason to write it again."""
    done: bool = False
    """Everything was said and done about a request that is no longer open."""
    merging: MergeAsked = field(default_factory=MergeAsked)
    missed: int = 0
    """Looks at which Git lacked the commit that the request was merged as."""


@dataclass(slots=True)
class Looked:
    """What a look came to. ``problems``: by branch, what the forge refused; the rest went on."""

    standings: dict[str, Standing] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


class ForgeRound:
    """Looks at one forge for one base branch. Never used by two threads at once; remembers what may be forgotten.

    ``is_late``: whether a merge (its commit) came after the version (its commit) that made the request void; None: that
    can't be told yet. ``fence`` is called before each change, and raises if another process leads by now.
    """

    def __init__(
        self,
        forge: Forge,
        base: str,
        is_late: Callable[[str, str], bool | None],
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        self._forge = forge
        self._base = base
        self._is_late = is_late
        self._fence = fence
        self._known: dict[str, Known] = {}

    def look(self, views: Sequence[RequestView], now: datetime) -> Looked:
        """Make the forge show the views. Raises `ForgeError` when it can't be asked; what was done until then stays."""
        looked = Looked()
        if not views:
            self._known.clear()
            return looked
        open_now = self._open_requests()
        denied: ForgeDenied | None = None
        for view in views:
            try:
                looked.standings[view.branch] = self._show(view, open_now.get(view.branch), now)
            except (ForgeRefused, ForgeMissing, ForgeDenied) as err:
                denied = err if isinstance(err, ForgeDenied) else denied
                looked.problems[view.branch] = str(err)
        if denied is not None and not looked.standings:
            raise denied  # the token's rights, rather than one request's rules
        branches = {view.branch for view in views}
        self._known = {branch: known for branch, known in self._known.items() if branch in branches}
        return looked

    def _open_requests(self) -> Mapping[str, PullRequest]:
        """By branch, the oldest of each: a second one somebody opened beside it is theirs."""
        found: dict[str, PullRequest] = {}
        for request in self._forge.open_requests(self._base, PREFIX):
            if request.base == self._base and request.state == "open":
                found.setdefault(request.branch, request)
        return found

    def _show(self, view: RequestView, request: PullRequest | None, now: datetime) -> Standing:
        known = self._known.get(view.branch)
        if request is not None:
            if known is None or known.request is None or known.request.number != request.number:
                known = Known(request, now)
            known.request, known.done = request, False
            self._known[view.branch] = known
            return self._close(view, known) if view.void else self._renew(view, known, now)
        if known is None or not (known.done or (known.request is not None and known.request.state != "open")):
            before = known
            known = Known(self._forge.find(view.branch, self._base), now)
            if before is not None:
                known.edited, known.wrote, known.merging = before.edited, before.wrote, before.merging
            self._known[view.branch] = known
        found = known.request
        if found is not None and found.state == "open":
            # opened between the two questions
            return self._close(view, known) if view.void else self._renew(view, known, now)
        if found is None or self._is_earlier(view, found):
            return self._nothing_there(view, known, now)
        if found.state == "merged":
            return self._merged(view, known, now)
        return self._closed(view, known, now)

    @staticmethod
    def _is_earlier(view: RequestView, found: PullRequest) -> bool:
        """Whether it is the request of an earlier branch of the same name, that was merged and deleted."""
        return found.state == "merged" and bool(view.tip) and found.head != view.tip

    # --- what there is to do, by what the forge shows -----------------------------------------------------------

    def _nothing_there(self, view: RequestView, known: Known, now: datetime) -> Standing:
        if view.void or not view.tip:
            known.done = True
            return Standing(view.branch, 0, "", "none", settled=True)
        self._fence()
        known.request = self._forge.open(view.branch, self._base, title(view), fenced(view))
        known.edited = now
        # one that was open already, or lost its answer, may say something else
        return self._renew(view, known, now)

    def _renew(self, view: RequestView, known: Known, now: datetime) -> Standing:
        request = _request(known)
        if not view.tip:
            return self._without_branch(view, known)
        ours = fenced(view)
        body = merge_body(request.body, ours)
        if ours != known.wrote and not _same(body, request.body):
            stale = read_marker(request.body).closed or _listed(body) != _listed(request.body)
            stale = stale or view.kind == "intent"  # no measurements in there: what is merged has changed
            if stale or known.edited is None or now - known.edited >= RENEW_EVERY:
                self._edit(known, body)
                known.edited, known.wrote = now, ours
        if view.kind == "record":
            self._ask_merge(view, known, now)
        return _standing(view, request, state="open")

    def _ask_merge(self, view: RequestView, known: Known, now: datetime) -> None:
        """It states what has happened: the forge may merge it on its own, this head and no other."""
        asked = known.merging
        if asked.head != view.tip:
            asked = known.merging = MergeAsked(view.tip)
        if asked.granted or (asked.not_before is not None and now < asked.not_before):
            return
        self._fence()
        try:
            self._forge.merge(_request(known).number, view.tip, when_ready=True)
            asked.granted = True
        except (ForgeRefused, ForgeDenied) as err:
            # a person merges it then, who may; rules change, and some forges first have to look for conflicts
            asked.not_before = now + min(MERGE_LEAST * 4**asked.tries, MERGE_MOST)
            asked.tries = min(asked.tries + 1, 8)
            log.info("the forge doesn't merge this by itself", branch=view.branch, error=str(err))

    def _without_branch(self, view: RequestView, known: Known) -> Standing:
        """Somebody deleted the branch, which says: not now. Where the forge doesn't close the request itself, we do."""
        self._fence()
        self._forge.close(_request(known).number)
        known.request = replace(_request(known), state="closed")
        known.done = True
        return _standing(view, _request(known), settled=True)

    def _close(self, view: RequestView, known: Known) -> Standing:
        """Say why, then close: the line that says so is written first, so that nobody takes it for a person's."""
        request = _request(known)
        if not read_marker(request.body).closed:
            self._edit(known, merge_body(request.body, fenced(view, closed=True)))
        self._fence()
        with contextlib.suppress(ForgeRefused, ForgeDenied):  # a locked conversation; the body says it as well
            self._forge.comment(request.number, closing(view))
        self._fence()
        self._forge.close(request.number)
        known.request = replace(_request(known), state="closed")
        known.done = True
        return _standing(view, _request(known), ours=True, settled=True)

    def _merged(self, view: RequestView, known: Known, now: datetime) -> Standing:
        request = _request(known)
        if not view.void:
            return _standing(view, request, who=request.merged_by)
        if view.void not in (PROMOTED, MERGED) and not known.done and not read_marker(request.body).closed:
            late = self._late(view, request)
            known.missed += late is None
            if late is None and (known.missed < _LOST_LOOKS or now - known.seen < LOST_AFTER):
                return _standing(view, request, who=request.merged_by)
            if late is not False:  # what Git doesn't show has no effect either
                self._fence()
                with contextlib.suppress(ForgeRefused, ForgeDenied):
                    self._forge.comment(request.number, too_late(view))
                with contextlib.suppress(ForgeRefused):  # Bitbucket changes no text of what isn't open
                    self._edit(known, merge_body(request.body, fenced(view, closed=True)))
        known.done = True
        return _standing(view, request, who=request.merged_by, settled=True)

    def _late(self, view: RequestView, request: PullRequest) -> bool | None:
        newer = [member.state.attempt.intent for member in view.members if member.state is not None]
        if not request.merge_commit or not newer:
            return bool(newer)
        told = [self._is_late(request.merge_commit, intent) for intent in newer]
        return None if None in told else all(told)

    def _closed(self, view: RequestView, known: Known, now: datetime) -> Standing:
        request = _request(known)
        ours = read_marker(request.body).closed
        if (ours or view.kind == "record") and not view.void and view.tip:
            return self._again(view, known, now)
        known.done = True
        return _standing(
            view, request, ours=ours, settled=bool(view.void) or not view.tip, who=request.closed_by,
            when=format_time(known.seen),
        )  # fmt: skip

    def _again(self, view: RequestView, known: Known, now: datetime) -> Standing:
        """We had closed it, and what it asks for is wanted again; or somebody did, and what it states is still so."""
        self._fence()
        try:
            self._forge.reopen(_request(known).number)
        except ForgeRefused:
            self._fence()
            known.request = self._forge.open(view.branch, self._base, title(view), fenced(view))
        else:
            known.request = replace(_request(known), state="open")
        return self._renew(view, known, now)

    def _edit(self, known: Known, body: str) -> None:
        self._fence()
        self._forge.edit(_request(known).number, body=body)
        known.request = replace(_request(known), body=body)


def _request(known: Known) -> PullRequest:
    if known.request is None:
        raise ValueError("no request is known")
    return known.request


def _standing(
    view: RequestView,
    request: PullRequest,
    *,
    state: str = "",
    ours: bool = False,
    settled: bool = False,
    who: str = "",
    when: str = "",
) -> Standing:
    shown = "open" if state == "open" else request.state
    return Standing(view.branch, request.number, request.url, shown, ours, settled, who, when)


def _same(one: str, other: str) -> bool:
    """Forges trim, and browsers send other line ends."""
    return one.split() == other.split()


def _listed(body: str) -> Iterable[str]:
    """Whom it is for, who of them is struck through, and by which commits: a rolling request takes more."""
    lines = body.splitlines()
    return [line.split("|")[1] for line in lines if line.startswith("| ")] + [
        line for line in lines if line.startswith("- `")
    ]
