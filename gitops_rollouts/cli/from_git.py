"""What the repository says of one Rollout, read as the person who asks: for ``gor why``."""

from __future__ import annotations

from dataclasses import replace

from gitops_rollouts.api.gitsync import GitSync
from gitops_rollouts.api.meta import parse_time
from gitops_rollouts.cli.at_desk import attempt_of, target_spec
from gitops_rollouts.cli.forge_word import engines_text, take_engines_word
from gitops_rollouts.cli.manifests import own_mirror
from gitops_rollouts.cli.narrative import CommitNote, FromGit
from gitops_rollouts.cli.view import Stamp
from gitops_rollouts.decisions.evidence import harmless
from gitops_rollouts.decisions.message import MAX_WHY
from gitops_rollouts.decisions.policy import Policy
from gitops_rollouts.decisions.reading.target import TargetReader
from gitops_rollouts.decisions.state import InGit
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render.renderer import Renderer


def read_from_git(
    sync: GitSync, namespace: str, rollout: str, stamp: Stamp | None, policy: Policy | None = None
) -> FromGit | None:
    """Fetch the branch and read the Rollout; None if the tree doesn't have it. Blocks. Raises `GitError`.

    ``stamp``: what was applied, so that the intent is the one that sync found. ``policy``: who may decide; what a forge
    says of that is taken from the GitSync's status, as the engine found it.
    """
    spec = sync.spec
    key = (namespace, rollout)
    with own_mirror(spec.repo) as mirror:
        head = mirror.fetch(spec.branch)
        reader = TargetReader(mirror, Renderer())
        applied = stamp is not None and stamp.commit and mirror.is_ancestor(stamp.commit, head)
        known = {key: attempt_of(stamp)} if applied and stamp else {}
        previous = stamp.commit if applied and stamp else None
        what = replace(target_spec(sync.metadata.name, spec), policy=policy)
        state = reader.read(what, head, previous, known).rollouts.get(key)
        while state is not None and take_engines_word(reader, what, sync, head, (state,)):
            state = reader.read(what, head, previous, known).rollouts.get(key)
        if state is None:
            return None
        if state.unconfirmed:
            state = replace(state, unconfirmed=engines_text(sync, head, state))
        return FromGit(state, _commits(mirror, reader, state))


def _commits(mirror: Mirror, reader: TargetReader, state: InGit) -> dict[str, CommitNote]:
    paths = tuple(each for each in (state.placement.path, state.placement.overlay) if each)
    wanted = {"intent": state.attempt.intent, "abort": state.abort_commit}
    if state.promote is not None:
        wanted[state.promote.id] = reader.origin(f"id={state.promote.id}", state.head, paths).commit
    if state.record is not None:
        line = f"template={state.record.template} commit={state.record.commit}"
        wanted["stable"] = reader.origin(line, state.head, paths).commit
    return {key: _note(mirror, commit) for key, commit in wanted.items() if commit}


def _note(mirror: Mirror, commit: str) -> CommitNote:
    info = mirror.info(commit)
    try:
        date = parse_time(info.authored)
    except ValueError:
        date = None
    reason = harmless(" ".join(info.trailers("Rollout-Reason")[:1]), MAX_WHY)
    return CommitNote(info.commit, info.author, date, reason)
