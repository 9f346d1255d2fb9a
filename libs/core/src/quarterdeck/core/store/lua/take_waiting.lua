-- Commands that wait for one of these agents. request = {{tenant, agent_id}, …}. Extra answer: shapes.Due.
local due = {}
if redis.call('ZCARD', key_waiting()) > 0 then
  for _, agent in ipairs(request) do
    local from = agent[1] .. '/' .. agent[2] .. '/'
    for _, member in ipairs(redis.call('ZRANGEBYLEX', key_waiting(), '[' .. from, '(' .. from .. '\255')) do
      local id = string.sub(member, #from + 1)
      local c = read_command(id)
      if c and c.state == 'waiting' then
        due[#due + 1] = as_due(id, c)
      else
        redis.call('ZREM', key_waiting(), member)
      end
    end
  end
end
return answer(due)
