"""One Rollout in words: what Git wants, what serves, which decision made it so, what happens next.

Pure: from what `view.gather` read and, where Git could be read too, from what the tree says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from gitops_rollouts.api import names
from gitops_rollouts.api.durations import short_duration
from gitops_rollouts.api.phase import is_observed, turn_of
from gitops_rollouts.cli.output import age
from gitops_rollouts.cli.run_narrative import is_judged, measured
from gitops_rollouts.cli.sync_narrative import asked_of_the_cluster, sync_trouble
from gitops_rollouts.cli.traffic_view import former_share, plugin_of_step, plugin_text
from gitops_rollouts.cli.view import RolloutView, images
from gitops_rollouts.decisions.gates import PROMOTION_PAUSE
from gitops_rollouts.decisions.grammar import ACTIVE, FULL, Abort, Malformed, Promote, Stable, parse_line
from gitops_rollouts.decisions.identity import BLUE_GREEN, INTENT_LENGTH
from gitops_rollouts.decisions.requests.names import Group
from gitops_rollouts.decisions.state import InGit


@dataclass(frozen=True, slots=True)
class CommitNote:
    """A commit as people name it."""

    sha: str
    author: str
    date: datetime | None
    """As its author says; None: unreadable."""
    reason: str = ""
    """Why, as a decision's commit says; "": it doesn't."""


@dataclass(frozen=True, slots=True)
class FromGit:
    """What reading the repository adds: the tree's view, and the commits that its lines come from.

    ``commits`` maps a decision's id, ``abort``, ``intent`` or ``stable`` to the commit.
    """

    state: InGit
    commits: Mapping[str, CommitNote]


def explain(seen: RolloutView, git: FromGit | None, now: datetime) -> str:
    """The paragraph, then one line for each decision line that has no effect, and why."""
    sentences = [
        *_wants(seen, git, now),
        *_serves(seen),
        *_kept(seen, now),
        *_decision(seen, git, now),
        *measured(seen, now),
        *asked_of_the_cluster(seen, git.state if git else None),
        *_trouble(seen, git, now),
        *_next(seen, git, now),
    ]
    ignored = [
        f"Ignored: {each.key.removeprefix(names.OWN_PREFIX)} ({each.value}): {each.reason}."
        for each in (git.state.ignored if git else ())
        if not (git and git.state.unconfirmed and each.unauthorised)
    ]
    return "\n".join([" ".join(sentences), *ignored])


def version(image_list: tuple[str, ...]) -> str:
    """A version as people say it: the last part of each image's name, with its tag."""
    return ", ".join(each.rsplit("/", 1)[-1] for each in image_list) or "an unnamed image"


def _wanted(seen: RolloutView) -> str:
    return version(images(seen.rollout.spec.template or {}))


def _runs(seen: RolloutView, *roles: str) -> str:
    """The version of the ReplicaSet in the first of these roles: not what is wanted while that can't be used."""
    found = next((found for role in roles if (found := seen.images_of(role))), None)
    return _wanted(seen) if found is None else version(found)


def _note(commit: CommitNote | None, sha: str, now: datetime) -> str:
    if commit is None:
        return sha[:7] or "an unknown commit"
    ago = f", {age(commit.date, now)} ago" if commit.date else ""
    return f"{commit.sha[:7]} by {commit.author}{ago}"


def _by(commit: CommitNote | None, sha: str, now: datetime) -> str:
    """Who did it, where: ``by Alice in 021fddb, 30m ago``."""
    if commit is None:
        return f"in {sha[:7]}"
    ago = f", {age(commit.date, now)} ago" if commit.date else ""
    return f"by {commit.author} in {commit.sha[:7]}{ago}"


def _command(seen: RolloutView, verb: str, *options: str) -> str:
    """A command that works when it is pasted, whatever the current namespace."""
    return f"`{' '.join(('gor', verb, seen.name, '-n', seen.namespace, *options))}`"


def _wants(seen: RolloutView, git: FromGit | None, now: datetime) -> Iterator[str]:
    stamp = seen.stamp
    if stamp is None:
        subject = f"{seen.namespace}/{seen.name}"
        yield f"No GitSync applies {subject}: the cluster itself says what is wanted, {_wanted(seen)}."
        return
    where = f"GitSync {stamp.target}"
    if seen.gitsync is not None:
        spec = seen.gitsync.spec
        where += f", branch {spec.branch}, {spec.path or 'the root'} of {spec.repo}"
    since = _note(git.commits.get("intent") if git else None, stamp.intent, now)
    yield f"Git wants {_wanted(seen)} since {since} ({where}; commit {stamp.commit[:7]} is applied)."


def _serves(seen: RolloutView) -> Iterator[str]:
    status, wanted = seen.rollout.status, seen.rollout.spec.desired_replicas
    available = f"{status.available_replicas} of {wanted} pods available"
    former = former_share(seen.rollout)
    if not status.stable_rs:
        yield f"It is the first deployment: {available}."
    elif former is not None:
        before = version(next((each.images for each in seen.replica_sets if each.hash == former[0]), ()))
        stable, share = _runs(seen, "stable"), former[1]
        yield f"{stable} has {100 - share}% of the traffic and {before}, from before, {share}%; {available}."
    elif status.stable_rs == status.current_pod_hash:
        yield f"{_runs(seen, 'stable', 'active')} serves everything, {available}."
    elif seen.strategy == "blueGreen":
        yield from _serves_blue_green(seen, available)
    else:
        stable, share = version(seen.images_of("stable") or seen.images_of("active")), seen.actual_weight
        old, new = seen.replica_set_of("stable"), seen.replica_set_of("canary")
        if not share:
            yield f"{stable} serves everything, {available}."
        elif status.canary.weights is not None or old is None or new is None:
            of_what = "of the traffic" if status.canary.weights is not None else "of the pods"
            yield f"{stable} has {100 - share}% {of_what} and {_runs(seen, 'canary')} {share}%; {available}."
        else:
            yield (
                f"{stable} has {old.available} of {old.size} pods available,"
                f" {_wanted(seen)} {new.available} of {new.size}."
            )


def _kept(seen: RolloutView, now: datetime) -> Iterator[str]:
    """Weights that no router has confirmed, or that one couldn't be told, and old versions that stay up for a while."""
    weights = seen.rollout.status.canary.weights
    if weights is not None and weights.verified is False:
        yield "The router hasn't confirmed these weights yet."
    failed = seen.rollout.status.routing_error
    if failed and failed not in seen.message:
        yield f"Traffic routing failed, so that may not be so any more; it is tried again: {failed.rstrip('.')}."
    for each in seen.replica_sets:
        if each.size and each.deadline is not None and each.deadline > now:
            yield f"{version(each.images)} stays up for another {short_duration(each.deadline - now)}."


def _serves_blue_green(seen: RolloutView, available: str) -> Iterator[str]:
    active, preview = seen.replica_set_of("active"), seen.replica_set_of("preview")
    if seen.switched:
        yield f"{_wanted(seen)} is the active version, {available}; the version before is kept until it is proven."
        return
    yield f"{version(active.images) if active else 'No version'} is active and serves everything, {available}."
    if preview is not None and preview.hash == seen.rollout.status.current_pod_hash:
        yield f"{_wanted(seen)} is the preview, {preview.available} of {preview.size} pods available."


def _decision(seen: RolloutView, git: FromGit | None, now: datetime) -> Iterator[str]:
    abort, promote, record = _lines(seen, git)
    status = seen.rollout.status
    if abort is not None:
        commit = git.commits.get("abort") if git else None
        at = " (the line can't be read, which counts as an abort)"
        if isinstance(abort, Abort):
            at = "" if abort.steps == BLUE_GREEN else f" at step {abort.at}"
        sha = git.state.abort_commit if git else ""
        by = _by(commit, sha, now) if commit or sha else "by a line in Git"
        yield f"{_wanted(seen)} was aborted{at} {by}."
    elif status.abort:
        since = f" {age(status.aborted_at, now)} ago" if status.aborted_at else ""
        tail = "; the commit that says so is still to come" if seen.stamp else ""
        yield f"The update was aborted{since}{tail}."
    elif promote is not None:
        commit = git.commits.get(promote.id) if git else None
        what = _approved(seen, promote)
        yield f"{what} {_by(commit, '', now)}." if commit else f"{what} by {promote.id}."
    if record is not None and git is not None and git.state.recorded:
        commit = git.commits.get("stable")
        noted = f" ({_note(commit, '', now)})" if commit else ""
        yield f"Git records {_wanted(seen)} as stable{noted}."


def _approved(seen: RolloutView, line: Promote) -> str:
    if line.gate == ACTIVE:
        return f"{_wanted(seen)} was approved to become active"
    if line.gate == FULL:
        return "All that is left was approved" if line.steps == BLUE_GREEN else "All steps were approved"
    return f"Every gate up to {line.gate} was approved"


def _lines(seen: RolloutView, git: FromGit | None) -> tuple[Abort | Malformed | None, Promote | None, Stable | None]:
    """The lines in force; without Git at hand, as the live object shows them."""
    if git is not None:
        return git.state.abort, git.state.promote, git.state.record
    found = {key: parse_line(key, value) for key, value in seen.lines.items()}
    abort, promote, record = (found.get(key) for key in (names.ABORT, names.PROMOTE, names.STABLE))
    return (
        abort if isinstance(abort, Abort | Malformed) and seen.in_force(names.ABORT) else None,
        promote if isinstance(promote, Promote) and seen.in_force(names.PROMOTE) else None,
        record if isinstance(record, Stable) else None,
    )


def _trouble(seen: RolloutView, git: FromGit | None, now: datetime) -> Iterator[str]:
    if seen.stamp is None:
        return
    current = seen.rollout.status.current_pod_hash
    if seen.stamp.hash and current and seen.stamp.hash != current and _taken_up(seen):
        yield "The live template isn't the one that sync applied (edited outside Git): it holds until sync heals it."
    if git is not None and git.state.unconfirmed:
        waits = git.state.unconfirmed
        yield f"{waits[0].upper()}{waits[1:].rstrip('.')}; until the forge has said so nothing of it moves."
    if seen.gitsync is not None:
        yield from sync_trouble(seen.gitsync, now)


def _taken_up(seen: RolloutView) -> bool:
    """The status is of this spec; one that is invalid, or that no pass has seen yet, leaves that of the one before."""
    rollout = seen.rollout
    seen_by_pass = is_observed(rollout.status.observed_generation, rollout.metadata.generation)
    return seen_by_pass and rollout.status.condition("InvalidSpec") is None


def _next(seen: RolloutView, git: FromGit | None, now: datetime) -> Iterator[str]:
    if seen.phase == "Healthy":
        waiting = seen.stamp is not None and git is not None and not git.state.recorded
        record = "Its record in Git is still to come; then" if waiting else "Nothing is waiting:"
        start = "push starts the next rollout" if seen.stamp else "change of its template starts the next rollout"
        yield f"{record} the next {start}."
    elif seen.phase == "Paused":
        yield from _next_of_paused(seen, now)
    elif seen.phase == "Degraded":
        yield from _next_of_degraded(seen, git)
    else:
        why = _awaited(seen) or seen.message
        yield f"{_progress(seen)}: {why}." if why else f"{_progress(seen)}."
        said = plugin_of_step(seen.rollout)
        if said is not None:
            yield f"Plugin {plugin_text(said).rstrip('.')}."


def _progress(seen: RolloutView) -> str:
    done, count = seen.steps_done, len(seen.rollout.spec.steps)
    if not count:
        return "It goes on by itself"
    if done == count:
        return "All steps are done"
    return f"{done} of {count} steps {'is' if done == 1 else 'are'} done" if done else "No step is done yet"


def _awaited(seen: RolloutView) -> str:
    """What a step waits for that has nothing to do with pods; "" if the phase's message says it."""
    steps, index = seen.rollout.spec.steps, seen.steps_done
    if index >= len(steps) or seen.rollout.status.current_step_index is None:
        return ""
    if steps[index].analysis is not None:
        return f"step {index} waits for its analysis"
    return f"step {index} waits for its experiment" if steps[index].experiment is not None else ""


def _next_of_paused(seen: RolloutView, now: datetime) -> Iterator[str]:
    status, steps = seen.rollout.status, seen.rollout.spec.steps
    if seen.rollout.spec.paused:
        yield f"It is paused by spec.paused: {_command(seen, 'resume')} lets it go on."
        return
    turn = turn_of(status)
    if turn:
        yield f"{turn}; {_command(seen, 'promote', '--full')} skips that, and all its steps."
        return
    index = status.current_step_index
    stable = version(seen.images_of("stable") or seen.images_of("active"))
    back = f"{_command(seen, 'abort')} goes back to {stable}"
    if seen.strategy == "blueGreen" and any(each.reason == PROMOTION_PAUSE for each in status.pause_conditions):
        yield _next_of_preview(seen, stable, now)
    elif seen.gate is not None:
        yield f"It waits at gate {seen.gate}: {_way_through(seen)}; {back}."
    elif index is not None and 0 <= index < len(steps) and steps[index].pause is not None:
        on = (
            f"{_command(seen, 'promote', '--full')} skips all that is left"
            if seen.stamp
            else f"{_command(seen, 'promote')} does so now"
        )
        yield f"{_pause_end(seen, index, now)}; {on}, {back}."
    else:
        yield f"It waits for a person ({seen.message}): {_command(seen, 'promote')} goes on, {back}."


def _next_of_preview(seen: RolloutView, stable: str, now: datetime) -> str:
    """What ends blue-green's pause before the switch."""
    stay = f"{_command(seen, 'abort')} stays with {stable}"
    if seen.gate is not None:
        return f"It waits for somebody to approve {_wanted(seen)}: {_way_through(seen)}; {stay}."
    blue_green = seen.rollout.spec.strategy.blue_green
    seconds = blue_green.auto_promotion_seconds if blue_green is not None else 0
    start = next((each.start_time for each in seen.rollout.status.pause_conditions), None)
    left = _left(start, seconds, now)
    in_time = f" in {left}" if left else ""
    at_once = _command(seen, "promote", *(("--full",) if seen.stamp else ()))
    return f"{_wanted(seen)} becomes active by itself{in_time}; {at_once} does so now, {stay}."


def _way_through(seen: RolloutView) -> str:
    command = _command(seen, "promote")
    gate, stamp, sync = seen.gate, seen.stamp, seen.gitsync
    if gate is None or stamp is None or sync is None or sync.spec.gates != "request":
        return f"{command} lets it go on"
    request = seen.request
    hold = next(
        (
            hold
            for hold in sync.status.holds
            if (hold.namespace, hold.name, hold.gate) == (seen.namespace, seen.name, str(gate))
        ),
        None,
    )
    if hold is not None:
        url = f" {request.url}" if request is not None and request.url else ""
        by = f" by {hold.by}" if hold.by else ""
        return f"its request{url} was closed{by}, so it holds until {'that is reopened, or ' if url else ''}{command}"
    if request is not None:
        branch = request.url or request.branch
    else:
        branch = Group(stamp.target, stamp.intent[:INTENT_LENGTH], gate).branch()
    return f"merging {branch} or {command} lets it go on"


def _pause_end(seen: RolloutView, index: int, now: datetime) -> str:
    pause = seen.rollout.spec.steps[index].pause
    start = next((each.start_time for each in seen.rollout.status.pause_conditions), None)
    try:
        seconds = pause.seconds() if pause is not None else None
    except ValueError:
        seconds = None
    left = _left(start, seconds, now)
    if not left:
        return f"It is paused at step {index}, then goes on by itself"
    return f"The pause of step {index} ends in {left}, then it goes on by itself"


def _left(start: datetime | None, seconds: int | None, now: datetime) -> str:
    """How long a pause still lasts; "" if what is stored doesn't tell."""
    if start is None or seconds is None:
        return ""
    try:
        return short_duration(start + timedelta(seconds=seconds) - now)
    except OverflowError:
        return ""


def _next_of_degraded(seen: RolloutView, git: FromGit | None) -> Iterator[str]:
    conditions = {each.reason for each in seen.rollout.status.conditions}
    if seen.message.startswith("InvalidSpec"):
        place = "in Git" if seen.stamp else "in the cluster"
        yield f"Its spec can't be used; correct it {place}: {seen.message.removeprefix('InvalidSpec: ').rstrip('.')}."
    elif "RolloutAborted" in conditions or seen.rollout.status.abort:
        revert = f" or `git revert {git.state.abort_commit[:7]}`" if git and git.state.abort_commit else ""
        again = f"{_command(seen, 'retry')}{revert} tries this one again"
        what = "pushed" if seen.stamp else "applied"
        cause = seen.message.removeprefix("RolloutAborted: ").partition(": ")[2].rstrip(".")
        if not cause or (seen.stamp and cause.startswith("aborted ")):
            # the cluster knows of an abort from Git only who did it, which was told above; why is in its commit
            commit = git.commits.get("abort") if git else None
            cause = commit.reason.rstrip(".") if commit else ""
        said = f"The reason: {cause}. " if cause and not is_judged(seen) else ""
        yield f"{said}It stays so until another version is {what}; {again}."
    else:
        ways = f"It goes on by itself once the new pods are available; {_command(seen, 'abort')} goes back."
        yield f"{seen.message.rstrip('.')}. {ways}"
