-- Moves of commands of this shard. request = {moves, messages kept if anything was applied}
for _, item in ipairs(request[1]) do
  local id = item[1]
  local c = read_command(id)
  if not c then
    note(2, id)
  elseif not may_speak(c, item[7]) then
    note(7, id, c)
  else
    local to = item[3]
    if to == 'sent' and stopping(c.batch_id) then to = 'terminating' end
    note(move(id, c, item[2], to, item[4], item[5], item[6]), id, c)
  end
end
settle_batches()
if #entries > 0 then keep_messages(request[2]) end
return answer()
