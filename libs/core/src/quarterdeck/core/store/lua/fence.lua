-- What every script of the services starts with: without an incarnation the shard's state is not known to be whole.
-- The incarnation's value is the floor of versions (prelude.lua, next_version).
local floor = redis.call('GET', key_incarnation())
if not floor then
  return redis.error_reply('NOSHARD the state of this shard is being rebuilt')
end
floor = tonumber(floor) or 0
local request = cmsgpack.unpack(ARGV[1])
