"""What every link must do, whatever protocol it speaks; `test_links.py` binds it in one line per wire.

Written against `Wire`: where wires differ, the difference is a value of the wire, and each value has its assertion.
"""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import ClassVar

import pytest

from quarterdeck.contracts import reports
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.contracts.states import CommandState
from tests.conformance.callers import Refused
from tests.conformance.plane import Job, Plane
from tests.conformance.wires import KINDS, Fence, LinkLoss, Newcomer, Stop, Wire

_SILENCE_S = 61.0
"""Source: S1-3."""


class LinkBehaviours:
    wire: ClassVar[Wire]

    async def test_link_is_recorded_with_its_carrier_and_dialect(self, plane: Plane) -> None:
        agent = await self.wire.agent(plane, 1)

        record, _ = await plane.link(agent.agent_id)

        assert (record.carrier, record.dialect, record.end) == (self.wire.carrier, self.wire.dialect, None)
        assert record.gateway_id == plane.gateway.gateway_id

    # ---- Commands

    async def test_command_runs_and_is_answered(self, plane: Plane) -> None:
        agent = await self.wire.agent(plane, 1)

        command_id = await plane.order(agent.agent_id, self.wire.jobs.greets)

        await self._answered(plane, command_id, self.wire.jobs.greets)
        told = [type(one) for one in plane.aggregator.reports if not isinstance(one, reports.Progress)]
        assert told == [reports.Accepted, reports.Started, reports.Result]

    async def test_answer_of_many_frames_is_exact(self, plane: Plane) -> None:
        agent = await self.wire.agent(plane, 1)

        command_id = await plane.order(agent.agent_id, self.wire.jobs.bulk)

        await self._answered(plane, command_id, self.wire.jobs.bulk)

    async def test_failure_is_told_in_the_agents_words(self, plane: Plane) -> None:
        agent = await self.wire.agent(plane, 1)
        failure = self.wire.jobs.fails

        result = await plane.report(reports.Result, await plane.order(agent.agent_id, failure.job))

        assert (result.end, result.exit_code) == (CommandState.FAILED, failure.exit_code)
        assert failure.said in result.error + (await plane.stored(result.command_id, "stderr")).decode()

    async def test_order_that_comes_again_starts_nothing(self, plane: Plane, tmp_path: Path) -> None:
        if "shell" in self.wire.carries:
            agent = await self.wire.agent(plane, 1)
            starts = tmp_path / "starts"
            command_id = await plane.order(
                agent.agent_id, Job("shell", {"command": f"echo started >> {starts}"})
            )
            await plane.order_again(command_id)
            await plane.report(reports.Result, command_id)
            await plane.order_again(command_id)
            later = await plane.order(agent.agent_id, self.wire.jobs.greets)
            await self._answered(plane, later, self.wire.jobs.greets)
            assert starts.read_text() == "started\n"
            return
        mute = await self.wire.mute(plane, 1)
        command_id = await plane.order(mute.agent_id, self.wire.jobs.greets)
        await mute.ordered(1)
        await plane.order_again(command_id)
        await mute.say_result(command_id)
        await plane.report(reports.Result, command_id)
        await plane.order_again(command_id)
        later = await plane.order(mute.agent_id, self.wire.jobs.greets)
        await mute.ordered(2)
        await mute.say_result(later)
        await plane.report(reports.Result, later)
        assert await mute.ordered(2) == 2

    @pytest.mark.parametrize("kind", KINDS)
    async def test_kind_of_command_is_carried_or_refused_before_anything_is_sent(
        self, plane: Plane, kind: str
    ) -> None:
        if kind in self.wire.carries:
            agent = await self.wire.agent(plane, 1)
            await plane.report(reports.Result, await plane.order(agent.agent_id, KINDS[kind]))
            return
        mute = await self.wire.mute(plane, 1)
        refused = await plane.order(mute.agent_id, KINDS[kind])
        await plane.order(mute.agent_id, self.wire.jobs.greets)
        rejected = await plane.report(reports.Rejected, refused)
        assert (rejected.reason, rejected.error != "") == ("unsupported_by_dialect", True)
        assert await mute.ordered(1) == 1

    async def test_command_that_is_stopped_ends_as_the_wire_can(self, plane: Plane) -> None:
        agent = await self.wire.agent(plane, 1)
        command_id = await plane.order(agent.agent_id, self.wire.jobs.lasts)
        await agent.begun(plane, command_id)

        await plane.terminate(agent.agent_id, command_id)

        result = await plane.report(reports.Result, command_id)
        assert result.end is CommandState.TERMINATED
        assert bool(plane.reports(reports.TerminateAcked, command_id)) == (self.wire.stop is Stop.PROVED)
        if self.wire.stop is Stop.ABANDONED:
            assert result.reason == "may_still_run"
            assert "may still run" in result.error
        else:
            assert result.reason != "may_still_run"

    async def test_command_that_takes_too_long_is_timed_out(self, plane: Plane) -> None:
        """By the agent where it can, by the gateway where it cannot."""
        agent = await self.wire.agent(plane, 1)

        command_id = await plane.order(agent.agent_id, self.wire.jobs.lasts, timeout_ms=300)

        assert (await plane.report(reports.Result, command_id)).end is CommandState.TIMED_OUT

    # ---- What is not the agent's to say

    async def test_result_of_another_agents_command_is_fenced(self, plane: Plane) -> None:
        victim, liar = await self.wire.mute(plane, 1), await self.wire.mute(plane, 2)
        command_id = await plane.order(victim.agent_id, self.wire.jobs.greets)
        await victim.ordered(1)

        if self.wire.fence is Fence.GATEWAY:
            await plane.until_fenced(self.wire.dialect, lambda: liar.say_result(command_id))
            assert plane.reports(reports.Result, command_id) == []
        else:
            await liar.say_result(command_id)
            assert (await plane.report(reports.Result, command_id)).agent_id == liar.agent_id
        await victim.say_result(command_id)
        await plane.aggregator.wait(
            lambda _: any(r.agent_id == victim.agent_id for r in plane.reports(reports.Result, command_id))
        )

    async def test_result_after_the_end_changes_nothing(self, plane: Plane) -> None:
        agent = await self.wire.mute(plane, 1)
        command_id = await plane.order(agent.agent_id, self.wire.jobs.greets)
        await agent.ordered(1)
        await agent.say_result(command_id)
        first = await plane.report(reports.Result, command_id)

        if self.wire.fence is Fence.GATEWAY:
            await plane.until_fenced(self.wire.dialect, lambda: agent.say_result(command_id))
            assert plane.reports(reports.Result, command_id) == [first]
        else:
            await agent.say_result(command_id)
            await plane.aggregator.wait(lambda _: len(plane.reports(reports.Result, command_id)) == 2)
            assert {one.attempt for one in plane.reports(reports.Result, command_id)} == {first.attempt}

    async def test_nonsense_ends_only_the_link_that_said_it(self, plane: Plane) -> None:
        bad, good = await self.wire.mute(plane, 1), await self.wire.agent(plane, 2)

        await bad.say_nonsense()

        await bad.hung_up()
        assert await plane.ended(bad.agent_id) is LinkEnd.UNDECODABLE
        command_id = await plane.order(good.agent_id, self.wire.jobs.greets)
        await self._answered(plane, command_id, self.wire.jobs.greets)

    # ---- How links end

    async def test_second_link_of_an_agent_replaces_the_first_or_is_refused(self, plane: Plane) -> None:
        older = await self.wire.mute(plane, 1)
        epoch = await plane.connected(older.agent_id)

        if self.wire.newcomer is Newcomer.REFUSED:
            with pytest.raises(Refused):
                await self.wire.mute(plane, 1)
            assert await plane.connected(older.agent_id) == epoch
            stays = older
        else:
            stays = await self.wire.mute(plane, 1)
            await older.hung_up()
            assert await plane.connected(older.agent_id, above=epoch.revision) > epoch
        await plane.order(stays.agent_id, self.wire.jobs.greets)
        assert await stays.ordered(1) == 1

    async def test_agent_that_says_nothing_is_given_up(self, plane: Plane) -> None:
        agent = await self.wire.mute(plane, 1)

        plane.clock.skip(_SILENCE_S)

        await agent.hung_up()
        assert await plane.ended(agent.agent_id) is LinkEnd.SILENT

    async def test_command_whose_link_is_lost_goes_on_or_has_no_known_outcome(
        self, plane: Plane, tmp_path: Path
    ) -> None:
        agent = await self.wire.agent(plane, 1)
        epoch = await plane.connected(agent.agent_id)

        if self.wire.loss is LinkLoss.GOES_ON:
            gate = tmp_path / "gate"
            line = f"printf before; while ! test -e {gate}; do sleep 0.05; done; printf after"
            job = Job("shell", {"command": line}, stdout=b"beforeafter")
            command_id = await plane.order(agent.agent_id, job)
            await plane.until_stored(command_id, b"before")
            await plane.cut(agent.agent_id)
            await plane.connected(agent.agent_id, above=epoch.revision)
            gate.touch()
            await self._answered(plane, command_id, job)
            return
        command_id = await plane.order(agent.agent_id, self.wire.jobs.lasts)
        await agent.begun(plane, command_id)
        await agent.close()
        result = await plane.report(reports.Result, command_id)
        assert (result.end, result.reason) == (CommandState.OUTCOME_UNKNOWN, "link_lost")
        await plane.ended(agent.agent_id)
        await self.wire.agent(plane, 1)
        again = await plane.order(agent.agent_id, self.wire.jobs.greets)
        await self._answered(plane, again, self.wire.jobs.greets)

    async def test_agents_leave_a_gateway_that_drains(self, plane: Plane) -> None:
        agents = [await self.wire.mute(plane, number) for number in (1, 2)]

        plane.gateway.ctx.stopping.set()

        await asyncio.gather(*(agent.hung_up() for agent in agents))
        assert {await plane.ended(agent.agent_id) for agent in agents} == {LinkEnd.DRAINING}

    # ---- Steps

    async def _answered(self, plane: Plane, command_id: str, job: Job) -> None:
        """It succeeded, and every byte of its answer is what the agent's command gave."""
        result = await plane.report(reports.Result, command_id)
        assert (result.end, result.error) == (CommandState.SUCCEEDED, "")
        assert (json.loads(result.result) if result.result else None) == job.result
        assert result.stdout.length == len(job.stdout)
        if job.stdout:
            assert result.stdout.sha256 == hashlib.sha256(job.stdout).digest()
            assert await plane.stored(command_id) == job.stdout
