-- As restore_commands, for sessions and their rounds; to come after the commands.
-- request = {token, {{id, tenant, owner, created_at, version, at, {{round, command_id}, …}}, …}}
for _, item in ipairs(request[2]) do
  local id, tenant, owner, created_at, version, at = item[1], item[2], item[3], item[4], item[5], item[6]
  local key, rounds = key_session(id), key_rounds(id)
  if redis.call('EXISTS', key) == 0 then
    write_hash(key, {tenant = tenant, owner = owner, created_at_ms = created_at, updated_at_ms = created_at, version = 1})
  end
  for _, round in ipairs(item[7]) do redis.call('ZADD', rounds, round[1], round[2]) end
  if version > tonumber(redis.call('HGET', key, 'version')) then
    redis.call('HSET', key, 'version', version, 'updated_at_ms', at)
  end
  local newest = redis.call('ZREVRANGE', rounds, 0, 0)[1]
  local c = newest and read_command(newest)
  if c and not TERMINAL[c.state] then
    redis.call('PERSIST', key)
    redis.call('PERSIST', rounds)
  else
    local left_ms = math.max(at + SESSION_TTL_S * 1000 - now, 60000)
    redis.call('PEXPIRE', key, left_ms)
    redis.call('PEXPIRE', rounds, left_ms)
  end
end
return answer()
