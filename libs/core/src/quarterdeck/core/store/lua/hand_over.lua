-- Where a `sent` command stands with the gateways. request = {{id, attempt, returned, fields, look_in_ms, by}, …}
-- returned: a gateway proved that it never wrote the order. Otherwise it is about to be handed over (again).
for _, item in ipairs(request) do
  local id = item[1]
  local c = read_command(id)
  if c and may_speak(c, item[6]) and c.attempt == item[2] and (c.state == 'sent' or c.state == 'terminating') then
    if item[3] then
      redis.call('HSET', key_command(id), 'returned', 1)
    else
      redis.call('HDEL', key_command(id), 'returned')
    end
    write_hash(key_command(id), item[4])
    redis.call('ZADD', key_attention(), math.min(c.deadline, now + item[5]), id)
    note(1, id, c)
  else
    note(c and 0 or 2, id, c)
  end
end
return answer()
