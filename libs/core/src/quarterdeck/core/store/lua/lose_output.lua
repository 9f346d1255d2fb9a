-- Parts of output streams that are missing from the log for good. Told once per stream: the first finding counts.
-- request = {{id, attempt, stream, {{from, to}, …}}, …}; a part is the bytes from … to - 1.
for _, item in ipairs(request) do
  local id, attempt, stream, parts = item[1], item[2], item[3], item[4]
  local field = stream .. '_lost'
  local c = read_command(id)
  if not c then
    note(2, id)
  elseif c.attempt ~= attempt or redis.call('HEXISTS', key_command(id), field) == 1 then
    note(0, id, c)
  else
    local told = {}
    for _, part in ipairs(parts) do
      c.version = next_version(c.version)
      told[#told + 1] = string.format('%.0f-%.0f', part[1], part[2])
      emit({type = 'command.output_lost', tenant = c.tenant, aggregate_id = id, version = c.version, at_ms = now,
            command_id = id, batch_id = c.batch_id,
            payload = {agent_id = c.agent_id, attempt = attempt, stream = stream, from_offset = part[1],
                       to_offset = part[2]}})
    end
    redis.call('HSET', key_command(id), field, table.concat(told, ','), 'version', c.version, 'updated_at_ms', now)
    note(1, id, c)
  end
end
return answer()
