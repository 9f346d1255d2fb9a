"""What the suite must notice: one named change per promise of reliability, and the tests that must turn red for it.

Each change takes one safety away: an fsync, an order of two steps, a check. The text that it replaces has to occur
exactly once in its file; a test of every day says so when the code has moved on. Run by `mutation_check.py`.
"""

from typing import Final, NamedTuple


class Edit(NamedTuple):
    path: str
    """From the root of the repository."""
    old: str
    new: str


class Mutation(NamedTuple):
    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    """Where a test has to fail; pytest's node ids or files."""


_CORE: Final = "libs/core/src/quarterdeck/core"
_GATEWAY: Final = "libs/gateway/src/quarterdeck/gateway"
_AGENT: Final = "libs/agent/src/quarterdeck/agent"
_AGGREGATOR: Final = "services/aggregator/src/quarterdeck/aggregator"
_DISPATCHER: Final = "services/dispatcher/src/quarterdeck/dispatcher"
_MACHINES: Final = "libs/machines/src/quarterdeck/machines"

_GATEWAY_TESTS: Final = "tests/integration/gateway"
_ACKNOWLEDGEMENTS: Final = f"{_GATEWAY_TESTS}/test_acknowledgements.py"
_STATE_MACHINE: Final = "tests/properties/test_transitions.py"
_OUTBOX_MACHINE: Final = "tests/properties/test_outbox.py"
_WRITE_ORDER: Final = "tests/integration/dispatcher/test_write_order.py"

_JOURNAL: Final = "tests/unit/agent/test_journal.py"
_DURABILITY: Final = "tests/unit/agent/test_durability.py"

_BAD_MONITORS: Final = "tests/integration/machines/test_qmp_bad_monitors.py"

MUTATIONS: Final = (
    # ---- The agent's journal
    Mutation(
        "a command starts before the intent to start it is on disk",
        (
            Edit(
                f"{_AGENT}/executor/commands.py",
                "        self._journal.starting(entry)\n        await self._journal.until_durable()\n",
                "        self._journal.starting(entry)\n",
            ),
        ),
        (_DURABILITY,),
    ),
    Mutation(
        "the journal is never synced",
        (
            Edit(
                f"{_AGENT}/executor/journal/log_file.py",
                "        self._sync(descriptor)\n\n    def _end(",
                "\n    def _end(",
            ),
        ),
        (_DURABILITY,),
    ),
    Mutation(
        "a cancel is acknowledged before it is on disk",
        (
            Edit(
                f"{_AGENT}/executor/commands.py",
                "self._reporter.once_durable(\n"
                "                    partial(self._reporter.terminate_acknowledged, key, never_started=unheard_of)\n"
                "                )",
                "self._reporter.terminate_acknowledged(key, never_started=unheard_of)",
            ),
        ),
        (_DURABILITY,),
    ),
    Mutation(
        "a cancel that overtook its order is forgotten",
        (
            Edit(
                f"{_AGENT}/executor/commands.py",
                "        if self._journal.cancelled(key):\n",
                "        if False:\n",
            ),
        ),
        (_JOURNAL,),
    ),
    Mutation(
        "a duplicate order starts again",
        (Edit(f"{_AGENT}/executor/commands.py", "        if known is not None:\n", "        if False:\n"),),
        (_JOURNAL,),
    ),
    Mutation(
        "the agent obeys orders of an older link",
        (
            Edit(
                f"{_AGENT}/executor/service.py",
                "if Epoch(order.epoch.incarnation, order.epoch.revision) < self._journal.highest_epoch:",
                "if False:",
            ),
        ),
        (_JOURNAL,),
    ),
    # ---- Fencing by epoch
    Mutation(
        "the gateway takes orders for a link that is gone",
        (
            Edit(
                f"{_GATEWAY}/native.py",
                "order.epoch != self.epoch",
                "False",
            ),
        ),
        (f"{_GATEWAY_TESTS}/test_orders_and_reports.py::test_order_of_another_epoch_is_gone",),
    ),
    # ---- Dedupe
    Mutation(
        "events are published without a message id",
        (Edit(f"{_CORE}/outbox.py", "msg_id=record.event_id)", "msg_id=None)"),),
        (_OUTBOX_MACHINE,),
    ),
    Mutation(
        "a report that comes late changes the state",
        (Edit(f"{_CORE}/store/lua/prelude.lua", "if RANK[to] <= RANK[c.state] then return 0 end", ""),),
        (_STATE_MACHINE,),
    ),
    Mutation(
        "a redelivered chunk creates its children again",
        (
            Edit(
                f"{_CORE}/store/lua/expand.lua",
                "  elseif c then\n    note(6, id, c)",
                "  elseif false then\n    note(6, id, c)",
            ),
        ),
        (_STATE_MACHINE,),
    ),
    Mutation(
        "any agent may report for any command",
        (Edit(f"{_CORE}/store/lua/prelude.lua", "return by == '' or by ==", "return true or by =="),),
        (_STATE_MACHINE,),
    ),
    # ---- Acknowledged after it was written
    Mutation(
        "output is acknowledged before the bus has it",
        (
            Edit(
                f"{_GATEWAY}/link_output.py",
                "self._answer(writer, stored=False)",
                "self._answer(writer, stored=True)",
            ),
            Edit(
                f"{_GATEWAY}/link_output.py",
                "self._ports.ack(writer.key, writer.stored_offset, writer.ask_again)",
                "self._ports.ack(writer.key, writer.end_offset, writer.ask_again)",
            ),
        ),
        (_ACKNOWLEDGEMENTS,),
    ),
    Mutation(
        "reports are acknowledged before the bus has them",
        (
            Edit(
                f"{_GATEWAY}/reports_out.py",
                "            await self._store(messages)\n",
                "            for queue in queues.values():\n                _give_receipts(queue)\n"
                "            await self._store(messages)\n",
            ),
        ),
        (_ACKNOWLEDGEMENTS,),
    ),
    Mutation(
        "the aggregator acknowledges reports before it applied them",
        (
            Edit(
                f"{_AGGREGATOR}/intake.py",
                "from quarterdeck.core.bus import Bus,",
                "from quarterdeck.core.bus import AckPolicy, Bus,",
            ),
            Edit(
                f"{_AGGREGATOR}/intake.py", "max_batch=300", "max_batch=300, policy=AckPolicy.BEFORE_HANDLER"
            ),
        ),
        (_WRITE_ORDER,),
    ),
    Mutation(
        "a consumer acknowledges whatever its handler says",
        (
            Edit(
                f"{_CORE}/bus/consume.py",
                "        if self._shape.policy is AckPolicy.BEFORE_HANDLER:\n            self._acks.ack(messages)\n",
                "        self._acks.ack(messages)\n",
            ),
        ),
        ("tests/integration/bus/test_consume.py::test_retry_delivers_all_again",),
    ),
    Mutation(
        "the api answers before the bus has the event",
        (
            Edit(
                f"{_CORE}/outbox.py",
                "            await self._confirm(entries, subject_id)\n",
                "            self._later = asyncio.ensure_future(self._confirm(entries, subject_id))\n",
            ),
            Edit(
                f"{_CORE}/outbox.py",
                "from collections.abc import Sequence",
                "import asyncio\nfrom collections.abc import Sequence",
            ),
        ),
        (_OUTBOX_MACHINE,),
    ),
    # ---- Written before it is done
    Mutation(
        "an order is handed over before `sent` is written",
        (
            Edit(
                f"{_DISPATCHER}/intake.py",
                "        outcomes, entries = await self._write(envelope, items, decisions, now_ms)\n",
                "        early = [\n"
                "            Handover(item.command_id, item.agent_id, item.guest, 1, link)\n"
                "            for item, link in zip(items, links, strict=True)\n"
                "            if isinstance(link, Found)\n"
                "        ]\n"
                "        await self._delivery.hand_over(envelope, early, handover)\n"
                "        outcomes, entries = await self._write(envelope, items, decisions, now_ms)\n",
            ),
        ),
        (_WRITE_ORDER,),
    ),
    Mutation(
        "an outbox entry is forgotten before it is published",
        (
            Edit(
                f"{_CORE}/outbox.py",
                "            await self._confirm(entries, subject_id)\n",
                "            await self._store.forget(list(entries))\n"
                "            await self._confirm(entries, subject_id)\n",
            ),
        ),
        (_OUTBOX_MACHINE,),
    ),
    Mutation(
        "the sweep forgets before it publishes",
        (
            Edit(
                f"{_CORE}/outbox.py",
                '            await self._confirm(entries, "outbox")\n',
                '            await self._store.forget(entries)\n            await self._confirm(entries, "outbox")\n',
            ),
        ),
        (_OUTBOX_MACHINE,),
    ),
    # ---- Digests
    Mutation(
        "a digest is believed, not compared",
        (
            Edit(
                f"{_AGGREGATOR}/handlers.py",
                "return stream.stored_sha256 == stream.sha256",
                "return True",
            ),
        ),
        ("tests/unit/aggregator/test_handlers.py",),
    ),
    Mutation(
        "a log that two gateways wrote is not read again",
        (
            Edit(
                f"{_AGGREGATOR}/digests.py",
                "return replayed.length == stream.length and replayed.digest == stream.sha256, ()",
                "return True, ()",
            ),
        ),
        (_WRITE_ORDER,),
    ),
    # ---- Guests
    Mutation(
        "QEMU's answer to an earlier client of a guest is taken for ours",
        (
            Edit(
                f"{_MACHINES}/qmp/client.py",
                'f"{self._connection_id}-{super()._get_exec_id()}"',
                "super()._get_exec_id()",
            ),
        ),
        (_BAD_MONITORS,),
    ),
    Mutation(
        "a guest is told twice what it may have done",
        (
            Edit(
                f"{_MACHINES}/qmp/qmp.py",
                "            if not command.startswith(_READS):\n                raise\n",
                "            pass\n",
            ),
        ),
        (_BAD_MONITORS,),
    ),
    Mutation(
        "a guest whose QEMU stands still fills our memory with requests",
        (
            Edit(
                f"{_MACHINES}/qmp/socket_monitor.py",
                "if self._client.unanswered >= MAX_UNANSWERED:",
                "if False:",
            ),
        ),
        (_BAD_MONITORS,),
    ),
    Mutation(
        "the late answer of a guest's program goes to whoever asks next",
        (
            Edit(
                f"{_MACHINES}/virtio_serial/json_lines.py",
                " and answer.get(REQUEST_ID) == request_id",
                "",
            ),
        ),
        ("tests/integration/machines/test_virtio_serial.py",),
    ),
    Mutation(
        "a guest's agent is believed to answer whoever asked last",
        (
            Edit(
                f"{_MACHINES}/qga/socket_channel.py",
                "while (reply := await self._next_reply()).id != request_id:",
                "while (reply := await self._next_reply()).id is None:",
            ),
        ),
        ("tests/integration/machines/test_qga_bad_agents.py",),
    ),
    Mutation(
        "a command in a guest is called gone when it was told to go",
        (
            Edit(
                f"{_MACHINES}/qga/process_tree.py",
                "if await self._gone_by(clock() + grace_s):",
                "if grace_s >= 0:",
            ),
        ),
        ("tests/integration/machines/test_qga_stopping.py",),
    ),
    Mutation(
        "the entities of a guest's XML are expanded",
        (
            Edit(
                f"{_MACHINES}/discovery/domain_xml.py",
                "    parser.StartDoctypeDeclHandler = _refuse_document_type\n",
                "",
            ),
        ),
        ("tests/unit/machines/discovery/test_domain_xml.py",),
    ),
)
