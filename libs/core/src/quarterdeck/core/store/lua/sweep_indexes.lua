-- Forgets commands and batches whose time is over, and their index members. request = {limit}. Extra answer: {how many}.

-- What ended long ago may be kept longer than it first was: a child by its batch, and whatever somebody still looks at.
-- Negative: it is gone.
local function left_ms(agent_id, id, batch_id)
  local left = redis.call('PTTL', (agent_id == '' or batch_id) and key_batch(batch_id or id) or key_command(id))
  return left == -1 and BATCH_TTL_S * 1000 or left  -- the batch runs
end

local forgotten = 0
local members = redis.call('ZRANGEBYSCORE', key_expiry(), '-inf', now, 'LIMIT', 0, request[1])
for _, member in ipairs(members) do
  local tenant, agent_id, state, id = string.match(member, '^([^/]*)/([^/]*)/([^/]*)/(.*)$')
  local batch_id = agent_id ~= '' and some(redis.call('HGET', key_command(id), 'batch_id'))
  local left = left_ms(agent_id, id, batch_id)
  if left > 0 then
    redis.call('ZADD', key_expiry(), now + left, member)
    if batch_id then redis.call('PEXPIRE', key_command(id), left + BATCH_TTL_S * 1000) end
  else
    if agent_id == '' then
      redis.call('ZREM', key_index_batches(tenant), id)
    else
      redis.call('DEL', key_command(id))
      redis.call('ZREM', key_index_commands(tenant), id)
      redis.call('ZREM', key_index_agent(tenant, agent_id), id)
      redis.call('ZREM', key_index_state(tenant, state), id)
    end
    redis.call('ZREM', key_expiry(), member)
    forgotten = forgotten + 1
  end
end
return answer({forgotten})
