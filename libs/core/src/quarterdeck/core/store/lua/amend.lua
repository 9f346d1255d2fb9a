-- Fields that change nothing of the state (output so far, time of the last output). request = {{id, attempt, fields}, …}
for _, item in ipairs(request) do
  local key = key_command(item[1])
  local v = redis.call('HMGET', key, 'attempt', 'state')
  if v[1] and tonumber(v[1]) == item[2] and not TERMINAL[v[2]] then
    write_hash(key, item[3])
    note(1, item[1])
  else
    note(v[1] and 0 or 2, item[1])
  end
end
return answer()
