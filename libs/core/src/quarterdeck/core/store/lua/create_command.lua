-- One command taken in. request = {id, tenant, agent_id, guest, at, fields, payload, messages, idempotency, end move}
local id, tenant, agent_id, guest, at = request[1], request[2], request[3], request[4], request[5]
local known = claim(request[9], id)
if known then return answer({known}) end
if redis.call('EXISTS', key_command(id)) == 1 then return answer({id}) end

local fields = request[6]
fields.state, fields.attempt, fields.version, fields.updated_at_ms = 'pending', 1, 1, at
write_hash(key_command(id), fields)
redis.call('ZADD', key_index_commands(tenant), 0, id)
redis.call('ZADD', key_index_agent(tenant, agent_id), 0, id)
redis.call('ZADD', key_index_state(tenant, 'pending'), 0, id)
redis.call('ZADD', key_attention(), math.min(fields.deadline_at_ms, now + LOOK_MS.pending), id)
emit({type = 'command.accepted', tenant = tenant, aggregate_id = id, version = 1, at_ms = at, command_id = id,
      payload = request[7]})
local ending = request[10]
if ending then
  local c = read_command(id)
  note(move(id, c, 1, ending[3], ending[4], ending[5], 0), id, c)
else
  keep_messages(request[8])
  note(5, id)
end
return answer()
