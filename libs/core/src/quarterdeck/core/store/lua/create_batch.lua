-- A batch taken in; its children come with their chunks. request = {id, tenant, at, total, fields, payloads, messages, idempotency}
local id, tenant, at = request[1], request[2], request[3]
local known = claim(request[8], id)
if known then return answer({known}) end
if redis.call('EXISTS', key_batch(id)) == 1 then return answer({id}) end

local fields = request[5]
fields.state, fields.version, fields.terminate_requested, fields.updated_at_ms = 'PENDING', 1, 0, at
write_hash(key_batch(id), fields)
redis.call('HSET', key_counts(id), 'pending', request[4])
redis.call('HSET', key_unborn(), id, request[4])
redis.call('ZADD', key_index_batches(tenant), 0, id)
for part, payload in ipairs(request[6]) do
  emit({type = 'batch.created', tenant = tenant, aggregate_id = id, version = 1, part = part - 1, at_ms = at,
        batch_id = id, payload = payload})
end
keep_messages(request[7])
return answer()
