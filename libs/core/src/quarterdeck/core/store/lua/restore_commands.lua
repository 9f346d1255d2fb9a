-- Brings commands to where the log has them; writes no event. Any order, any number of times: (attempt, rank) only grows.
-- request = {token, {{id, tenant, batch_id, agent_id, guest, version, attempt, state, fields, birth, idempotency}, …}}
-- birth: what creation writes, absent when the log's creation was not read. Extra answer: ids that neither have nor had one.
local MENDING_MS = 5000  -- reports that waited for the rebuild are heard before a deadline is

local function born(id, tenant, agent_id, birth)
  birth.agent_id, birth.tenant = agent_id, tenant
  birth.state, birth.attempt, birth.version = 'pending', 1, 1
  write_hash(key_command(id), birth)
  if birth.batch_id then give_birth(birth.batch_id, 1) end
  redis.call('ZADD', key_index_commands(tenant), 0, id)
  redis.call('ZADD', key_index_agent(tenant, agent_id), 0, id)
  redis.call('ZADD', key_index_state(tenant, 'pending'), 0, id)
  redis.call('ZADD', key_attention(), now + MENDING_MS, id)
end

local function fill(key, fields)
  for name, value in pairs(fields) do redis.call('HSETNX', key, name, value) end
end

local function stand(id, c, agent_id, attempt, state, fields)
  local key = key_command(id)
  if c.session_id and agent_id ~= c.agent_id then
    assign(c, id, agent_id)
    fields.agent_id = agent_id
  end
  if attempt > c.attempt then redis.call('HDEL', key, unpack(OF_ONE_ATTEMPT)) end
  if state == 'sent' or state == 'terminating' then fields.unproved = '* ' end  -- who had it in hand is forgotten
  fields.state, fields.attempt = state, attempt
  write_hash(key, fields)
  file_under(c, id, c.state, state)
  if TERMINAL[state] then
    redis.call('ZREM', key_attention(), id)
    expire_in(left_since(fields.updated_at_ms, lifetime(c) * 1000), c, id, state)
  else
    local deadline = fields.deadline_at_ms or c.deadline
    -- Who was to wake it is forgotten: it looks itself at what holds it back.
    local held = fields.reason == 'dependencies' or fields.reason == 'needs_approval'
    local look = held and MENDING_MS or LOOK_MS[state] or deadline
    redis.call('ZADD', key_attention(), math.max(now + MENDING_MS, math.min(deadline, now + look)), id)
  end
end

local unknown = {}
for _, item in ipairs(request[2]) do
  local id, tenant, agent_id, version, attempt, state = item[1], item[2], item[4], item[6], item[7], some(item[8])
  local fields, birth = item[9], item[10]
  local c = read_command(id)
  if not c and not birth then
    unknown[#unknown + 1] = id
  else
    if not c then
      birth.batch_id, birth.guest = some(item[3]), some(item[5])
      born(id, tenant, agent_id, birth)
      c = read_command(id)
    end
    remember(item[11], id)
    if state and (attempt > c.attempt or attempt == c.attempt and RANK[state] > RANK[c.state]) then
      stand(id, c, agent_id, attempt, state, fields)
    elseif attempt == c.attempt then
      fill(key_command(id), fields)
    end
    if version > c.version then redis.call('HSET', key_command(id), 'version', version) end
  end
end
for batch_id, batch in pairs(touched) do write_counts(batch_id, batch.delta) end
return answer(unknown)
