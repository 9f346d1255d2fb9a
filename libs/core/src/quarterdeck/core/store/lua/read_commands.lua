-- Many commands of this shard, in the order asked. request = {ids, field names}. Extra answer: rows, false where unknown.
local rows = {}
for i, id in ipairs(request[1]) do
  local row = redis.call('HMGET', key_command(id), unpack(request[2]))
  rows[i] = row[1] and row or false
end
return answer(rows)
