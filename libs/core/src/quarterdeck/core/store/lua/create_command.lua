-- One command taken in. request = {id, tenant, agent_id, guest, at, fields, payload, messages, idempotency, end move}
local id, tenant, agent_id, guest, at = request[1], request[2], request[3], request[4], request[5]
local known = claim(request[9], id)
if known then return answer({known}) end
if redis.call('EXISTS', key_command(id)) == 1 then return answer({id}) end

take_in(id, tenant, agent_id, at, request[6], request[7])
local ending = request[10]
if ending then
  local c = read_command(id)
  -- An answer from before is the one success of a command that was never sent.
  local step = ending[3] == 'succeeded' and enter(id, c, ending[3], ending[4], ending[5], 0)
  note(step or move(id, c, 1, ending[3], ending[4], ending[5], 0), id, c)
else
  keep_messages(request[8])
  note(5, id)
end
return answer()
