"""``gor log``: what was decided, by whom, when, why and on what evidence, from Git alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gitops_rollouts.cli.histories import Asked, add_command
from gitops_rollouts.cli.options import Output
from gitops_rollouts.cli.output import Format

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from gitops_rollouts.decisions.history.decided import Decision

_PANEL = "Which decisions"
_ENGINE_ACTORS = ("engine", "request")


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, "log", log, panel="Look")


def log(
    asked: Asked,
    *,
    verb: Annotated[
        list[str] | None,
        typer.Option("--verb", help="promote, abort, retry, withdraw, promoted, … Repeatable.", rich_help_panel=_PANEL),
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="A part of the name of who decided.", rich_help_panel=_PANEL)
    ] = None,
    image: Annotated[str | None, typer.Option("--image", help="A part of the image.", rich_help_panel=_PANEL)] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", help="Not older than this, e.g. 24h.", metavar="DURATION", rich_help_panel=_PANEL),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-l", help="So many, the newest; 0: all.", min=0, rich_help_panel=_PANEL)
    ] = 50,
    output: Output = Format.TABLE,
) -> None:
    """List the decisions in Git, newest first: who, what, when, why.

    \b
      gor log web                          of one Rollout
      gor log                              of every GitSync of the cluster
      gor log --target prod --verb abort   the aborts of one GitSync
      gor log --repo . --target prod --path envs/prod -o json

    \b
    Dates and names are those of the commits; `gor verify` says who signed.
    """
    from datetime import UTC, datetime

    from gitops_rollouts.cli.histories import fetched, in_clone, in_cluster
    from gitops_rollouts.cli.output import is_data, print_data, say
    from gitops_rollouts.decisions.history.decided import decided

    wanted = _filter(verb, by, image, since, datetime.now(UTC))
    places = [in_clone(asked)] if asked.repo is not None else in_cluster(asked, all_of_them=True)
    found: list[Decision] = []
    for place in places:
        with fetched(place) as (reader, head):
            found += decided(reader.mirror, reader.guard.history, reader.contents, place.spec, head, place.key)
    if len(places) > 1:
        found.sort(key=lambda each: _moment(each) or datetime.min.replace(tzinfo=UTC), reverse=True)
    kept = [each for each in found if wanted(each)]
    shown = kept[:limit] if limit else kept
    if is_data(output):
        print_data([_as_data(each) for each in shown], output)
        return
    _print(shown, wide=output is Format.WIDE)
    if len(shown) < len(kept):
        say(f"{len(kept) - len(shown)} older ones: --limit 0 shows all.", stderr=True)
    elif not shown:
        say("No decisions in Git." if not found else f"None of {len(found)} decisions is like that.", stderr=True)


def _filter(
    verbs: Sequence[str] | None, by: str | None, image: str | None, since: str | None, now: datetime
) -> Callable[[Decision], bool]:
    from datetime import timedelta

    from gitops_rollouts.cli.durations import seconds_of
    from gitops_rollouts.decisions.history.decided import VERBS
    from gitops_rollouts.errors import ConfigError

    unknown = sorted(set(verbs or ()) - set(VERBS))
    if unknown:
        raise ConfigError(f"--verb can't be {unknown[0]!r}", remedy=f"it is one of {', '.join(VERBS)}")
    start = now - timedelta(seconds=seconds_of(since, "--since")) if since is not None else None

    def wanted(each: Decision) -> bool:
        if verbs and each.verb not in verbs:
            return False
        if start is not None and ((moment := _moment(each)) is None or moment < start):
            return False
        if image is not None and image not in (each.told.image if each.told else ""):
            return False
        return by is None or by.lower() in _who(each).lower()

    return wanted


def _moment(each: Decision) -> datetime | None:
    from gitops_rollouts.api.meta import parse_time

    try:
        return parse_time(each.at)
    except ValueError:
        return None


def _who(each: Decision) -> str:
    """The commit's author, and whom its trailers name besides: of an abort that somebody sent to the cluster."""
    actor = each.told.actor if each.told else ""
    return each.by if actor in ("", *_ENGINE_ACTORS, each.by) else f"{each.by} ({actor})"


def _print(shown: list[Decision], *, wide: bool) -> None:
    from gitops_rollouts.cli.output import print_table

    columns = ("WHEN", "ROLLOUT", "DECISION", "VERSION", "BY", "COMMIT", "WHY")
    rows = [(*_row(each), *(_more(each) if wide else ())) for each in shown]
    print_table((*columns, "ID", "INTENT", "EVIDENCE") if wide else columns, rows)


def _row(each: Decision) -> tuple[str, ...]:
    from gitops_rollouts.decisions.message import short_image

    moment = _moment(each)
    when = moment.strftime("%Y-%m-%d %H:%M:%SZ") if moment else "-"
    what = f"{each.verb} {each.where}" if each.where else each.verb
    image = each.told.image if each.told else ""
    version = short_image(image, each.template) if image or each.template else "-"
    return when, each.rollout, what, version, _who(each), each.commit[:12], _why(each)


def _why(each: Decision) -> str:
    """In a few words: the reason that was given, how long it took, or else what the commit says."""
    from gitops_rollouts.api.durations import short_duration
    from gitops_rollouts.decisions.message import safe_text

    if each.told is not None and each.told.reason:
        return safe_text(each.told.reason, 120)
    if each.took is not None:
        return f"after {short_duration(each.took)}"
    evidence = "; ".join(each.told.evidence) if each.told else ""
    return safe_text(evidence or each.subject, 120)


def _more(each: Decision) -> tuple[str, str, str]:
    from gitops_rollouts.decisions.message import safe_text

    told = each.told
    intent = told.intent[:12] if told else ""
    return each.id or "-", intent or "-", safe_text("; ".join(told.evidence), 400) if told and told.evidence else "-"


def _as_data(each: Decision) -> dict[str, object]:
    told = each.told
    data: dict[str, object] = {
        "decision": each.verb,
        "rollout": each.rollout,
        "where": each.where,
        "id": each.id,
        "template": each.template,
        "commit": each.commit,
        "subject": each.subject,
        "by": each.by,
        "at": each.at,
    }
    if told is not None:
        data |= {
            "toldBy": each.told_by,
            "actor": told.actor,
            "image": told.image,
            "intent": told.intent,
            "reason": told.reason,
            "evidence": list(told.evidence),
            "engine": told.engine,
        }
    if each.took is not None:
        data["seconds"] = int(each.took.total_seconds())
    return {key: value for key, value in data.items() if value not in ("", [])}
