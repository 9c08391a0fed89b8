"""Where lines come from, of all of a target at once (docs/decisions.md §6), and what writing many costs (§2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from decision_engine import WEB_YAML, Engine
from decision_repo import PROD, manifest
from git_remote import Remote
from gitops_rollouts.decisions.history.origins import Origin, Origins, Wanted
from gitops_rollouts.decisions.planning.wants import WantAbort
from gitops_rollouts.git.child import Finished, GitChild
from gitops_rollouts.git.repository import Mirror


def line(name: str) -> str:
    return f"lines: id=d-{name}\n"


CHANGES: list[dict[str, str | bytes | None]] = [
    {f"envs/{name}.yaml": line(name) for name in "abc"} | {"base/d.yaml": line("d")},
    {"envs/a.yaml": "lines: none\n", ".rollouts/b.yaml": line("b")},
    {"envs/a.yaml": line("a"), "envs/b.yaml": None},
    {"envs/e.yaml": line("e"), "envs/a.yaml": "lines: none\n"},  # on a side branch
    {"base/d.yaml": None, "base/more/d.yaml": line("d")},
    {"envs/more/c.yaml": line("c"), "envs/c.yaml": None},
    {"envs/d.yaml": line("d"), "envs/e.yaml": f"# more\n{line('e')}"},
    {"envs/f.yaml": line("f"), "other": "2"},
]
ON_A_BRANCH = 3


def test_followed_from_head_to_head_they_are_what_each_looked_up_alone_is(remote: Remote, mirror: Mirror) -> None:
    """§6: an abort that is moved, taken back, brought again or merged has one origin, however it is read."""
    origins, before = Origins(mirror), ""
    wanted = [Wanted(f"id=d-{name}", (f"envs/{name}.yaml", f".rollouts/{name}.yaml")) for name in "abcdef"]

    def found(of: Origins, head: str) -> list[Origin]:
        return [of.of(one.text, head, one.paths) for one in wanted]

    for turn, files in enumerate(CHANGES):
        if turn == ON_A_BRANCH:
            remote.git("checkout", "-q", "-b", "side")
            remote.write(files)
            remote.write({"envs/a.yaml": line("a")})
            remote.git("checkout", "-q", "main")
            remote.write({"other": "1"})
            remote.git("merge", "-q", "--no-ff", "-m", "merge", "side")
        else:
            remote.write(files)
        remote.push()
        head = mirror.fetch("main")
        afresh = Origins(mirror)
        origins.learn(wanted, head, before)
        afresh.learn(wanted, head)
        assert found(origins, head) == found(afresh, head), turn
        before = head
    assert found(origins, before) == found(Origins(mirror), before)
    assert origins.of("id=d-f", before, wanted[-1].paths) == Origin(before, "Dana Dev")


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Git's commands and how often each was started."""
    counted: Counter[str] = Counter()
    run = GitChild.run

    def counting(self: GitChild, *args: str, **more: Any) -> Finished:
        counted[args[0]] += 1
        return run(self, *args, **more)

    monkeypatch.setattr(GitChild, "run", counting)
    return counted


async def test_many_decisions_cost_as_many_git_children_as_a_few(
    remote: Remote, new_mirror: Callable[..., Mirror], children: Counter[str]
) -> None:
    """docs/decisions.md §2: aborts that fall together are read, planned, written and read again by a fixed number."""
    cost: list[Counter[str]] = []
    for count in (4, 40):
        names = ["web", *(f"app-{number}" for number in range(1, count))]
        remote.put({f"envs/prod/{name}.yaml": manifest(f"{name}:v{count}", name=name) for name in names})
        engine = Engine(new_mirror(f"mirror-{count}"))
        engine.sync()
        at = engine.published()
        children.clear()
        for name in names:
            abort = WantAbort(at.rollouts["shop", name].attempt, 1, "2026-01-01T00:00:00Z", "Requested", "all of them")
            engine.writer.set_wants(PROD.name, ("shop", name), (abort,))
        await engine.settle()
        remote.pull()
        remote.put({WEB_YAML: manifest("web:other")})
        engine.sync()
        assert sum(state.abort is not None for state in engine.published().rollouts.values()) == count - 1
        cost.append(Counter(children))
    assert cost[0] == cost[1]
