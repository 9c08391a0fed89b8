"""Black-box checks 3, 4, 5 and 11 of docs/decisions.md §8 on a real Gitea: people use its buttons, never git."""

from __future__ import annotations

import pytest

from story.gitea_loop import GiteaLoop
from story.loop import OWN, wait_until
from story.test_checks import wipe

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(600)]


def test_check_3_a_gate_is_one_request_and_each_of_gitea_s_buttons_promotes(on_gitea: GiteaLoop) -> None:
    """One request, one commit, one line (in place of that of the gate before), whichever way it is merged."""
    loop = on_gitea
    styles = iter(("merge", "squash", "rebase", "rebase-merge"))
    for tag in ("v2", "v3"):
        intent = loop.release(tag)
        for gate, following in ((1, 3), (3, None)):
            loop.wait_gate(gate, tag)
            request = loop.request_of_gate(gate)
            assert request["user"]["login"] == "bot"
            assert request["head"]["ref"] == f"rollouts/promote/{loop.sync_name}/{intent[:12]}-g{gate}"
            assert f"web:{tag}" in request["title"]
            loop.git("fetch", "-q", "--prune", "origin")
            head = request["head"]["sha"]
            assert loop.git("diff", "--numstat", f"origin/main...{head}").split()[:2] == [
                "1",
                "0" if gate == 1 else "1",
            ]
            assert f"{OWN}promote" in loop.git("diff", f"origin/main...{head}")
            loop.forge.merge_request(request["number"], by="alice", style=next(styles))
            if following is not None:
                loop.wait_gate(following, tag)
        loop.wait_phase("Healthy", tag)
        loop.wait_record()
    wait_until(lambda: not loop.request_branches(), "the merged branches to go")
    assert [(each["number"], each["state"], each["merged"]) for each in loop.requests()] == [
        (number, "closed", True) for number in (1, 2, 3, 4)
    ]
    assert [loop.comments(number) for number in (1, 2, 3, 4)] == [""] * 4


def test_check_4_closing_holds_reopening_ends_it_and_a_restart_changes_neither(on_gitea: GiteaLoop) -> None:
    loop = on_gitea
    loop.release("v2")
    loop.wait_gate(1, "v2")
    number = loop.only_request()["number"]
    loop.set_state(number, "closed", by="alice")
    holds = wait_until(lambda: loop.sync()["status"].get("holds"), "the hold in the GitSync's status")
    assert holds[0]["by"] == "alice"
    sizes = loop.pods_by_image()
    loop.stop()
    loop.start()
    loop.settled(seconds=30)
    assert [each["number"] for each in loop.requests()] == [number]
    assert loop.pods_by_image() == sizes
    assert loop.sync()["status"]["holds"][0]["by"] == "alice"
    loop.set_state(number, "open", by="bob")
    wait_until(lambda: not loop.sync()["status"].get("holds"), "the hold to end")
    loop.settled(seconds=5)
    assert [(each["number"], each["state"]) for each in loop.requests()] == [(number, "open")]
    loop.forge.merge_request(number, by="bob")
    loop.wait_gate(3, "v2")


def test_check_5_a_newer_image_closes_the_request_as_superseded_and_its_late_merge_changes_nothing(
    on_gitea: GiteaLoop,
) -> None:
    loop = on_gitea
    loop.release("v2")
    loop.wait_gate(1, "v2")
    old = loop.only_request()
    loop.git("fetch", "-q", "origin")
    loop.git("branch", "kept", old["head"]["sha"])
    newer = loop.release("v3")
    loop.wait_gate(1, "v3")
    wait_until(lambda: loop.forge.call("GET", f"/pulls/{old['number']}")["state"] == "closed", "the old one's end")
    assert f"superseded by {newer[:7]}" in loop.comments(old["number"]).replace("`", "")
    wait_until(lambda: old["head"]["ref"] not in loop.request_branches(), "the superseded branch to go")
    sizes = loop.pods_by_image()
    loop.pull()
    loop.git("merge", "-q", "--no-ff", "-m", "Merge a stale request", "kept")
    loop.git("push", "-q", "origin", "HEAD:main")
    merged = loop.git("rev-parse", "HEAD")
    wait_until(lambda: loop.sync()["status"].get("lastAppliedCommit") == merged, "the stale merge to be synced")
    loop.settled(seconds=5)
    assert loop.status()["currentStepIndex"] == 1
    assert loop.pods_by_image() == sizes
    new = loop.only_request()
    assert new["number"] != old["number"]
    loop.forge.merge_request(new["number"], by="alice")
    loop.wait_gate(3, "v3")


def test_check_11_a_wiped_cluster_comes_back_to_the_same_request(on_gitea: GiteaLoop) -> None:
    loop = on_gitea
    loop.release("v2")
    loop.wait_gate(1, "v2")
    request = loop.only_request()
    loop.git("fetch", "-q", "--prune", "origin")
    tip = loop.git("rev-parse", "origin/main")
    loop.stop()
    wipe(loop)
    loop.start()
    loop.wait_gate(1, "v2", seconds=120)
    loop.settled(seconds=10)
    found = loop.only_request()
    assert (found["number"], found["head"]["sha"]) == (request["number"], request["head"]["sha"])
    assert len(loop.requests()) == 1
    loop.git("fetch", "-q", "--prune", "origin")
    assert loop.git("rev-parse", "origin/main") == tip
    loop.forge.merge_request(found["number"], by="alice")
    loop.wait_gate(3, "v2")
