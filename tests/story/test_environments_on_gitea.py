"""Environments in a row (docs/decisions.md §5) on a real Gitea: what asks for images is a pull request there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gitea_program import GiteaRepository
from story.cluster_reader import ClusterReader
from story.gitea_loop import GiteaLoop
from story.loop import wait_until
from story.test_environments import PLAIN, Place, forget

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture
def on_gitea(
    reader: ClusterReader, kubeconfig: Path, gitea_repository: GiteaRepository, namespace: str, tmp_path: Path
) -> Iterator[GiteaLoop]:
    """A repository without an environment, and nothing running yet."""
    made = GiteaLoop(reader, kubeconfig, gitea_repository, namespace, tmp_path)
    made.git("rm", "-q", "-r", "envs/prod")
    yield made
    if made.process is not None:
        made.stop()


def opened(loop: GiteaLoop, place: Place) -> dict[str, Any]:
    """The one open request for a place, once there is one."""
    prefix = f"rollouts/from/{place.loop.sync_name}/"

    def there() -> list[dict[str, Any]]:
        return [each for each in loop.requests("open") if each["head"]["ref"].startswith(prefix)]

    found = wait_until(there, lambda: f"a request for {place.path}: {place.loop.describe()}")
    assert len(found) == 1, [each["title"] for each in found]
    return found[0]


def test_the_next_environment_s_images_are_a_request_that_people_close_reopen_and_merge(on_gitea: GiteaLoop) -> None:
    """§5: a newer record renews the request, closing holds these images, the check tells, merging deploys."""
    loop = on_gitea
    dev, prod = (Place(loop, name, PLAIN) for name in ("dev", "prod"))
    loop.push("two environments")
    loop.start()
    try:
        dev.bind()
        prod.bind(promotion={"from": dev.loop.sync_name, "fields": ["image"]})
        for place in (dev, prod):
            place.stable("v1")
        loop.pull()
        dev.edit("web:v1", "web:v2")
        loop.push("web: v2")
        dev.stable("v2")
        first = opened(loop, prod)
        assert first["user"]["login"] == "bot"
        assert f"web gets what is stable in {dev.loop.sync_name}" in first["title"]
        assert "web:v2" in first["body"]
        loop.git("fetch", "-q", "--prune", "origin")
        changed = loop.git("diff", "--numstat", f"origin/main...{first['head']['sha']}").split()
        assert changed == ["1", "1", "envs/prod/web.yaml"]
        context = f"rollout/from-{dev.loop.sync_name}"
        wait_until(lambda: loop.shown(first["head"]["sha"], context)[0] == "success", "the check to be green")

        # another version is stable in dev: the same request asks for that one
        loop.pull()
        dev.edit("web:v2", "web:v3")
        loop.push("web: v3")
        dev.stable("v3")
        wait_until(lambda: "web:v3" in opened(loop, prod)["body"], lambda: f"the newer one: {opened(loop, prod)}", 90)
        request = opened(loop, prod)
        assert request["number"] == first["number"]
        assert request["head"]["sha"] != first["head"]["sha"]

        loop.set_state(request["number"], "closed", by="alice")

        def held() -> bool:
            found = prod.loop.sync()["status"].get("proposals") or []
            return [(one["state"], "by alice" in one.get("reason", "")) for one in found] == [("held", True)]

        wait_until(held, lambda: f"the hold: {prod.loop.sync()['status']}")
        prod.loop.settled(seconds=5)
        assert [each["number"] for each in loop.requests()] == [request["number"]]
        assert "web:v1" in prod.text
        loop.set_state(request["number"], "open", by="bob")
        wait_until(lambda: not held(), "the hold to end")
        loop.forge.merge_request(request["number"], by="bob")
        prod.stable("v3")
        wait_until(lambda: not prod.asked(), "the branch to go")
        prod.loop.settled(seconds=5)
        assert [(each["number"], each["merged"]) for each in loop.requests()] == [(request["number"], True)]
        loop.git("fetch", "-q", "--prune", "origin")
        told = loop.git("log", "--no-merges", "--format=%s", "origin/main").splitlines()
        assert sum("gets web:v3, as it is stable in " in one for one in told) == 1
    finally:
        forget(loop, dev, prod)
