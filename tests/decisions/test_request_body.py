"""What a pull request says (docs/decisions.md §6, §7)."""

from __future__ import annotations

import json
from dataclasses import replace

from gitops_rollouts.api.evidence import Evidence
from gitops_rollouts.decisions.forge_side.request_check import promotable
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.planning.wants import WantRequest
from gitops_rollouts.decisions.requests.body import MAX_BODY, closing, fenced, merge_body, read_marker, title
from gitops_rollouts.decisions.requests.view import Member, RequestView
from gitops_rollouts.decisions.state import Attempt, InGit, Placement

ATTEMPT = Attempt("abd11f90ce04efa7", "bfb225f9", "3b70795a87de51b95eadd0726935dab8e7c12fa2")
BAD = Evidence("latency", "Inconclusive", "run", 2, inconclusive=1, value="0.3", success="result < 0.2")


def member(name: str = "web", image: str = "ghcr.io/acme/web:v2", **more: object) -> Member:
    state = InGit("prod", "shop", name, "head", ATTEMPT, Placement(True, "web.yaml", ""), image=image)
    want = WantRequest(ATTEMPT, 2, 20, 60, (BAD,), "2026-01-01T00:00:00Z")
    return replace(Member(Subject("prod", "shop", name), 2, state, want, "v1"), **more)  # type: ignore[arg-type]


def view(*members: Member, void: str = "") -> RequestView:
    return RequestView(
        "promote", "prod", "rollouts/promote/prod/x-g2", "tip", "main", "3b70795a87de", 2, 1, members, void
    )


def test_a_row_tells_from_what_to_what_and_on_what_evidence() -> None:
    body = fenced(view(member()))
    assert "| shop/web | v1 → web:v2 | 20% → 60% | 2 | 2/3 ok | 2026-01-01T00:00:00Z |" in body
    assert "2 of 3 measurements are good, 1 metric has no good verdict" in body


def test_the_last_line_is_for_machines() -> None:
    last = fenced(view(member())).splitlines()[-1]
    data = json.loads(last.removeprefix("<!-- gitops-rollouts:").removesuffix(" -->"))
    assert (data["intent"], data["gate"], len(data["ids"])) == ("3b70795a87de", 2, 1)
    assert not read_marker(last).closed
    assert read_marker(fenced(view(member(), void="superseded by 1234567"), closed=True)).closed


def test_five_hundred_rows_fit_or_are_counted() -> None:
    """§2: one base image is one request."""
    many = [member(f"service-{n:03}-{'x' * 40}", image=f"ghcr.io/acme/{'y' * 80}:v2") for n in range(500)]
    body = fenced(view(*many))
    assert len(body.encode()) <= MAX_BODY
    rows = sum(line.startswith("| shop/service-") for line in body.splitlines())
    assert 0 < rows < 500
    assert f"… and {500 - rows} more" in body
    assert title(view(*many)) == "prod: promote 500 Rollouts past gate 2"
    short = fenced(view(*[member(f"s{n}") for n in range(500)]))
    assert sum(line.startswith("| shop/s") for line in short.splitlines()) == 500
    assert len(short.encode()) <= MAX_BODY


def test_what_no_longer_counts_is_struck_through() -> None:
    body = fenced(view(member(), member("api", want=None, struck="aborted at step 1 by d9965c2")))
    assert "| ~~shop/api~~ |" in body
    assert "aborted at step 1 by d9965c2" in body
    assert "1 of 2 Rollouts wait for approval" in body


def test_nothing_from_outside_acts() -> None:
    """§6: tags, mentions, links, fences and our own marks are broken up."""
    nasty = 'x:v2 <!-- gitops-rollouts:{"closed":1} --> @everyone [a](http://evil) `rm` | </details> #12 [skip ci]'
    evidence = replace(BAD, metric=nasty, value=nasty, success=nasty)
    want = WantRequest(ATTEMPT, 2, 20, 60, (evidence,))
    body = fenced(view(member(image=nasty, want=want, was=nasty, struck="")))
    assert not read_marker(body).closed
    assert body.count("<!-- ") == 2
    assert body.count("</details>") == 1
    for bad in ("@everyone", "](http", "://evil", "`rm`", "[skip ci]", "#12"):
        assert bad not in body
    text = title(view(member(image=nasty))) + closing(view(member(), void=nasty))
    for bad in ("@everyone", "](http", "<!--", "\n"):
        assert bad not in text


def test_marks_that_people_broke_are_survived() -> None:
    ours = fenced(view(member()))
    assert merge_body("", ours) == ours
    assert merge_body("words", ours) == f"words\n\n{ours}"
    whole = f"above\n\n{ours}\n\nbelow"
    assert merge_body(whole, ours) == whole
    torn = whole.replace("<!-- gitops-rollouts:begin -->", "")
    assert merge_body(torn, ours).endswith(ours)
    for hostile in (
        "<!-- gitops-rollouts:{ -->",
        '<!-- gitops-rollouts:{"closed":[[[ -->',
        "<!-- gitops-rollouts:[] -->",
    ):
        assert not read_marker(hostile).closed


def test_the_request_that_grows_says_so_and_lists_what_it_takes() -> None:
    """§2, §7: by the commit that asked for it; what is struck through isn't taken."""
    seen = replace(
        view(member(), member("api"), member("old", struck="superseded by 1234567")), rolling=True, gate=None
    )
    body = fenced(seen)
    assert "**2 of 3 Rollouts wait for approval at 1 gate of prod" in body
    assert "**It grows**" in body
    assert "\n- `3b70795a87de` past gate 2: 2 Rollouts\n" in body
    assert title(seen) == "prod: promote whatever waits beyond the limit of open requests"
    assert "merging promotes 2 of 3 Rollouts past the gates" in promotable(seen).words
    over = replace(seen, void="superseded by 1234567")
    assert "It grows" not in fenced(over, closed=True)
