"""Whatever a plugin does, the worst that comes of it is an error of its own call (docs/plugins.md)."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from gitops_rollouts.errors import LeadershipLost, PluginError, PluginMissing, PluginUnusable
from gitops_rollouts.plugins.catalogue import STEP_PLUGINS, TRAFFIC_ROUTERS, discover
from gitops_rollouts.plugins.pool import PROCESSES, Plugins
from plugin_site import importing_from, write_package
from plugins.conftest import Fence
from waiting import eventually

ROLLOUT: dict[str, Any] = {"metadata": {"name": "web", "namespace": "shop"}, "spec": {}, "status": {}}


def _given(config: Any = None, status: Any = None) -> dict[str, Any]:
    return {"rollout": ROLLOUT, "index": 2, "config": config, "status": status}


async def _run(plugins: Plugins, name: str, config: Any = None, status: Any = None) -> Any:
    return await plugins.call(STEP_PLUGINS, name, "run", _given(config, status))


def _lives(pid: int) -> bool:
    """A process that has ended and that nobody waited for doesn't count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_plugin_is_a_long_lived_process_that_speaks_json(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_ASKPASS", "/secret")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/secret")
    first = await _run(plugins, "odd/good", {"a": [1]})
    second = await _run(plugins, "odd/good", None, first["status"])
    assert (first["phase"], first["message"], first["requeueAfter"]) == ("Running", "m", 17.0)
    assert first["status"]["config"] == {"a": [1]}
    assert second["status"]["before"] == first["status"]
    assert (first["status"]["calls"], second["status"]["calls"]) == (1, 2)
    assert first["status"]["pid"] == second["status"]["pid"] != os.getpid()
    # it sees neither Git's credentials nor our input, and knows our cluster
    assert (first["status"]["git"], first["status"]["stdin"], first["status"]["kubeconfig"]) == ([], "", "/k")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("raises", "ValueError: no such job"),
        ("exits", "SystemExit: 3"),
        ("dies", "ended in the middle of a call, with exit code 7"),
        ("killed", "ended in the middle of a call, killed by signal 9"),
        ("floods", "answered more than 64 KiB"),
        ("nonsense", "the answer is a dict, not a Result"),
        ("unwritable", "TypeError: Object of type set is not JSON serializable"),
        ("not_a_number", "ValueError: Out of range float values"),
    ],
)
async def test_each_way_to_fail_is_an_error_of_the_call_and_the_next_call_works(
    plugins: Plugins, how: str, says: str
) -> None:
    with pytest.raises(PluginError, match="plugin odd/odd") as caught:
        await _run(plugins, "odd/odd", how)
    assert says in str(caught.value)
    assert (await _run(plugins, "odd/odd", "sleeps"))["phase"] == "Successful"


async def test_a_hanging_plugin_is_killed_with_all_that_it_started(plugins: Plugins, notes: Path) -> None:
    with pytest.raises(PluginError, match="took longer than 2s for run and was stopped"):
        await _run(plugins, "odd/odd", "hangs")
    pids = [int(pid) for pid in notes.read_text().split()]

    async def gone() -> bool:
        return not any(_lives(pid) for pid in pids)

    await eventually(gone)
    assert (await _run(plugins, "odd/odd", "sleeps"))["phase"] == "Successful"


async def test_what_left_its_session_and_holds_its_output_holds_no_call(plugins: Plugins, notes: Path) -> None:
    """Such a process can't be killed with the plugin, but nobody waits for it, and no pipe to it stays open."""
    await _run(plugins, "odd/good")
    open_before = len(os.listdir("/proc/self/fd"))
    async with asyncio.timeout(10):
        with pytest.raises(PluginError, match="took longer than 2s for run and was stopped"):
            await _run(plugins, "odd/odd", "leaves")
    left = int(notes.read_text())
    assert _lives(left)
    try:
        assert len(os.listdir("/proc/self/fd")) == open_before
        assert (await _run(plugins, "odd/odd", "sleeps"))["phase"] == "Successful"
    finally:
        os.kill(left, 9)


async def test_what_it_prints_neither_blocks_it_nor_is_taken_for_an_answer(plugins: Plugins) -> None:
    assert (await _run(plugins, "odd/odd", "chatters"))["phase"] == "Successful"


async def test_a_hanging_call_holds_no_other_back_and_processes_are_few(plugins: Plugins, notes: Path) -> None:
    hanging = asyncio.create_task(_run(plugins, "odd/odd", "hangs"))
    answers = await asyncio.gather(*(_run(plugins, "odd/odd", "sleeps") for _ in range(6)))
    assert not hanging.done()
    assert len({answer["message"] for answer in answers}) <= PROCESSES - 1
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging


async def test_who_finds_every_process_busy_is_told(plugins: Plugins, notes: Path) -> None:
    calls = [asyncio.create_task(_run(plugins, "odd/odd", "hangs")) for _ in range(PROCESSES + 3)]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    said = [str(error) for error in ended]
    assert sum("took longer than 2s" in text for text in said) >= PROCESSES
    assert all("took longer" in text or "all of its 4 processes are busy" in text for text in said)
    assert (await _run(plugins, "odd/odd", "sleeps"))["phase"] == "Successful"


async def test_a_process_that_was_killed_between_two_calls_is_replaced(plugins: Plugins) -> None:
    pid = int((await _run(plugins, "odd/odd", "sleeps"))["message"])
    os.kill(pid, 9)

    async def answered() -> int:
        return int((await _run(plugins, "odd/odd", "sleeps"))["message"])

    # a call that meets it while it dies fails once; nothing fails after that
    assert await eventually(answered, ignore=(PluginError,)) != pid


async def test_the_end_ends_every_process(plugins: Plugins, notes: Path) -> None:
    pid = (await _run(plugins, "odd/good"))["status"]["pid"]
    hanging = asyncio.create_task(_run(plugins, "odd/odd", "hangs"))

    async def noted() -> bool:
        return notes.exists() and len(notes.read_text().split()) == 2

    await eventually(noted)
    await plugins.close()
    with pytest.raises(PluginError):
        await hanging

    async def gone() -> bool:
        return not any(_lives(int(one)) for one in (pid, *notes.read_text().split()))

    await eventually(gone, what="the processes that were killed to be over")
    with pytest.raises(PluginError, match="stopping"):
        await _run(plugins, "odd/good")


async def test_a_controller_that_is_killed_takes_its_plugins_along(site: Path, notes: Path) -> None:
    """Nobody is left who acts in the name of a controller that lost the Lease."""
    given = {"group": STEP_PLUGINS, "name": "odd/odd", "given": _given("hangs")}
    code = (
        "import asyncio, json, sys\n"
        "from gitops_rollouts.plugins.catalogue import discover\n"
        "from gitops_rollouts.plugins.pool import Plugins\n"
        "want = json.loads(sys.argv[1])\n"
        "async def main():\n"
        "    plugins = Plugins(discover(), lambda: None)\n"
        "    await plugins.call(want['group'], want['name'], 'run', want['given'])\n"
        "asyncio.run(main())\n"
    )
    controller = await asyncio.create_subprocess_exec(sys.executable, "-c", code, json.dumps(given))

    async def begun() -> bool:
        return notes.exists() and len(notes.read_text().split()) == 2

    await eventually(begun)
    host, started = (int(pid) for pid in notes.read_text().split())
    controller.kill()
    await controller.wait()

    async def gone() -> bool:
        return not _lives(host)

    await eventually(gone)
    os.kill(started, 9)


async def test_nothing_is_called_past_the_fence(plugins: Plugins, fence: Fence) -> None:
    await _run(plugins, "odd/good")
    asked = fence.asked
    fence.error = LeadershipLost("gone")
    with pytest.raises(LeadershipLost):
        await _run(plugins, "odd/good")
    assert fence.asked == asked + 1
    fence.error = None
    assert (await _run(plugins, "odd/good"))["status"]["calls"] == 2


async def test_what_cant_be_had_says_why(plugins: Plugins) -> None:
    with pytest.raises(PluginMissing, match="'acme/none' is not installed"):
        await _run(plugins, "acme/none")
    with pytest.raises(PluginUnusable, match=r"odd/half can't be loaded: TypeError: .*no method abort, terminate"):
        await _run(plugins, "odd/half")
    with pytest.raises(PluginUnusable, match="odd/missing can't be loaded: AttributeError"):
        await _run(plugins, "odd/missing")
    with pytest.raises(PluginUnusable, match="not of the form <namespace>/<name>"):
        await _run(plugins, "unnamed")
    assert await plugins.methods(TRAFFIC_ROUTERS, "odd/router") == {"route"}
    with pytest.raises(PluginError, match="has no method verify_weight"):
        await plugins.call(TRAFFIC_ROUTERS, "odd/router", "verify_weight", {})


def test_discovery_reads_entry_points_and_refuses_a_name_that_two_packages_claim(site: Path, tmp_path: Path) -> None:
    found = discover()[STEP_PLUGINS, "odd/good"]
    assert (found.value, found.distribution, found.version) == ("oddplugins:Good", "oddplugins", "1.0")
    assert (found.kind, found.problem) == ("step", "")
    other = tmp_path / "other"
    write_package(other, "second", "class Good: pass", {STEP_PLUGINS: {"odd/good": "Good"}})
    with importing_from(other):
        assert "installed twice" in discover()[STEP_PLUGINS, "odd/good"].problem
