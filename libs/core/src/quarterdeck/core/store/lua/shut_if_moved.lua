-- Run on every new connection, before anything else: a server that is not the one whose state was last found whole may
-- have lost its last writes, so nobody works with it before a rebuild has caught up. ARGV[1]: this server's run.
-- A rebuild that began on another run cannot know what was lost since: its lease ends too. Answers 1 when it shut.
local lease = redis.call('GET', key_lease())
if lease and string.sub(lease, 1, #ARGV[1] + 1) ~= ARGV[1] .. '/' then redis.call('DEL', key_lease()) end
if redis.call('GET', key_run()) == ARGV[1] then return 0 end
return redis.call('DEL', key_incarnation())
