-- How commands and batches of this shard stand, for what depends on them; those that have not ended will wake it.
-- request = {tenant, ids, messages for the end of each}. Extra answer: a state per id, empty where there is none.
local tenant, states = request[1], {}
for i, id in ipairs(request[2]) do
  local key, ends, ttl_s = key_command(id), TERMINAL, COMMAND_TTL_S
  if redis.call('EXISTS', key) == 0 then key, ends, ttl_s = key_batch(id), BATCH_TERMINAL, BATCH_TTL_S end
  local v = redis.call('HMGET', key, 'tenant', 'state')
  states[i] = v[1] == tenant and v[2] or ''
  if ends[states[i]] then
    -- What somebody still waits with is not forgotten before they looked for the last time.
    if redis.call('TTL', key) < ttl_s then redis.call('EXPIRE', key, ttl_s) end
    if key == key_batch(id) then redis.call('EXPIRE', key_counts(id), ttl_s) end
  elseif states[i] ~= '' then
    redis.call('HSET', key, 'awaited', 1)
    for _, message in ipairs(request[3]) do
      local once = id .. '-' .. message[2]  -- one message per end, whatever else it waits for
      redis.call('HSET', key_at_end(id), message[2], cmsgpack.pack({message[1], once, message[3]}))
    end
  end
end
return answer(states)
