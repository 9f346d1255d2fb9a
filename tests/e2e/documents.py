"""The HTTP examples of the source documents, copied word for word, in the order in which they can be replayed.

Of the five, s1 names an HTTP request without showing one, s2 has no HTTP, and s3 shows Python calls, whose arguments
are the bodies here. What made up words stand for is said beside each; how answers are compared is in examples.py.
"""

from tests.e2e.examples import Example

_COMMAND_ID = {"550e8400-e29b-41d4-a716-446655440000": "command"}

EXAMPLES = (
    Example(
        section="s0, HTTP API 使用, 1. 下发命令",
        scene="client_001_connects",
        request="""\
POST /api/command
Content-Type: application/json

{
  "client_id": "client-001",
  "command_type": "restart",
  "payload": {
    "delay_seconds": 5
  },
  "timeout": 30
}
""",
        answer="""\
{
  "success": true,
  "command_id": "550e8400-e29b-41d4-a716-446655440000",
  "message": "Command sent successfully"
}
""",
        status=202,
        gives={"command": "command_id"},
    ),
    Example(
        section="s0, HTTP API 使用, 2. 查询命令状态",
        request="GET /api/command/550e8400-e29b-41d4-a716-446655440000",
        stands_for=_COMMAND_ID,
        answer="""\
{
  "success": true,
  "command": {
    "command_id": "550e8400-e29b-41d4-a716-446655440000",
    "client_id": "client-001",
    "command_type": "restart",
    "payload": {"delay_seconds": 5},
    "status": "completed",
    "result": {"success": true, "message": "Restarted"},
    "created_at": "2024-01-01T12:00:00Z",
    "sent_at": "2024-01-01T12:00:00Z",
    "completed_at": "2024-01-01T12:00:05Z",
    "timeout": 30000000000
  }
}
""",
    ),
    Example(
        section="s0, HTTP API 使用, 3. 列出命令: 列出所有命令",
        scene="client_001_is_offline_and_has_update_config_pending",
        request="GET /api/commands",
        answer="""\
{
  "success": true,
  "total": 2,
  "commands": [
    {
      "command_id": "...",
      "client_id": "client-001",
      "command_type": "restart",
      "status": "completed",
      ...
    },
    {
      "command_id": "...",
      "client_id": "client-001",
      "command_type": "update_config",
      "status": "pending",
      ...
    }
  ]
}
""",
    ),
    Example(
        section="s0, HTTP API 使用, 3. 列出命令: 按客户端过滤",
        request="GET /api/commands?client_id=client-001",
        answer="",
        more='{"total": 2, "commands": [{"command_type": "restart"}, {"command_type": "update_config"}]}',
    ),
    Example(
        section="s0, HTTP API 使用, 3. 列出命令: 按状态过滤",
        request="GET /api/commands?status=completed",
        answer="",
        more='{"success": true, "total": 1, "commands": [{"command_type": "restart", "status": "completed"}]}',
    ),
    Example(
        section="s0, HTTP API 使用, 3. 列出命令: 组合过滤",
        request="GET /api/commands?client_id=client-001&status=pending",
        answer="",
        more='{"success": true, "total": 1, "commands": [{"command_type": "update_config", "status": "pending"}]}',
    ),
    Example(
        section="s0, 常见错误, 1. 客户端不在线",
        scene="client_001_is_given_up",
        request="""\
POST /api/command
Content-Type: application/json

{
  "client_id": "client-001",
  "command_type": "restart",
  "payload": {
    "delay_seconds": 5
  },
  "timeout": 30
}
""",
        answer="""\
{
  "error": "client not connected: client-001"
}
""",
        status=409,
        more='{"success": false}',
    ),
    Example(
        section="s0, 常见错误, 2. 命令超时",
        scene="client_001_is_too_slow",
        request="GET /api/command/550e8400-e29b-41d4-a716-446655440000",
        stands_for=_COMMAND_ID,
        answer="""\
{
  "command": {
    "status": "timeout",
    "error": "promise timeout"
  }
}
""",
    ),
    Example(
        section="s0, 常见错误, 3. 执行失败",
        scene="client_001_refuses_its_parameters",
        request="GET /api/command/550e8400-e29b-41d4-a716-446655440000",
        stands_for=_COMMAND_ID,
        answer="""\
{
  "command": {
    "status": "failed",
    "error": "invalid parameters: ..."
  }
}
""",
    ),
    Example(
        section="s3, 获取待处理命令: 无待处理命令",
        scene="a_session_exists",
        request="GET /api/sessions/{session_id}/pending-command",
        stands_for={"{session_id}": "session"},
        answer="",
        more='{"success": true, "command": {"command_id": null}}',
    ),
    Example(
        section="s3, 基本命令提交",
        request="""\
POST /api/sessions/{session_id}/commands

{
    "command_type": "CHARACTER_REQUEST",
    "payload": {
        "user_input": "创建一个勇敢的主角",
        "preferences": {"genre": "fantasy"},
    },
    "idempotency_key": "cmd-550e8400-e29b-41d4-a716-446655440000"
}
""",
        stands_for={"{session_id}": "session"},
        answer="",
        status=202,
        more="""\
{
    "success": true,
    "command": {
        "command_id": "550e8400-e29b-41d4-a716-446655440000",
        "command_type": "CHARACTER_REQUEST",
        "payload": {
            "user_input": "创建一个勇敢的主角",
            "preferences": {"genre": "fantasy"},
        },
    }
}
""",
    ),
    Example(
        section="s3, 获取待处理命令",
        request="GET /api/sessions/{session_id}/pending-command",
        stands_for={"{session_id}": "session"},
        answer="",
        more="""\
{
    "success": true,
    "command": {"command_id": "550e8400-e29b-41d4-a716-446655440000", "command_type": "CHARACTER_REQUEST"}
}
""",
    ),
    Example(
        section="s4, 3.1, POST /api/batch_commands: 二选一, 两者都给",
        scene="vps_1_and_2_connect",
        request="""\
POST /api/batch_commands

{
  "command_content": "your_command_string", // 临时命令内容
  "script_id": "your_saved_script_id",   // 或者预存脚本ID (二选一)
  "working_directory": "/optional/path", // 可选
  "target_vps_ids": ["vps_id_1", "vps_id_2", ...], // 目标VPS的ID列表
  "execution_alias": "Optional friendly name for this batch task" // 可选，方便用户识别
}
""",
        answer="",
        status=422,
        more='{"code": "exactly_one_required"}',
    ),
    Example(
        section="s4, 3.1, POST /api/batch_commands",
        request="""\
POST /api/batch_commands

{
  "command_content": "your_command_string", // 临时命令内容
  "working_directory": "/optional/path", // 可选
  "target_vps_ids": ["vps_id_1", "vps_id_2", ...], // 目标VPS的ID列表
  "execution_alias": "Optional friendly name for this batch task" // 可选，方便用户识别
}
""",
        answer="""\
{
  "batch_command_id": "unique_batch_task_uuid",
  "status": "PENDING", // 或 "ACCEPTED"
  "message": "Batch command task accepted and is being processed."
}
""",
        status=202,
    ),
    Example(
        section="s4, 3.1, GET /api/batch_commands/{batch_command_id}",
        scene="vps_1_prints_and_goes_on",
        request="GET /api/batch_commands/{batch_command_id}",
        stands_for={"{batch_command_id}": "batch"},
        answer="""\
{
  "batch_command_id": "batch_uuid_123",
  "overall_status": "IN_PROGRESS", // PENDING, IN_PROGRESS, COMPLETED_WITH_ERRORS, COMPLETED_SUCCESSFULLY, TERMINATED
  "execution_alias": "My Batch Task",
  "tasks": [
    {
      "child_command_id": "child_uuid_abc",
      "vps_id": "vps_id_1",
      "vps_name": "Server A",
      "status": "EXECUTING", // PENDING, SENT_TO_AGENT, EXECUTING, SUCCESS, FAILURE, TERMINATED, AGENT_UNREACHABLE
      "exit_code": null,
      "output_stream_summary": ["line 1 from Server A...", "..."], // 最新或摘要输出
      "error_message": null,
      "created_at": "timestamp",
      "updated_at": "timestamp"
    }
    // ... 其他 VPS 的任务状态
  ]
}
""",
        gives={"child": "tasks.0.child_command_id"},
    ),
    Example(
        section="s4, 3.1, POST …/tasks/{child_command_id}/terminate: 终止批量任务中的某个特定子任务",
        request="POST /api/batch_commands/{batch_command_id}/tasks/{child_command_id}/terminate",
        stands_for={"{batch_command_id}": "batch", "{child_command_id}": "child"},
        answer="",
        status=202,
        more='{"batch_command_id": "batch_uuid_123", "child_command_id": "child_uuid_abc"}',
    ),
    Example(
        section="s4, 6.3 and 6.5: one task was stopped, so the batch has errors",
        request="GET /api/batch_commands/{batch_command_id}",
        stands_for={"{batch_command_id}": "batch"},
        answer="",
        more='{"overall_status": "COMPLETED_WITH_ERRORS", "tasks": [{"status": "TERMINATED"}]}',
    ),
    Example(
        section="s4, 3.1, POST …/terminate: 终止整个批量任务",
        scene="vps_1_prints_and_goes_on",
        request="POST /api/batch_commands/{batch_command_id}/terminate",
        stands_for={"{batch_command_id}": "batch"},
        answer="",
        status=202,
        more='{"batch_command_id": "batch_uuid_123"}',
    ),
    Example(
        section="s4, 6.5: the whole batch was stopped",
        request="GET /api/batch_commands/{batch_command_id}",
        stands_for={"{batch_command_id}": "batch"},
        answer="",
        more='{"overall_status": "TERMINATED", "tasks": [{"status": "TERMINATED"}]}',
    ),
)
