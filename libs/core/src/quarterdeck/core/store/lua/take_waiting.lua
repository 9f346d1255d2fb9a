-- Commands that wait for one of these agents. request = {{tenant, agent_id}, …}. Extra answer: shapes.Due.
local due = {}
if redis.call('ZCARD', key_waiting()) > 0 then
  for _, agent in ipairs(request) do
    local from = agent[1] .. '/' .. agent[2] .. '/'
    for _, member in ipairs(redis.call('ZRANGEBYLEX', key_waiting(), '[' .. from, '(' .. from .. '\255')) do
      local id = string.sub(member, #from + 1)
      local c = read_command(id)
      if c and c.state == 'waiting' then
        local v = redis.call('HMGET', key_command(id), 'user_id', 'created_at_ms')
        due[#due + 1] = {id, c.tenant, c.batch_id or false, v[1] or '', c.agent_id, c.guest or false, c.state, c.attempt,
                         tonumber(v[2]), c.deadline}
      else
        redis.call('ZREM', key_waiting(), member)
      end
    end
  end
end
return answer(due)
