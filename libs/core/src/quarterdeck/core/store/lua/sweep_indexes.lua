-- Drops index members of commands and batches whose hashes have expired. request = {limit}. Extra answer: {how many}.
local members = redis.call('ZRANGEBYSCORE', key_expiry(), '-inf', now, 'LIMIT', 0, request[1])
for _, member in ipairs(members) do
  local tenant, agent_id, state, id = string.match(member, '^([^/]*)/([^/]*)/([^/]*)/(.*)$')
  if agent_id == '' then
    redis.call('ZREM', key_index_batches(tenant), id)
  else
    redis.call('ZREM', key_index_commands(tenant), id)
    redis.call('ZREM', key_index_agent(tenant, agent_id), id)
    redis.call('ZREM', key_index_state(tenant, state), id)
  end
  redis.call('ZREM', key_expiry(), member)
end
return answer({#members})
