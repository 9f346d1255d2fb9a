-- As restore_commands, for batches. request = {token, {{id, tenant, total, fields, idempotency}, …},
-- {{id, version, state, at, stop}, …}}: those created, and how far they came. Extra answer: unknown ids.
for _, item in ipairs(request[2]) do
  local id, tenant, fields = item[1], item[2], item[4]
  if redis.call('EXISTS', key_batch(id)) == 0 then
    fields.state, fields.version, fields.terminate_requested = 'PENDING', 1, 0
    write_hash(key_batch(id), fields)
    redis.call('DEL', key_counts(id))
    redis.call('HSET', key_counts(id), 'pending', item[3])
    redis.call('HSET', key_unborn(), id, item[3])
    redis.call('ZADD', key_index_batches(tenant), 0, id)
  end
  remember(item[5], id)
end

local unknown = {}
for _, item in ipairs(request[3]) do
  local id, version, state, at = item[1], item[2], item[3], item[4]
  local key = key_batch(id)
  local v = redis.call('HMGET', key, 'state', 'version', 'tenant')
  if not v[1] then
    unknown[#unknown + 1] = id
  else
    if item[5] then redis.call('HSET', key, 'terminate_requested', 1) end
    if BATCH_RANK[state] > BATCH_RANK[v[1]] then redis.call('HSET', key, 'state', state) end
    if BATCH_TERMINAL[state] and not BATCH_TERMINAL[v[1]] then
      redis.call('HSET', key, 'completed_at_ms', at)
      redis.call('HDEL', key_unborn(), id)
      expire_batch_in(left_since(at, BATCH_TTL_S * 1000), id, v[3])
    end
    if version > tonumber(v[2]) then redis.call('HSET', key, 'version', version, 'updated_at_ms', at) end
  end
end
return answer(unknown)
