-- Takes the lease of a shut shard. ARGV = token, milliseconds, mode: '', 'force' to shut an open one, 'renew' for what is
-- held and nothing else. Answers 1 when held.
local held, mode = redis.call('GET', key_lease()), ARGV[3]
if held and held ~= ARGV[1] or not held and mode == 'renew' then return 0 end
if mode == 'force' then
  redis.call('DEL', key_incarnation(), key_horizon())
elseif redis.call('EXISTS', key_incarnation()) == 1 then
  return 0
end
redis.call('SET', key_lease(), ARGV[1], 'PX', ARGV[2])
return 1
