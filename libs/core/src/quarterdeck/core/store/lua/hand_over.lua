-- Where a `sent` command stands with the gateways.
-- request = {{id, attempt, returned, handover, fields, look_in_ms, by}, …}
-- Not returned: it is about to be handed over once more, which only a command that nobody stopped is.
-- Returned: a gateway proved that it never wrote the order of this one hand-over. When that is proved of all of them,
-- `unproved` is empty, and the command is known not to have reached its agent.
local UNPROVED_BYTES = 512

for _, item in ipairs(request) do
  local id, attempt, returned, handover = item[1], item[2], item[3], item[4]
  local c = read_command(id)
  local stands = c and (c.state == 'sent' or returned and c.state == 'terminating')
  if stands and may_speak(c, item[7]) and c.attempt == attempt then
    if not returned then
      local unproved = c.unproved or ''
      -- Enough is enough: what was handed over so often without an answer is never proved not to have arrived.
      if #unproved < UNPROVED_BYTES then
        redis.call('HSET', key_command(id), 'unproved', unproved .. handover .. ' ')
      elseif string.sub(unproved, -2) ~= '* ' then
        redis.call('HSET', key_command(id), 'unproved', unproved .. '* ')
      end
    elseif c.unproved and handover ~= '' then
      local from, to = string.find(c.unproved, handover .. ' ', 1, true)
      if from then
        redis.call('HSET', key_command(id), 'unproved', string.sub(c.unproved, 1, from - 1) .. string.sub(c.unproved, to + 1))
      end
    end
    write_hash(key_command(id), item[5])
    redis.call('ZADD', key_attention(), math.min(c.deadline, now + item[6]), id)
    note(1, id, c)
  else
    note(c and 0 or 2, id, c)
  end
end
return answer()
