-- Fields that change nothing of the state (output so far, time of the last output).
-- request = {{id, attempt, fields, by}, …}
for _, item in ipairs(request) do
  local id = item[1]
  local c = read_command(id)
  if not c then
    note(2, id)
  elseif not may_speak(c, item[4]) then
    note(7, id, c)
  elseif c.attempt == item[2] and not TERMINAL[c.state] then
    write_hash(key_command(id), item[3])
    note(1, id, c)
  else
    note(0, id, c)
  end
end
return answer()
