"""The web console in a real browser, and a browser's own EventSource."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from tests.e2e.browser import Browser
from tests.e2e.relay import Relay
from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXT = "return document.querySelector(arguments[0]).textContent"
TEXTS = "return [...document.querySelectorAll(arguments[0])].map((node) => node.textContent)"
STATES = "return [...document.querySelectorAll('.pane')].map((pane) => pane.dataset.state)"
OUTPUT = "return document.querySelector(`.pane[data-target='${arguments[0]}'] .output`)?.textContent ?? ''"
FINISHED = "return document.querySelector('.live')?.textContent === 'complete'"
BATCH_STATE = "return document.querySelector('section.batch').dataset.state"
BATCH_ID = "return document.querySelector('section.batch')?.dataset.batch"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def chromium(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with Browser.running(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def console(system: System, chromium: Browser) -> Browser:
    return await opened(chromium, system.ready["api"], system.ready["token"])


async def opened(chromium: Browser, api: str, token: str) -> Browser:
    """The console, freshly opened, with the token entered and the machines listed."""
    await chromium.open("about:blank")
    await chromium.open(f"{api}/console")
    await chromium.run("sessionStorage.clear(); location.reload()")
    await (await chromium.find("#token")).type(token)
    await (await chromium.find("#sign-in button")).click()
    await chromium.until_true("return document.querySelectorAll('tr[data-agent]').length >= 4")
    return chromium


async def run(console: Browser, command: str, targets: list[str]) -> str:
    """Chooses `targets`, runs `command` on them with the mouse and keyboard; answers the batch's id."""
    for target in targets:
        await (await console.find(f"tr[data-agent='{target}'] input")).click()
    await (await console.find("#command")).type(command)
    await (await console.find("#run")).click()
    batch_id = await console.until_true(BATCH_ID)
    await console.until_true(f"return document.querySelectorAll('.pane').length === {len(targets)}")
    return str(batch_id)


async def until_shown(console: Browser, agent: str, part: str) -> None:
    async def shown() -> bool:
        return part in await console.run(OUTPUT, agent)

    await console.until(shown, what=f"{part!r} of {agent}")


async def test_a_batch_is_chosen_run_and_watched_machine_by_machine(system: System, console: Browser) -> None:
    """S4-23, S4-17: all machines and each of them, output while they still run, the end with its exit code."""
    gate = system.data_dir / "gate-console"
    command = f"echo working; echo oops >&2; while ! test -e {gate}; do sleep 0.05; done; exit 3"

    batch_id = await run(console, command, system.agents)
    for agent in system.agents:
        await until_shown(console, agent, "working\n")
        await until_shown(console, agent, "oops\n")
    while_running = await console.run(STATES)
    gate.touch()
    await console.until_true(FINISHED)

    assert set(while_running) == {"executing"}
    assert await console.run(STATES) == ["failed"] * 4
    assert await console.run(TEXT, ".pane .exit") == "exit 3"
    assert await console.run(TEXT, ".pane .output .stderr") == "oops\n"
    assert await console.run(TEXT, ".counter[data-state='failed'] b") == "4"
    assert await console.run(BATCH_STATE) == "COMPLETED_WITH_ERRORS"
    assert await console.count(f".recent li[data-batch='{batch_id}'] a[aria-current]") == 1


async def test_one_machine_is_stopped_and_the_others_go_on(system: System, console: Browser) -> None:
    """S4-23, S4-6"""
    gate = system.data_dir / "gate-console-stop-one"
    first, second = system.agents[:2]
    await run(console, f"while ! test -e {gate}; do sleep 0.05; done", [first, second])
    await console.find(f".pane[data-target='{first}'][data-state='executing']")
    await console.find(f".pane[data-target='{second}'][data-state='executing']")

    await (await console.find(f".pane[data-target='{first}'] button.danger")).click()
    await console.find(f".pane[data-target='{first}'][data-state='terminated']")
    second_then = await console.run(STATES)
    gate.touch()
    await console.until_true(FINISHED)

    assert second_then == ["terminated", "executing"]
    assert await console.run(STATES) == ["terminated", "succeeded"]


async def test_all_machines_are_stopped_at_once(system: System, console: Browser) -> None:
    """S4-23, S4-5"""
    await run(console, "echo started; sleep 600", system.agents)
    for agent in system.agents:
        await console.find(f".pane[data-target='{agent}'][data-state='executing']")

    await (await console.find("#stop-all")).click()
    await console.until_true(FINISHED)

    assert await console.run(STATES) == ["terminated"] * 4
    assert await console.run(BATCH_STATE) == "TERMINATED"


async def test_the_full_log_is_downloaded_though_the_pane_keeps_its_end(
    system: System, console: Browser
) -> None:
    """S4-23, I9: the page holds a bounded part, the file is the whole stream to the byte."""
    agent = system.agents[0]
    batch_id = await run(console, "seq 1 300000; echo bad >&2", [agent])
    await console.until_true(FINISHED)
    command_id = (await system.get(f"/api/batch_commands/{batch_id}"))["tasks"][0]["child_command_id"]
    shown = await console.run(OUTPUT, agent)

    whole = "".join(f"{number}\n" for number in range(1, 300_001)).encode()
    for stream, content in (("stdout", whole), ("stderr", b"bad\n")):
        # One after the other: Chromium asks the user before a second download that begins without a click of its own.
        await (await console.find(f".pane button[data-stream='{stream}']")).click()
        assert await downloaded(console, f"{command_id}.{stream}", len(content)) == content
    assert len(shown) < 200_000
    assert "300000\n" in shown


async def downloaded(console: Browser, name: str, size_bytes: int) -> bytes:
    """The file `name` once it is that long: a browser writes under another name first."""
    path = console.downloads / name

    async def arrived() -> bool:
        return path.exists() and path.stat().st_size >= size_bytes

    await console.until(arrived, what=name)
    return path.read_bytes()


async def test_a_lost_connection_costs_neither_a_line_nor_a_second_copy_of_one(
    system: System, chromium: Browser
) -> None:
    """S4-22, I5: cut while output flows, the page goes on exactly behind what it has."""
    was_cut, gate = system.data_dir / "console-was-cut", system.data_dir / "gate-console-reconnect"
    agent, api = system.agents[0], urlsplit(system.ready["api"])
    until = "while ! test -e {}; do sleep 0.05; done"
    script = f"seq 1 100; {until.format(was_cut)}; seq 101 200; {until.format(gate)}; seq 201 300"
    async with Relay.running(api.hostname or "", api.port or 0) as relay:
        console = await opened(chromium, f"http://127.0.0.1:{relay.port}", system.ready["token"])
        await run(console, script, [agent])
        await until_shown(console, agent, "100\n")

        relay.closed = True
        relay.cut()
        await console.until_true("return document.querySelector('.live').textContent === 'reconnecting'")
        was_cut.touch()
        relay.closed = False
        await until_shown(console, agent, "200\n")
        gate.touch()
        await console.until_true(FINISHED)

        assert await console.run(OUTPUT, agent) == "".join(f"{number}\n" for number in range(1, 301))


async def test_hostile_output_is_text_and_nothing_more(system: System, console: Browser) -> None:
    """S4-23: markup is not parsed, escape sequences and reordering characters are shown as codes."""
    markup = "<script>window.owned=1</script><img src=x onerror=window.owned=2>"
    await run(console, rf"printf '{markup}\033[31mred\033[0m \342\200\256gpj\n'", system.agents[:1])
    await console.until_true(FINISHED)

    shown = await console.run(OUTPUT, system.agents[0])

    assert shown == markup + r"\x1b[31mred\x1b[0m \u202egpj" + "\n"
    assert await console.run("return window.owned ?? null") is None
    assert await console.count(".output script, .output img") == 0


async def test_the_page_cannot_make_markup_of_text_at_all(console: Browser) -> None:
    """The policy holds even where our own code would be wrong."""
    attempt = """
        try { document.body.insertAdjacentHTML("beforeend", "<b></b>"); return "made"; }
        catch (error) { return error.name; }
    """

    assert await console.run(attempt) == "TypeError"


async def test_identical_outputs_are_folded_into_one_pane(system: System, console: Browser) -> None:
    claim = system.data_dir / "claimed-by-one"
    await run(console, f"mkdir {claim} 2>/dev/null && echo other || echo same", system.agents)
    await console.until_true(FINISHED)

    await (await console.find("#fold")).click()
    await console.until_true("return document.querySelectorAll('.pane').length === 2")

    assert sorted(await console.run(TEXTS, ".pane .output")) == ["other\n", "same\n"]
    assert min(await console.run(TEXTS, ".pane h3")) == "3 machines"
    assert len(await console.run(TEXTS, ".members:not([hidden]) li")) == 3


async def test_machines_are_narrowed_by_label(system: System, console: Browser) -> None:
    await (await console.find("#filter")).type("carrier=quic")

    listed = await console.run(
        "return [...document.querySelectorAll('tr[data-agent]')].map((row) => row.dataset.agent)"
    )

    quic = [name for name, facts in system.ready["agents"].items() if facts["carrier"] == "quic"]
    assert sorted(listed) == sorted(quic)


async def test_a_wrong_token_leads_back_to_the_question(system: System, console: Browser) -> None:
    await (await console.find("#sign-out")).click()
    await (await console.find("#token")).type("qd_wrong")
    await (await console.find("#sign-in button")).click()

    await console.until_true("return document.body.dataset.signedIn === 'false'")
    assert await console.until_true(TEXT, "#sign-in-problem") == "This token is not valid."
    assert await console.run("return sessionStorage.length") == 0


async def test_the_browsers_own_event_source_follows_a_batch_to_its_end(
    system: System, console: Browser
) -> None:
    """S4-22: a ticket instead of a header; the stream ends by itself, and the ticket opens nothing more."""
    batch_id = await system.batch("echo hello; sleep 0.2; echo again", system.agents)
    ticket = (await system.post("/api/tickets", status=201))["ticket"]
    path = f"/api/batch_commands/{batch_id}/events?text=1&ticket={ticket}"
    script = """
        return new Promise((resolve) => {
          const seen = [];
          const source = new EventSource(arguments[0]);
          const note = ({ type, lastEventId, data }) => seen.push({ type, id: lastEventId, body: JSON.parse(data) });
          for (const type of ["snapshot", "command", "output", "batch"]) source.addEventListener(type, note);
          source.addEventListener("end", () => { source.close(); resolve({ ended: true, seen }); });
          source.addEventListener("error", () => { source.close(); resolve({ ended: false, seen }); });
        });
    """

    followed: dict[str, Any] = await console.run(script, path)
    again: dict[str, Any] = await console.run(script, path)

    assert followed["ended"]
    said = "".join(event["body"]["text"] for event in followed["seen"] if event["type"] == "output")
    completed = [event for event in followed["seen"] if event["body"].get("type") == "command.completed"]
    assert (said.count("hello\n"), said.count("again\n"), len(completed)) == (4, 4, 4)
    assert again == {"ended": False, "seen": []}


async def test_the_console_is_served_under_a_strict_policy(system: System) -> None:
    """Public, never cached, scripts of its own origin alone; files that are not named are not served."""
    page = await system.client.get("/console", headers={"Authorization": ""})
    module = await system.client.get("/console/app.js", headers={"Authorization": ""})
    other = await system.client.get("/console/../settings.py")

    for answer, media_type in ((page, "text/html"), (module, "text/javascript")):
        policy = answer.headers["content-security-policy"].split("; ")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(media_type)
        assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)
        assert (answer.headers["x-content-type-options"], answer.headers["cache-control"]) == (
            "nosniff",
            "no-store",
        )
    assert other.status_code == 404
