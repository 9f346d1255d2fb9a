-- A session's command taken in: command, round, their events and outbox entries in one act, or nothing.
-- request = {session_id, tenant, id, at, fields, payload of command.accepted, payload of session.round_created,
--            messages, idempotency}
-- Extra answer: {how, command id, round}; how is new, key, pending (one of the session has not ended), conflict or gone.
local session_id, tenant, id, at = request[1], request[2], request[3], request[4]
local session, rounds = key_session(session_id), key_rounds(session_id)
local v = redis.call('HMGET', session, 'tenant', 'version')
if v[1] ~= tenant then return answer({'gone', '', 0}) end

-- The command that stands for this request, with those of its messages whose writer did not get to tell them.
local function stands(how, known)
  for entry_id in string.gmatch(redis.call('HGET', key_command(known), 'outbox') or '', '%S+') do
    for _, entry in ipairs(redis.call('XRANGE', key_outbox(), entry_id, entry_id)) do
      local f = entry[2]
      entries[#entries + 1] = {entry[1], f[2], f[4], f[6], f[8]}
    end
  end
  return answer({how, known, tonumber(redis.call('ZSCORE', rounds, known)) or 0})
end

local known = known_by(request[9])
if known == 'conflict' then return answer({'conflict', '', 0}) end
if known then return stands('key', known) end
local newest = redis.call('ZREVRANGE', rounds, 0, 0)[1]
local c = newest and read_command(newest)
if c and not TERMINAL[c.state] then return stands('pending', newest) end

claim(request[9], id)
local fields, accepted, told = request[5], request[6], request[7]
local round = redis.call('ZCARD', rounds) + 1
local version = next_version(tonumber(v[2]))
fields.session_id, fields.round, accepted.round, told.round = session_id, round, round, round
redis.call('ZADD', rounds, round, id)
redis.call('HSET', session, 'version', version, 'updated_at_ms', at)
redis.call('PERSIST', session)
redis.call('PERSIST', rounds)
take_in(id, tenant, ANY_AGENT, at, fields, accepted)
emit({type = 'session.round_created', tenant = tenant, aggregate_id = session_id, version = version, at_ms = at,
      command_id = id, payload = told})
keep_messages(request[8])
local ids = {}
for i, entry in ipairs(entries) do ids[i] = entry[1] end
redis.call('HSET', key_command(id), 'outbox', table.concat(ids, ' '))
note(5, id)
return answer({'new', id, round})
