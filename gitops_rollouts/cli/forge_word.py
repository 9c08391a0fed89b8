"""What a forge says of merged requests, for those who read a history: asked with a token, or as the engine found it.

An engine that has read the very head with the same policy lists in its GitSync's status what the forge didn't confirm;
what it doesn't list counts there (docs/decisions.md §6 "What a forge merged").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gitops_rollouts.api.names import ARGO_GROUP
from gitops_rollouts.decisions.authority.forge_merges import UNSAID, Word
from gitops_rollouts.errors import ConfigError
from gitops_rollouts.render.objects import Identity

if TYPE_CHECKING:
    from gitops_rollouts.api.gitsync import GitSync, GitSyncForge
    from gitops_rollouts.cli.forge_options import AskForge
    from gitops_rollouts.decisions.authority.asked_at_once import AskedAtOnce
    from gitops_rollouts.decisions.reading.target import TargetReader
    from gitops_rollouts.decisions.state import InGit, TargetSpec


def asked_at_once(given: AskForge, repo: str, said: GitSyncForge | None) -> AskedAtOnce | None:
    """Who asks the forge; None without a token. ``said``: what the GitSync says of it. Raises `ConfigError`."""
    from gitops_rollouts.decisions.authority.asked_at_once import AskedAtOnce
    from gitops_rollouts.forges.pool import MAKERS
    from gitops_rollouts.forges.settings import forge_settings
    from gitops_rollouts.git.address import parse_address

    if given.token is None:
        if given.kind or given.url or given.project:
            raise ConfigError("--forge, --forge-url and --forge-project need --forge-token-file", remedy="name a token")
        return None
    try:
        token = given.token.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{given.token} can't be read", remedy="name a file with the forge's token") from error
    kind = given.kind or (said.kind if said else "")
    url = given.url or (said.url if said else "")
    project = given.project or (said.project if said else "")
    try:
        settings = forge_settings(parse_address(repo, allow_file=True), kind, url, project, token=token)
    except ConfigError as error:
        raise ConfigError(error.message, remedy="see --forge, --forge-url and --forge-project") from error
    return AskedAtOnce(MAKERS[settings.kind](settings))


def take_engines_word(
    reader: TargetReader, spec: TargetSpec, sync: GitSync, head: str, states: Iterable[InGit]
) -> bool:
    """Let count what the engine let count; whether anything is known now that wasn't. Never asks anybody."""
    if not _has_read(sync, head):
        return False
    told = False
    for state in states:
        word = _word(sync, state)
        if state.awaits is not None and word.verdict != "waits":
            reader.guard.tell(state.subject, *state.awaits, word)
            told = True
    if told:
        reader.forget(spec.name)
    return told


def settle(reader: TargetReader, spec: TargetSpec, sync: GitSync, head: str) -> None:
    """Take the engine's word for all that takes effect at a head."""
    while take_engines_word(reader, spec, sync, head, reader.read(spec, head).rollouts.values()):
        pass  # a promotion that waits shows only once the abort's end doesn't


def engines_text(sync: GitSync, head: str, state: InGit) -> str:
    """What a Rollout waits for as the engine says it, where it has read that head; else as the reader does."""
    word = _word(sync, state) if _has_read(sync, head) else None
    return word.why if word is not None and word.verdict == "waits" else state.unconfirmed


def _has_read(sync: GitSync, head: str) -> bool:
    """Whether the status tells all that an engine found at this very head, under this very spec."""
    status = sync.status
    conditions = [status.condition(kind) for kind in ("Fetched", "Rendered", "Applied")]
    return (
        not sync.spec.suspend
        and status.observed_generation == sync.metadata.generation
        and status.last_fetched_commit == head
        and status.problem_count <= len(status.problems)
        and all(one is not None and one.status == "True" for one in conditions)
    )


def _word(sync: GitSync, state: InGit) -> Word:
    key, commit = state.awaits or ("", "")
    named = f"commit {commit[:7]} "
    for field, text in _problems(sync, state):
        if not text.startswith(named):
            continue
        if UNSAID in text:
            return Word("waits", text)
        if field == f"metadata.annotations[{key}]":
            return Word("no", f"GitSync {sync.metadata.name}: {text}")
        if not field:
            return Word("waits", text)
    return Word("yes", f"approved on the forge, as the engine of GitSync {sync.metadata.name} found")


def _problems(sync: GitSync, state: InGit) -> list[tuple[str, str]]:
    """Of one Rollout: the field, and the message without whose it is."""
    prefix = f"{Identity(ARGO_GROUP, 'Rollout', state.namespace, state.name)}: "
    return [
        (one.field, one.message.removeprefix(prefix)) for one in sync.status.problems if one.message.startswith(prefix)
    ]
