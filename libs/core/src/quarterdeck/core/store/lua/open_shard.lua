-- Ends the rebuild of a shard: from here on it is worked with.
-- request = {token, run, floor, horizon, ids of batches that had not ended, messages, milliseconds to look for latecomers}
floor = request[3]
for _, id in ipairs(request[5]) do
  local tenant = redis.call('HGET', key_batch(id), 'tenant')
  if tenant then
    local _, total, ended = counts_of(id)
    -- Its last child's end was told, its own was not.
    if ended == total then touch(id, tenant) end
  end
end
settle_batches()
keep_messages(request[6])
redis.call('SET', key_run(), request[2])
redis.call('SET', key_horizon(), request[4])
redis.call('SET', key_floor(), floor)
if request[7] > 0 then redis.call('SET', key_latecomers(), 1, 'PX', request[7]) end
redis.call('DEL', key_lease())
redis.call('SET', key_incarnation(), floor)
return answer()
