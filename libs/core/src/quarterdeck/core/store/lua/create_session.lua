-- A session begun. request = {id, tenant, owner, at}
local id, tenant, owner, at = request[1], request[2], request[3], request[4]
local key = key_session(id)
if redis.call('EXISTS', key) == 1 then return answer() end
write_hash(key, {tenant = tenant, owner = owner, created_at_ms = at, updated_at_ms = at, version = 1})
redis.call('EXPIRE', key, SESSION_TTL_S)
emit({type = 'session.created', tenant = tenant, aggregate_id = id, version = 1, at_ms = at,
      payload = {session_id = id, owner = owner}})
return answer()
