-- A page of an index, newest first (ids sort by time). request = {index, tenant, agent_id, states, after, limit}.
-- Extra answer: {total, ids}; one id more than `limit` says that there is another page.
local index, tenant, agent_id, states, after, limit = request[1], request[2], request[3], request[4], request[5], request[6]
local from = after == '' and '+' or '(' .. after
local sources, wanted = {}, nil
if index == 'batches' then
  sources[1] = key_index_batches(tenant)
elseif agent_id ~= '' then
  sources[1] = key_index_agent(tenant, agent_id)
  if #states > 0 then
    wanted = {}
    for _, state in ipairs(states) do wanted[state] = true end
  end
elseif #states > 0 then
  for i, state in ipairs(states) do sources[i] = key_index_state(tenant, state) end
else
  sources[1] = key_index_commands(tenant)
end

local total, ids = 0, {}
if wanted then
  for _, id in ipairs(redis.call('ZREVRANGEBYLEX', sources[1], '+', '-')) do
    local state = redis.call('HGET', key_command(id), 'state')
    if state and wanted[state] then
      total = total + 1
      if #ids <= limit and (after == '' or id < after) then ids[#ids + 1] = id end
    end
  end
else
  for _, source in ipairs(sources) do
    total = total + redis.call('ZCARD', source)
    for _, id in ipairs(redis.call('ZREVRANGEBYLEX', source, from, '-', 'LIMIT', 0, limit + 1)) do ids[#ids + 1] = id end
  end
  table.sort(ids, function(a, b) return a > b end)
end
return answer({total, ids})
