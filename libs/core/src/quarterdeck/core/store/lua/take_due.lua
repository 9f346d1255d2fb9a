-- Commands of this shard whose time has come. Those past their deadline end here; the others are leased to the caller.
-- request = {limit, lease_ms, hold}. Extra answer: the due commands, as shapes.Due.
-- hold: those that may have run are leased, too, and marked: the caller ends them when it knows that nobody knows more.
local due = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key_attention(), '-inf', now, 'LIMIT', 0, request[1])) do
  local c = read_command(id)
  if not c or TERMINAL[c.state] then
    redis.call('ZREM', key_attention(), id)
  elseif c.deadline > now then
    redis.call('ZADD', key_attention(), math.min(c.deadline, now + request[2]), id)
    due[#due + 1] = as_due(id, c)
  elseif request[3] and RANK[c.state] >= RANK.sent then
    redis.call('ZADD', key_attention(), now + request[2], id)
    due[#due + 1] = as_due(id, c)
  else
    note(end_overdue(id, c), id, c)
  end
end
settle_batches()
return answer(due)
