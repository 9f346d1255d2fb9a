-- Commands of this shard whose time has come. Those past their deadline end here; the others are leased to the caller.
-- request = {limit, lease_ms}. Extra answer: the due commands, as shapes.Due.
local due = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key_attention(), '-inf', now, 'LIMIT', 0, request[1])) do
  local c = read_command(id)
  if not c or TERMINAL[c.state] then
    redis.call('ZREM', key_attention(), id)
  elseif c.deadline <= now then
    local to, reason = 'outcome_unknown', 'deadline'
    if c.state == 'pending' then to, reason = 'timed_out', 'delivery' end
    if c.state == 'sent' and c.returned then to, reason = 'unreachable', 'no_link' end
    if c.state == 'terminating' and c.returned then to, reason = 'terminated', 'cancelled_before_start' end
    if c.state == 'waiting' then to, reason = 'expired', 'queue_for' end
    note(move(id, c, c.attempt, to, now, {completed_at_ms = now, reason = reason}, 0), id, c)
  else
    redis.call('ZADD', key_attention(), math.min(c.deadline, now + request[2]), id)
    due[#due + 1] = as_due(id, c)
  end
end
settle_batches()
return answer(due)
