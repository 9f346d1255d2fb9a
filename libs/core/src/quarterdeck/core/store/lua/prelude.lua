-- What every script has after its fence: the clock, the outbox, and the state machine.
-- Tables RANK, LEGAL, TERMINAL, RETRYABLE, NEVER_RAN, EVENT_OF, HIDDEN, LOOK_MS and the TTLs are generated above; `floor`
-- and `request` come from the fence (fence.lua, or fence_rebuild.lua).

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local entries = {}
local outcomes = {}
local touched = {}

local function some(value)
  -- cmsgpack reads nil as nil in tables, HMGET gives false: one test for both
  if value and value ~= '' then return value end
  return nil
end

local function keep(kind, subject, msg_id, body)
  local id = redis.call('XADD', key_outbox(), '*', 'k', kind, 's', subject, 'i', msg_id, 'b', body)
  entries[#entries + 1] = {id, kind, subject, msg_id, body}
end

local function emit(record)
  keep('e', '', '', cmsgpack.pack(record))
end

local function keep_messages(messages)
  for _, message in ipairs(messages) do keep('r', message[1], message[2], message[3]) end
end

local function write_hash(key, fields)
  local flat = {}
  for name, value in pairs(fields) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  if #flat > 0 then redis.call('HSET', key, unpack(flat)) end
end

-- What await_ends.lua left for the end of this command or batch.
local function tell_who_waits(id)
  local key = key_at_end(id)
  for _, packed in ipairs(redis.call('HVALS', key)) do keep_messages({cmsgpack.unpack(packed)}) end
  redis.call('DEL', key)
end

-- The version after `version`. A rebuild lifts the floor above all that was ever told, so that no event of afterwards
-- takes the id of one from before that may still be on its way.
local function next_version(version)
  return math.max(version, floor) + 1
end

-- The id that an idempotency key stands for, 'conflict' when it came with another body, nil when it is new.
local function known_by(idempotency)
  if not idempotency then return nil end
  local known = redis.call('GET', key_idempotency(idempotency[1]))
  if not known then return nil end
  local before = cmsgpack.unpack(known)
  if before[1] ~= idempotency[2] then return 'conflict' end
  return before[2]
end

-- As known_by; a new key is remembered.
local function claim(idempotency, id)
  local known = known_by(idempotency)
  if known or not idempotency then return known end
  redis.call('SET', key_idempotency(idempotency[1]), cmsgpack.pack({idempotency[2], id}), 'EX', IDEMPOTENCY_TTL_S)
  return nil
end

-- An idempotency key as the log has it: {scope, body hash, until}.
local function remember(idempotency, id)
  if idempotency and idempotency[3] > now then
    redis.call('SET', key_idempotency(idempotency[1]), cmsgpack.pack({idempotency[2], id}), 'NX', 'PX', idempotency[3] - now)
  end
end

-- What is left of a lifetime that began at `since`; never so little that the rest of a rebuild would miss the key.
local function left_since(since, ttl_ms)
  return math.max(since + ttl_ms - now, 60000)
end

local function answer(extra)
  return {outcomes, entries, extra or {}}
end

-- ---- One command ------------------------------------------------------------------------------------------------

local FIELDS = {'tenant', 'batch_id', 'agent_id', 'guest', 'state', 'attempt', 'version', 'deadline_at_ms',
                'run_limit_ms', 'max_attempts', 'backoff_ms', 'command_type', 'created_at_ms', 'user_id', 'unproved', 'deliver_by_ms',
                'overtime_ms', 'session_id', 'awaited'}

local function read_command(id)
  local v = redis.call('HMGET', key_command(id), unpack(FIELDS))
  if not v[1] then return nil end
  return {tenant = v[1], batch_id = some(v[2]), agent_id = v[3], guest = some(v[4]), state = v[5],
          attempt = tonumber(v[6]), version = tonumber(v[7]), deadline = tonumber(v[8]),
          run_limit = tonumber(v[9]), max_attempts = tonumber(v[10]), backoff = tonumber(v[11]),
          command_type = v[12], created_at = tonumber(v[13]), user_id = v[14], returned = v[15] == '',
          unproved = some(v[15]), deliver_by = tonumber(v[16]) or tonumber(v[8]), overtime = tonumber(v[17]) or 0,
          session_id = some(v[18]), awaited = some(v[19])}
end

local function stopping(batch_id)
  return batch_id and redis.call('HGET', key_batch(batch_id), 'terminate_requested') == '1'
end

local function touch(batch_id, tenant)
  local batch = touched[batch_id]
  if not batch then
    batch = {tenant = tenant, delta = {}}
    touched[batch_id] = batch
  end
  return batch
end

local function count(c, from, to)
  if not c.batch_id then return end
  local batch = touch(c.batch_id, c.tenant)
  batch.delta[from] = (batch.delta[from] or 0) - 1
  batch.delta[to] = (batch.delta[to] or 0) + 1
end

-- For whom it waits: for its agent, or for whoever can do it.
local function awaits(c)
  return c.session_id and ANY_AGENT .. c.command_type or c.agent_id
end

local function file_under(c, id, from, to)
  redis.call('ZREM', key_index_state(c.tenant, from), id)
  redis.call('ZADD', key_index_state(c.tenant, to), 0, id)
  if from == 'waiting' then redis.call('ZREM', key_waiting(), c.tenant .. '/' .. awaits(c) .. '/' .. id) end
  if to == 'waiting' then redis.call('ZADD', key_waiting(), 0, c.tenant .. '/' .. awaits(c) .. '/' .. id) end
  count(c, from, to)
end

-- Seconds that it is kept after its end. A session's command is what its idempotency key answers with.
local function lifetime(c)
  return c.batch_id and BATCH_TTL_S or c.session_id and IDEMPOTENCY_TTL_S or COMMAND_TTL_S
end

-- A session's command is given to an agent.
local function assign(c, id, agent_id)
  redis.call('ZREM', key_index_agent(c.tenant, c.agent_id), id)
  redis.call('ZADD', key_index_agent(c.tenant, agent_id), 0, id)
  c.agent_id = agent_id
end

-- Its batch may run long after a child's end, and a child is kept as long as its batch: the sweep sees to that when
-- `left_ms` are over. The hash alone goes by itself, so much later that no sweep is missed.
local function expire_in(left_ms, c, id, state)
  redis.call('PEXPIRE', key_command(id), c.batch_id and left_ms + BATCH_TTL_S * 1000 or left_ms)
  redis.call('ZADD', key_expiry(), now + left_ms, c.tenant .. '/' .. c.agent_id .. '/' .. state .. '/' .. id)
end

local function expire_later(c, id, state)
  if c.session_id then
    redis.call('EXPIRE', key_session(c.session_id), SESSION_TTL_S)
    redis.call('EXPIRE', key_rounds(c.session_id), SESSION_TTL_S)
  end
  expire_in(lifetime(c) * 1000, c, id, state)
end

-- Adds to an end's payload what came about without an event.
local function tell_the_rest(id, payload)
  for i, value in ipairs(redis.call('HMGET', key_command(id), unpack(ALSO_AT_THE_END))) do
    local name = ALSO_AT_THE_END[i]
    if value then payload[name] = string.sub(name, -3) == '_ms' and tonumber(value) or value end
  end
end

-- The one place where a command changes its state: hash, indexes, counters, attention, TTL and event together.
local function enter(id, c, to, at, fields, look_in)
  -- What reached one of those who can do it never started: in the time that it has, another one may.
  local elsewhere = to == 'unreachable' and c.session_id and c.deliver_by > now
  local again = (elsewhere or RETRYABLE[to] and c.attempt < c.max_attempts) and c.state ~= 'terminating'
                and not stopping(c.batch_id)
  if fields.agent_id then assign(c, id, fields.agent_id) end
  local stored = again and 'pending' or to
  local payload = {state = to, attempt = c.attempt, agent_id = c.agent_id, guest = c.guest}
  for name, value in pairs(fields) do
    if not HIDDEN[name] then payload[name] = value end
  end
  local deadline = fields.deadline_at_ms or c.deadline
  -- Sent: it may start as late as its order allows, and then takes its time. An agent may queue it that long.
  if to == 'sent' then deadline = (fields.deliver_by_ms or c.deliver_by) + c.overtime end
  if to == 'executing' and c.run_limit > 0 then deadline = now + c.run_limit end
  local look = look_in > 0 and look_in or LOOK_MS[to]
  local version = next_version(c.version)
  fields.state, fields.version, fields.updated_at_ms = stored, version, now
  if again then
    look = elsewhere and 0 or c.backoff * 2 ^ (c.attempt - 1)
    deadline = c.run_limit > 0 and not elsewhere and now + look + c.run_limit or c.deliver_by
    fields = {state = 'pending', version = version, updated_at_ms = now, attempt = c.attempt + 1,
              deliver_by_ms = deadline}
    redis.call('HDEL', key_command(id), unpack(OF_ONE_ATTEMPT))
  end
  fields.deadline_at_ms = deadline
  write_hash(key_command(id), fields)
  file_under(c, id, c.state, stored)
  -- So that the log alone gives the hash again, whoever reads it.
  payload.updated_at_ms = now
  if TERMINAL[stored] then
    tell_the_rest(id, payload)
    redis.call('ZREM', key_attention(), id)
    expire_later(c, id, stored)
    if c.awaited then tell_who_waits(id) end
  else
    payload.deadline_at_ms, payload.deliver_by_ms = deadline, fields.deliver_by_ms
    redis.call('ZADD', key_attention(), math.min(deadline, now + (look or deadline)), id)
  end
  emit({type = again and 'command.attempt_failed' or EVENT_OF[to], tenant = c.tenant, aggregate_id = id,
        version = version, at_ms = at, command_id = id, batch_id = c.batch_id, payload = payload})
  c.version = version
  c.state = stored
  if again then c.attempt = c.attempt + 1 end
  return again and 4 or 1
end

-- A command that did not exist: pending, in its indexes, to be looked at soon.
local function take_in(id, tenant, agent_id, at, fields, payload)
  fields.state, fields.attempt, fields.version, fields.updated_at_ms = 'pending', 1, 1, at
  write_hash(key_command(id), fields)
  redis.call('ZADD', key_index_commands(tenant), 0, id)
  redis.call('ZADD', key_index_agent(tenant, agent_id), 0, id)
  redis.call('ZADD', key_index_state(tenant, 'pending'), 0, id)
  redis.call('ZADD', key_attention(), math.min(fields.deadline_at_ms, now + LOOK_MS.pending), id)
  emit({type = 'command.accepted', tenant = tenant, aggregate_id = id, version = 1, at_ms = at, command_id = id,
        payload = payload})
end

-- Whether `by` (tenant/agent, or empty for our own services) may speak for this command.
local function may_speak(c, by)
  return by == '' or by == c.tenant .. '/' .. c.agent_id
end

-- Order of truth is (attempt, rank). Answers the verdict of shapes.Verdict.
local function move(id, c, attempt, to, at, fields, look_in)
  if attempt < c.attempt then return 0 end
  if attempt > c.attempt then return 3 end
  -- Whoever calls a command unreachable may have looked before another handed it over: only proof counts now.
  if to == 'unreachable' and RANK[c.state] >= RANK.sent and c.unproved then return 0 end
  if c.state == 'terminating' and NEVER_RAN[to] then to = 'terminated' end
  if to == 'terminating' and (c.state == 'pending' or c.state == 'waiting') then
    to = 'terminated'
    fields.completed_at_ms = at
    fields.reason = 'cancelled_before_start'
  end
  if RANK[to] <= RANK[c.state] then return 0 end
  if not LEGAL[c.state][to] then return 3 end
  return enter(id, c, to, at, fields, look_in)
end

-- The end of what is past its deadline, as far as its state proves one.
local function end_overdue(id, c)
  local to, reason = 'outcome_unknown', 'deadline'
  if c.state == 'pending' then to, reason = 'timed_out', 'delivery' end
  if c.state == 'sent' and c.returned then to, reason = 'unreachable', 'no_link' end
  if c.state == 'terminating' and c.returned then to, reason = 'terminated', 'cancelled_before_start' end
  if c.state == 'waiting' then to, reason = 'expired', 'queue_for' end
  return move(id, c, c.attempt, to, now, {completed_at_ms = now, reason = reason}, 0)
end

local function note(verdict, id, c)
  if c then
    outcomes[#outcomes + 1] = {verdict, id, c.state, c.attempt, c.version, c.agent_id, c.command_type, c.created_at,
                               c.batch_id or false}
  else
    outcomes[#outcomes + 1] = {verdict, id, false, 0, 0, '', '', 0, false}
  end
end

-- What shapes.Due wants to know.
local function as_due(id, c)
  return {id, c.tenant, c.batch_id or false, c.user_id, c.agent_id, c.guest or false, c.state, c.attempt, c.created_at,
          c.deadline, c.returned and 1 or 0, c.deliver_by, c.deadline <= now and 1 or 0, c.session_id or false}
end

-- ---- The batches that this script touched -----------------------------------------------------------------------

local function expire_batch_in(left_ms, id, tenant)
  redis.call('PEXPIRE', key_batch(id), left_ms)
  redis.call('PEXPIRE', key_counts(id), left_ms)
  redis.call('ZADD', key_expiry(), now + left_ms, tenant .. '///' .. id)
end

local function counts_of(batch_id)
  local counts, total, ended, sum = {}, 0, 0, redis.call('HGETALL', key_counts(batch_id))
  for i = 1, #sum, 2 do
    local n = tonumber(sum[i + 1])
    if n ~= 0 then counts[sum[i]] = n end
    total = total + n
    if TERMINAL[sum[i]] then ended = ended + n end
  end
  return counts, total, ended
end

local function batch_end(counts, total, stop)
  if stop then return 'TERMINATED' end
  if counts.unreachable == total then return 'FAILED_TO_START' end
  if counts.succeeded == total then return 'COMPLETED_SUCCESSFULLY' end
  return 'COMPLETED_WITH_ERRORS'
end

-- Children of a batch that no chunk has created yet are in flight as those that exist.
local function give_birth(batch_id, how_many)
  if redis.call('HINCRBY', key_unborn(), batch_id, -how_many) <= 0 then redis.call('HDEL', key_unborn(), batch_id) end
end

local function write_counts(batch_id, delta)
  for state, n in pairs(delta) do
    if n ~= 0 then redis.call('HINCRBY', key_counts(batch_id), state, n) end
  end
end

local function settle_batches()
  for batch_id, batch in pairs(touched) do
    write_counts(batch_id, batch.delta)
    local key = key_batch(batch_id)
    local v = redis.call('HMGET', key, 'state', 'terminate_requested', 'version', 'awaited')
    if v[1] and not BATCH_TERMINAL[v[1]] then
      local counts, total, ended = counts_of(batch_id)
      local stop, state, type = v[2] == '1', v[1], 'batch.progressed'
      if ended == total then
        state, type = batch_end(counts, total, stop), 'batch.completed'
        redis.call('HDEL', key_unborn(), batch_id)
        redis.call('HSET', key, 'completed_at_ms', now)
        expire_batch_in(BATCH_TTL_S * 1000, batch_id, batch.tenant)
        if v[4] then tell_who_waits(batch_id) end
      elseif state == 'PENDING' and (counts.pending or 0) + (counts.unreachable or 0) < total then
        state = 'IN_PROGRESS'
      end
      local version = next_version(tonumber(v[3]))
      redis.call('HSET', key, 'state', state, 'version', version, 'updated_at_ms', now)
      emit({type = type, tenant = batch.tenant, aggregate_id = batch_id, version = version, at_ms = now,
            batch_id = batch_id, payload = {state = state, counts = counts, total = total}})
    end
  end
end
