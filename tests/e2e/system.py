"""The whole product as a test sees it: `quarterdeck up` as a real process, and a client of its surfaces."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import httpx_sse

from quarterdeck.testing.eventually import eventually

READY_WITHIN_S = 120
"""A bound for a broken start, not an expectation."""

TERMINAL = {"SUCCESS", "FAILURE", "TERMINATED", "AGENT_UNREACHABLE", "AGENT_REJECTED"}


@dataclass(frozen=True)
class Watched:
    """One event of a stream. `id` is empty for snapshots."""

    id: str
    kind: str
    body: dict[str, Any]


class System:
    """One `quarterdeck up` on a data directory. Everything on loopback, on free ports."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.data_dir = data_dir
        self._options = options
        self._ready_file = data_dir.with_suffix(".ready.json")
        self._process: asyncio.subprocess.Process | None = None
        self.client = httpx.AsyncClient()

    @classmethod
    @asynccontextmanager
    async def running(cls, data_dir: Path, *options: str) -> AsyncIterator[Self]:
        system = cls(data_dir, *options)
        await system.start()
        try:
            yield system
        finally:
            await system.stop()

    async def start(self) -> None:
        self._ready_file.unlink(missing_ok=True)
        log = self.data_dir.with_suffix(".log").open("ab")
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "quarterdeck.cli", "up", "--data-dir", str(self.data_dir)),
            *("--port", "0", "--grpc-port", "0", "--quic-port", "0"),
            *("--ready-file", str(self._ready_file)),
            *self._options,
            stdout=log,
            stderr=log,
            stdin=asyncio.subprocess.DEVNULL,
            env={**os.environ, "QD_LOG_LEVEL": "info"},
            start_new_session=True,
        )
        log.close()
        await eventually(self._is_ready, within_s=READY_WITHIN_S)
        ready = self.ready
        self.client = httpx.AsyncClient(
            base_url=ready["api"], headers={"Authorization": f"Bearer {ready['token']}"}, timeout=60
        )

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.returncode is not None:
            tail = self.data_dir.with_suffix(".log").read_text(errors="replace")[-4000:]
            raise AssertionError(f"quarterdeck up ended with {self._process.returncode}:\n{tail}")
        return self._ready_file.exists()

    async def stop(self) -> int:
        """Ctrl-C; answers the exit code."""
        await self.client.aclose()
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(60):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            raise

    @property
    def ready(self) -> dict[str, Any]:
        """The ready file, as it is now."""
        facts: dict[str, Any] = json.loads(self._ready_file.read_text())
        return facts

    @property
    def agents(self) -> list[str]:
        return sorted(self.ready["agents"])

    def agent_on(self, carrier: str) -> str:
        facts = self.ready["agents"]
        return next(name for name in self.agents if facts[name]["carrier"] == carrier)

    async def get(self, path: str, **params: Any) -> dict[str, Any]:
        answer = await self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def post(
        self, path: str, body: dict[str, Any] | None = None, *, status: int = 202
    ) -> dict[str, Any]:
        answer = await self.client.post(path, json=body)
        assert answer.status_code == status, answer.text
        answered: dict[str, Any] = answer.json()
        return answered

    async def batch(self, content: str, targets: list[str], **more: Any) -> str:
        body = {"command_content": content, "target_vps_ids": targets, **more}
        batch_id: str = (await self.post("/api/batch_commands", body))["batch_command_id"]
        return batch_id

    async def finished(self, batch_id: str) -> dict[str, Any]:
        """The batch, once it has ended."""
        async with asyncio.timeout(100):
            while True:
                batch = await self.get(f"/api/batch_commands/{batch_id}", wait=20)
                if batch["overall_status"] not in {"PENDING", "IN_PROGRESS", "TERMINATING"}:
                    return batch

    async def ran(self, content: str, targets: list[str], **more: Any) -> dict[str, Any]:
        return await self.finished(await self.batch(content, targets, **more))

    async def command(self, agent: str, command_type: str, payload: Any, **more: Any) -> str:
        body = {"client_id": agent, "command_type": command_type, "payload": payload, "timeout": 60, **more}
        command_id: str = (await self.post("/api/command", body))["command_id"]
        return command_id

    async def ended(self, command_id: str) -> dict[str, Any]:
        """The command, once it has ended."""
        async with asyncio.timeout(100):
            while True:
                command: dict[str, Any] = (await self.get(f"/api/command/{command_id}", wait=20))["command"]
                if command["status"] not in {"pending", "executing"}:
                    return command

    async def output(self, command_id: str, stream: str = "stdout") -> bytes:
        answer = await self.client.get(f"/api/command/{command_id}/output", params={"stream": stream})
        assert answer.status_code == 200, answer.text
        return answer.content

    async def watch(self, path: str, *, last_id: str = "", **params: Any) -> AsyncIterator[Watched]:
        """Events of a stream until it ends or the caller leaves."""
        headers = {"Last-Event-ID": last_id} if last_id else {}
        async with httpx_sse.aconnect_sse(
            self.client, "GET", path, params=params, headers=headers, timeout=60
        ) as source:
            async for event in source.aiter_sse():
                if event.event != "message" or event.data:
                    yield Watched(event.id, event.event, json.loads(event.data) if event.data else {})
