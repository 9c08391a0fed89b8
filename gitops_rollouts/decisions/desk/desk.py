"""Where a person's decisions become commits: written as them, into the branch that a GitSync reads.

Nothing is checked out. The branch is fetched into a mirror of the person's own, the change is planned on its tip,
looked at once more as a GitSync would, and pushed only if the branch hasn't moved; if it has, all is planned anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from gitops_rollouts.decisions.desk import setting, undoing, verbs
from gitops_rollouts.decisions.desk.verbs import Nothing, Outcome, Plan, View
from gitops_rollouts.decisions.editing.field_edit import Scalar
from gitops_rollouts.decisions.gates import Gate
from gitops_rollouts.decisions.policy import Policy
from gitops_rollouts.decisions.reading.target import TargetReader
from gitops_rollouts.decisions.state import Attempt, InGit, Key, TargetAt, TargetSpec
from gitops_rollouts.errors import DecisionError, GitError, GitUnreachable, PushRaced, PushRefused
from gitops_rollouts.git.history import CommitInfo
from gitops_rollouts.git.person import Person, person_at
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.git.signatures import UNSIGNED
from gitops_rollouts.render.renderer import Renderer

TRIES: Final = 40
"""So often the branch may move under one decision."""
_SPEC: Final = "spec."


@dataclass(frozen=True, slots=True)
class Synced:
    """What the cluster runs, as the stamps of its Rollouts tell: attempts are carried on from there.

    A decision about a Rollout named here is refused if Git holds a newer attempt than the one that runs.
    """

    commit: str
    attempts: Mapping[Key, Attempt] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """What a verb came to. ``diff`` and ``subject`` are those of the commit, empty if there is none to make."""

    verb: str
    rollout: str
    """``<target>/<namespace>/<name>``."""
    branch: str
    outcome: Literal["pushed", "planned", "nothing"]
    """``planned``: a dry run. ``nothing``: Git says so already."""
    next: str
    """A sentence: what happens now, or why there is nothing to do."""
    notes: tuple[str, ...] = ()
    commit: str = ""
    warning: str = ""
    """Why the commit counts for nothing, where the GitSync says who may decide (docs/decisions.md §6)."""
    paths: tuple[str, ...] = ()
    diff: str = ""
    subject: str = ""


@contextmanager
def open_desk(
    url: str,
    spec: TargetSpec,
    *,
    cache: Path,
    synced: Synced | None = None,
    others: Sequence[TargetSpec] = (),
    policy: Policy | None = None,
    cwd: Path | None = None,
    process: Mapping[str, str] | None = None,
) -> Iterator[Desk]:
    """A desk for one GitSync's part of a repository.

    ``cache``: the person's cache folder. ``others``: the other GitSyncs of this repository and branch. ``policy``: who
    may decide, to warn those who may not. ``cwd``,
    ``process``: where the person stands, and their environment. Raises GitError if git doesn't know who they are.
    """
    person = person_at(cwd or Path.cwd(), process)
    folder = cache / "desk"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a mirror has one user at a time; ends with the file
        mirror = Mirror(folder / f"{name}.git", url, allow_file=True, environment=person.environment)
        try:
            yield Desk(mirror, spec, person, synced=synced, others=others, policy=policy)
        finally:
            mirror.close()


class Desk:
    """Writes one target's decisions as a person. Blocks; for one thread. ``dry_run`` shows and pushes nothing.

    All verbs raise DecisionError where the tree doesn't allow it, PushRefused (with the diff) where the server
    doesn't, and GitError for what else git can't do.
    """

    def __init__(
        self,
        mirror: Mirror,
        spec: TargetSpec,
        person: Person,
        *,
        synced: Synced | None = None,
        others: Sequence[TargetSpec] = (),
        policy: Policy | None = None,
    ) -> None:
        self._policy = policy
        self.mirror = mirror
        self.spec = spec
        self.reader = TargetReader(mirror, Renderer(), lambda: others)
        self._person = person
        self._synced = synced
        self._first: str | None = None

    @property
    def who(self) -> str:
        """The name that commits will carry."""
        return self._person.author.name

    def read(self) -> TargetAt:
        """Fetch, and read the target at the branch's tip."""
        head = self.mirror.fetch(self.spec.branch)
        since, known = self._first, {}
        if self._synced is not None and self.mirror.is_ancestor(self._synced.commit, head):
            since, known = self._synced.commit, dict(self._synced.attempts)
        self._first = self._first or head
        return self.reader.read(self.spec, head, since, known)

    def state(self, key: Key) -> InGit:
        """Fetch, and tell what Git says of a Rollout. Raises DecisionError if it isn't there or can't be read."""
        return self._view(key).state

    def note(self, commit: str) -> CommitInfo:
        """Who made a commit, and what they said."""
        return self.mirror.info(commit)

    def promote(
        self, key: Key, *, gate: Gate | None = None, full: bool = False, reason: str = "", dry_run: bool = False
    ) -> Done:
        """Approve all gates up to ``gate`` (None: the next that isn't approved), or ``full``: all that is left."""

        def plan(view: View) -> Outcome:
            nonlocal gate
            self._is_synced(view)
            if gate is None and not full:
                gate = verbs.next_gate(view)  # once: after a lost race the next one may be another
            return verbs.promote(view, gate=gate, full=full, reason=reason)

        return self._write("promote", key, plan, pinned=True, dry_run=dry_run)

    def abort(
        self,
        key: Key,
        *,
        now: datetime,
        at: int | None = None,
        aborted_at: datetime | None = None,
        reason: str = "",
        dry_run: bool = False,
    ) -> Done:
        """Say that the version in Git must not serve. ``at``: its step.

        ``aborted_at``: since when the cluster says so, None if it doesn't; then ``now`` tells this abort from others.
        """
        cause = verbs.requested(now, aborted_at)

        def plan(view: View) -> Outcome:
            self._is_synced(view)
            return verbs.abort(view, at=at, cause=cause, reason=reason)

        return self._write("abort", key, plan, pinned=True, dry_run=dry_run)

    def retry(self, key: Key, *, reason: str = "", dry_run: bool = False) -> Done:
        """Take an abort away, and the approvals with it."""
        return self._write("retry", key, lambda view: verbs.retry(view, reason=reason), pinned=True, dry_run=dry_run)

    def withdraw(self, key: Key, *, reason: str = "", dry_run: bool = False) -> Done:
        """Take the approvals away."""
        return self._write("withdraw", key, lambda view: verbs.withdraw(view, reason=reason), dry_run=dry_run)

    def undo(self, key: Key, commit: str | None = None, *, reason: str = "", dry_run: bool = False) -> Done:
        """Take a commit back: the start of its id, or None for the one that brought the present version."""

        def plan(view: View) -> Outcome:
            return undoing.undo(view, commit, reason=reason)

        return self._write("undo", key, plan, pinned=commit is None, dry_run=dry_run)

    def set_image(self, key: Key, images: Mapping[str, str], *, reason: str = "", dry_run: bool = False) -> Done:
        """Give containers other images, by name, ``*`` meaning all. Raises ConfigError for one that isn't there."""
        return self._write(
            "set-image", key, lambda view: setting.set_image(view, images, reason=reason), dry_run=dry_run
        )

    def set_field(self, key: Key, path: str, value: Scalar | None, *, reason: str = "", dry_run: bool = False) -> Done:
        """Set ``spec.paused`` or ``spec.restartAt``; None takes the line out."""
        name = path.removeprefix(_SPEC)

        def plan(view: View) -> Outcome:
            return setting.set_spec(view, name, value, reason=reason)

        return self._write(f"set {_SPEC}{name}", key, plan, dry_run=dry_run)

    # --- inside ------------------------------------------------------------------------------------------------

    def _view(self, key: Key) -> View:
        return View(self.mirror, self.spec, self.read(), key, self.who)

    def _is_synced(self, view: View) -> None:
        """Refuse to decide on a version that doesn't run yet: the gate that somebody saw is another one's."""
        running = self._synced.attempts.get(view.key) if self._synced else None
        state = view.state
        if running is None or running.content == state.attempt.content:
            return
        message = f"Git holds another version of {state.subject} ({view.version}) than the cluster runs"
        raise DecisionError(message, remedy="wait until it is synced, look again, and then decide")

    def _write(
        self, verb: str, key: Key, plan: Callable[[View], Outcome], *, pinned: bool = False, dry_run: bool
    ) -> Done:
        """Plan, look, commit, push; and again on the new tip as long as somebody else was faster."""
        first: Attempt | None = None
        for attempt in range(TRIES):
            if attempt:
                time.sleep(random.uniform(0.0, min(1.0, 0.05 * 2**attempt)))  # noqa: S311  (jitter)
            view = self._view(key)
            if pinned:
                first = first or view.state.attempt
                _same_attempt(view, first)
            outcome = plan(view)
            if isinstance(outcome, Nothing):
                return Done(verb, view.label, self.spec.branch, "nothing", outcome.why)
            draft, message, done = self._draft(verb, view, outcome)
            if dry_run:
                return replace(done, warning=self._foreseen(verb, draft, view.at.commit, message))
            commit = self.mirror.commit_again(draft, view.at.commit, message)
            try:
                self._push(commit, view.at.commit, done)
            except PushRaced:
                continue
            return replace(done, outcome="pushed", commit=commit, warning=self._warning(verb, commit))
        message = f"{self.spec.branch} moved {TRIES} times while this was written"
        raise PushRaced(message, remedy="nothing was written; try again")

    def _foreseen(self, verb: str, draft: str, head: str, message: str) -> str:
        """The warning of a dry run: it is signed as it would be, so that the same is found."""
        if self._policy is None or not self._policy.without_effect(verb, UNSIGNED):
            return ""
        try:
            return self._warning(verb, self.mirror.commit_again(draft, head, message), pushed=False)
        except GitError as err:
            return f"Whether it would count can't be told: {err}"

    def _warning(self, verb: str, commit: str, *, pushed: bool = True) -> str:
        if self._policy is None:
            return ""
        try:
            signature = self.reader.guard.signature(commit, self._policy)
            return self._policy.without_effect(verb, signature, pushed=pushed)
        except GitError as err:
            return f"Whether it counts can't be told: {err}"

    def _draft(self, verb: str, view: View, plans: tuple[Plan, ...]) -> tuple[str, str, Done]:
        """The first plan that does what was meant: a commit that only this mirror has, the message, what to tell."""
        head = view.at.commit
        for number, plan in enumerate(plans, 1):
            draft = plan.draft or self.mirror.commit(head, plan.edits, plan.message, undoing.DRAFT_AUTHOR)
            try:
                sentence, *notes = plan.finish(self.reader.read(self.spec, draft, head))
            except DecisionError:
                if number == len(plans):
                    raise
                continue
            done = Done(
                verb=verb,
                rollout=view.label,
                branch=self.spec.branch,
                outcome="planned",
                next=sentence,
                notes=tuple(notes),
                paths=self.mirror.changed(head, draft),
                diff=self.mirror.difference(head, draft),
                subject=plan.message.partition("\n")[0],
            )
            return draft, plan.message, done
        raise DecisionError(f"there is no way to {verb} {view.label}")

    def _push(self, commit: str, head: str, done: Done) -> None:
        branch = self.spec.branch
        try:
            self.mirror.push(commit, branch, head)
        except PushRefused as err:
            remedy = f"propose this change to {branch} by a pull request; the engine obeys it once it is merged"
            raise PushRefused(err.message, remedy=err.remedy or remedy, diff=done.diff) from err
        except GitUnreachable as err:
            if self._arrived(commit):
                return
            remedy = f"the answer was lost: look whether {branch} holds {commit[:7]} before you try again"
            raise GitUnreachable(err.message, remedy=remedy) from err

    def _arrived(self, commit: str) -> bool:
        try:
            return self.mirror.is_ancestor(commit, self.mirror.fetch(self.spec.branch))
        except GitError:
            return False


def _same_attempt(view: View, first: Attempt) -> None:
    if view.state.attempt != first:
        message = f"{view.label} got another version while this was written: {view.version}"
        raise DecisionError(message, remedy="nothing was written; look again, and then decide")
