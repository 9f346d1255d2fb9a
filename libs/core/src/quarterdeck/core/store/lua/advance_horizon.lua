-- Notes how far the log is known to be in this shard. ARGV[1]: the horizon. While late events of before a rebuild are still
-- looked for, they may lie below it: then it stays.
if redis.call('EXISTS', key_incarnation()) == 0 or redis.call('EXISTS', key_latecomers()) == 1 then return 0 end
redis.call('SET', key_horizon(), ARGV[1])
return 1
