"""Messages of a deepflow link as they may be logged: which request, what kind, how much; nothing that was said.

Pure. Called by the conversation at level debug only. What may hold secrets (content, errmsg, values of parameters) is
given by its size. Source: S1-23, S1-24.
"""

from quarterdeck.gateway.foreign.deepflow_answer import as_text
from quarterdeck.wire.deepflow import agent_pb2 as df


def traced_request(request: df.RemoteExecRequest) -> dict[str, object]:
    """JSON-able."""
    return {
        "request_id": request.request_id,
        "exec_type": df.ExecutionType.Name(request.exec_type) if request.HasField("exec_type") else None,
        "command_ident": as_text(request.command_ident),
        "params": [as_text(param.key) for param in request.params],
        "linux_ns_pid": request.linux_ns_pid,
        "size_bytes": request.ByteSize(),
    }


def traced_response(response: df.RemoteExecResponse) -> dict[str, object]:
    """JSON-able."""
    traced: dict[str, object] = {
        "request_id": response.request_id,
        "errmsg_chars": len(response.errmsg),
        "commands": len(response.commands),
        "linux_namespaces": len(response.linux_namespaces),
        "size_bytes": response.ByteSize(),
    }
    if response.HasField("command_result"):
        result = response.command_result
        traced["command_result"] = {
            "errno": result.errno,
            "content_bytes": len(result.content),
            "md5": as_text(result.md5)[:32],
            "total_len": result.total_len,
            "pkt_count": result.pkt_count,
        }
    return traced
