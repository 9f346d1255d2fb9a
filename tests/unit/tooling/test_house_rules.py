"""Every house rule fails on a bad sample and passes on a good one."""

from types import ModuleType

import pytest

from tools.linters import environment_reads, file_length, key_literals, log_events, subject_literals
from tools.linters.__main__ import RULES
from tools.linters.source import SourceFile

SERVICE = "services/api/src/quarterdeck/api/handlers.py"
SUBJECTS = "libs/contracts/src/quarterdeck/contracts/subjects.py"
STREAMS = "libs/contracts/src/quarterdeck/contracts/streams.py"
KEYS = "libs/core/src/quarterdeck/core/store/keys.py"
MAIN = "services/api/src/quarterdeck/api/main.py"
TEST = "tests/unit/api/test_handlers.py"

BAD: list[tuple[ModuleType, str, str]] = [
    (subject_literals, SERVICE, 'subject = "qd.event.>"'),
    (subject_literals, SERVICE, 'subject = f"qd.output.{tenant}.{batch}"'),
    (subject_literals, SERVICE, 'stream = "QD_FEED"'),
    (key_literals, SERVICE, 'key = "qd:{s07}:command"'),
    (key_literals, SERVICE, 'key = f"command:{{s{shard:02d}}}:{command_id}"'),
    (key_literals, SERVICE, 'key = "qd:outbox"'),
    (environment_reads, SERVICE, "import os\nhome = os.environ['HOME']"),
    (environment_reads, SERVICE, "import os\nhome = os.getenv('HOME')"),
    (environment_reads, SERVICE, "from os import environ"),
    (file_length, SERVICE, "x = 1\n" * 401),
    (file_length, TEST, "x = 1\n" * 401),
    (log_events, SERVICE, 'log.info(f"sent {command_id}")'),
    (log_events, SERVICE, 'self._log.warning("Command was sent")'),
    (log_events, SERVICE, "log.error(event_name)"),
]

GOOD: list[tuple[ModuleType, str, str]] = [
    (subject_literals, SERVICE, "subject = subjects.event(tenant, batch_id, command_id, 'command', 'sent')"),
    (subject_literals, SERVICE, '"""Reads `qd.event.>`."""\n"qd.event.> in a bare string"'),
    (subject_literals, SERVICE, 'prefix = "QD_API_"'),
    (subject_literals, SUBJECTS, 'ALL = "qd.event.>"'),
    (subject_literals, STREAMS, 'FEED = "QD_FEED"'),
    (subject_literals, TEST, 'assert subject == "qd.event.t.b.c.command.sent"'),
    (key_literals, SERVICE, 'url = "/api/command/{script_id}"'),
    (key_literals, KEYS, 'key = f"qd:{{s{shard:02d}}}"'),
    (environment_reads, MAIN, "import os\nsettings = load(os.environ)"),
    (environment_reads, SERVICE, "import os\npid = os.getpid()"),
    (file_length, SERVICE, "x = 1\n" * 400),
    (log_events, SERVICE, 'log.info("api.command_taken_in", command_id=command_id)'),
]


@pytest.mark.parametrize(("rule", "path", "text"), BAD)
def test_rule_finds_the_bad_sample(rule: ModuleType, path: str, text: str) -> None:
    """A rule that never fires is no rule."""
    findings = list(rule.check(SourceFile(path, text)))

    assert findings
    assert {finding.rule for finding in findings} == {rule.NAME}
    assert findings[0].path == path


@pytest.mark.parametrize(("rule", "path", "text"), GOOD)
def test_rule_passes_the_good_sample(rule: ModuleType, path: str, text: str) -> None:
    """A rule that fires on good code gets switched off."""
    assert list(rule.check(SourceFile(path, text))) == []


def test_every_rule_has_samples_of_both_kinds() -> None:
    """A new rule comes with its samples."""
    assert {rule for rule, _, _ in BAD} == {rule for rule, _, _ in GOOD} == set(RULES)
