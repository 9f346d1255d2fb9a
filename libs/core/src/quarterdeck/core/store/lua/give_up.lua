-- Ends those of these commands that are past their deadline. request = {id, …}
for _, id in ipairs(request) do
  local c = read_command(id)
  if not c then
    note(2, id)
  elseif TERMINAL[c.state] or c.deadline > now then
    note(0, id, c)
  else
    note(end_overdue(id, c), id, c)
  end
end
settle_batches()
return answer()
