-- Asks for the end of a batch. request = {batch_id, tenant, messages}. Extra answer: {state} or {} when unknown.
local batch_id = request[1]
local v = redis.call('HMGET', key_batch(batch_id), 'tenant', 'state', 'terminate_requested', 'version')
if v[1] ~= request[2] then return answer() end
if BATCH_TERMINAL[v[2]] or v[3] == '1' then return answer({v[2]}) end

local version = next_version(tonumber(v[4]))
redis.call('HSET', key_batch(batch_id), 'terminate_requested', 1, 'state', 'TERMINATING', 'version', version,
           'updated_at_ms', now)
emit({type = 'batch.terminating', tenant = v[1], aggregate_id = batch_id, version = version, at_ms = now,
      batch_id = batch_id, payload = {state = 'TERMINATING'}})
keep_messages(request[3])
return answer({'TERMINATING'})
