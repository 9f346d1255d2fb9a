-- A chunk of a batch's children: created where absent and moved at once.
-- request = {batch_id, tenant, at, fields that all children share, children}
local batch_id, tenant, at, shared = request[1], request[2], request[3], request[4]
if redis.call('EXISTS', key_batch(batch_id)) == 0 then
  for _, child in ipairs(request[5]) do note(2, child[1]) end
  return answer()
end
local stop, born = stopping(batch_id), 0
for _, child in ipairs(request[5]) do
  local id, agent_id, guest = child[1], child[2], some(child[3])
  local c = read_command(id)
  local to = stop and 'terminating' or child[4]
  if c and c.state == 'pending' and c.attempt == 1 and to ~= 'pending' then
    -- Made by an earlier delivery that found no link, or by a rebuild while its chunk was still queued.
    local verdict = move(id, c, 1, to, at, stop and {} or child[5], child[6])
    note(verdict == 1 and 5 or 6, id, c)
  elseif c then
    note(6, id, c)
  else
    local fields = {agent_id = agent_id, guest = guest, state = 'pending', attempt = 1, version = 1,
                    updated_at_ms = now}
    for name, value in pairs(shared) do fields[name] = value end
    write_hash(key_command(id), fields)
    born = born + 1
    redis.call('ZADD', key_index_commands(tenant), 0, id)
    redis.call('ZADD', key_index_agent(tenant, agent_id), 0, id)
    c = {tenant = tenant, batch_id = batch_id, agent_id = agent_id, guest = guest, state = 'pending', attempt = 1,
         version = 1, deadline = shared.deadline_at_ms, run_limit = shared.run_limit_ms,
         deliver_by = shared.deliver_by_ms, overtime = shared.overtime_ms,
         max_attempts = shared.max_attempts, backoff = shared.backoff_ms, command_type = shared.command_type,
         created_at = shared.created_at_ms, user_id = shared.user_id}
    if to == 'pending' then
      redis.call('ZADD', key_index_state(tenant, 'pending'), 0, id)
      redis.call('ZADD', key_attention(), now + child[6], id)
      note(5, id, c)
    else
      local verdict = move(id, c, 1, to, at, stop and {} or child[5], child[6])
      note(verdict == 1 and 5 or verdict, id, c)
    end
  end
end
if born > 0 then give_birth(batch_id, born) end
settle_batches()
return answer()
