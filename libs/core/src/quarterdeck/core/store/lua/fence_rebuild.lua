-- What every script of a rebuild starts with. request[1]: the token of the lease, under which a shut shard is written; or
-- empty, to add what came late to an open one. A lease that went with the rest of the shard stops its rebuild here.
local request = cmsgpack.unpack(ARGV[1])
local floor = 0
if request[1] == '' then
  floor = redis.call('GET', key_incarnation())
  if not floor then return redis.error_reply('NOSHARD the state of this shard is being rebuilt') end
  floor = tonumber(floor) or 0
elseif redis.call('GET', key_lease()) ~= request[1] then
  return redis.error_reply('NOLEASE another rebuild has this shard, or it lost its state again')
end
